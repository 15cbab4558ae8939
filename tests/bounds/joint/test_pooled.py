"""Runs judged by one sum: known values, the search, families, sizes, what stands in where induction is too long."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.special import bdtr, expit

from dpaudit.bounds.family import accountant_family, any_family, gaussian_family
from dpaudit.bounds.guesses import Guesses
from dpaudit.bounds.joint import foreseen, pooled
from dpaudit.bounds.joint.count import JointCount
from dpaudit.bounds.joint.foreseen import median_runs, power_of_pooled
from dpaudit.bounds.joint.penalties import counted, evidence_penalties
from dpaudit.bounds.joint.pooled import PooledCount
from dpaudit.bounds.joint.runs import ErrorRates
from dpaudit.bounds.max_p import PlannedTest, max_p_bound, max_p_value
from dpaudit.bounds.tradeoff import EpsilonDelta, Gaussian

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dpaudit.bounds.family import Family

FAMILY = gaussian_family(delta=1e-5)
RATES = ErrorRates(promised=0.03, broken=0.001)


def runs_of(errors: Sequence[int], canaries: int = 1000, guesses: int = 150) -> list[Guesses]:
    return [Guesses(canaries=canaries, guesses=guesses, correct=guesses - wrong) for wrong in errors]


def certified(test: PooledCount | JointCount, runs: Sequence[Guesses], family: Family[Gaussian] = FAMILY) -> float:
    return max_p_bound(PlannedTest(test=test, family=family, confidence=0.95), runs, strategy="fixed").epsilon


def test_known_values_beside_every_run() -> None:
    # the reference has 5.79 for two runs of 150 guesses and their expected errors, 5.74 by convolution
    runs = runs_of((3, 3))
    bound = max_p_bound(PlannedTest(test=PooledCount(), family=FAMILY, confidence=0.95), runs, strategy="fixed")
    assert (bound.method, bound.guarantee) == ("one-run-pooled", "certified")
    assert bound.note == "the errors of 2 runs together, by backward induction"
    assert bound.epsilon == pytest.approx(5.8, abs=0.03)
    assert certified(PooledCount(), runs_of((0, 6))) == pytest.approx(bound.epsilon), "only their sum counts"
    assert certified(JointCount(), runs_of((0, 6))) < bound.epsilon - 0.4


def test_one_run_and_runs_of_several_sizes_are_judged_as_by_the_joint_count() -> None:
    curve = Gaussian(1.0)
    for runs in (runs_of((3,)), [*runs_of((3,)), *runs_of((2,), guesses=140)]):
        assert max_p_value(PooledCount(), curve, runs) == max_p_value(JointCount(), curve, runs)
        assert certified(PooledCount(), runs) == certified(JointCount(), runs)
    assert "one size only" in PooledCount().remark(runs)


def test_penalties_follow_from_sizes_and_plan_alone() -> None:
    test, level = PooledCount(RATES), 0.05**0.25
    one, other = (test.penalties(FAMILY, runs_of(errors), level) for errors in ((0, 0, 0, 0), (9, 4, 30, 1)))
    assert one == other
    assert one is not None
    assert one[0] == 0
    assert list(one) == sorted(one)
    assert PooledCount().penalties(FAMILY, runs_of((1, 1)), level) is None


def test_errors_beyond_what_has_a_penalty_refute_nothing() -> None:
    test, worst = PooledCount(RATES), runs_of((0, 0, 0, 120))
    assert max_p_value(test, Gaussian(1.0), worst) == 1.0
    assert certified(test, worst) == 0.0


@pytest.mark.parametrize("rates", [None, pytest.param(RATES, marks=pytest.mark.slow)])
def test_the_largest_refuted_is_refuted_and_what_is_larger_is_not(rates: ErrorRates | None) -> None:
    test, runs, level = PooledCount(rates), runs_of((3, 5, 2), 300, 60), 0.05 ** (1 / 3)
    noises = accountant_family(
        lambda noise: Gaussian(1 / noise),
        lambda noise: 1 / noise,
        delta=1e-5,
        noise_multipliers=(0.1, 30.0),
        start=1.0,
    )
    found = [test.largest_refuted(family, runs, level).parameter for family in (FAMILY, noises)]
    assert found[0] is not None
    assert found[1] is not None
    assert 1 / found[1] == pytest.approx(found[0], rel=0.02)
    if rates is None:
        assert max_p_value(test, Gaussian(found[0]), runs) <= 0.05
        assert max_p_value(test, Gaussian(found[0] * 1.01), runs) > 0.05


def test_noise_refutes_nothing_and_perfect_runs_much() -> None:
    rng = np.random.default_rng(0)
    noise = runs_of(rng.binomial(60, 0.5, size=3).tolist(), 300, 60)
    for test in (PooledCount(), PooledCount(RATES)):
        for family in (FAMILY, any_family(delta=1e-5)):
            assert test.largest_refuted(family, noise, 0.05 ** (1 / 3)).epsilon == 0
    assert certified(PooledCount(), runs_of((0, 0, 0), 300, 60)) > certified(PooledCount(), runs_of((1, 0, 1), 300, 60))


@pytest.mark.parametrize("epsilon", [0.5, 2.0])
def test_pure_dp_is_the_binomial_of_all_guesses(epsilon: float) -> None:
    for each in (4, 9):
        exact = bdtr(3 * each, 180, expit(-epsilon))
        found = max_p_value(PooledCount(), EpsilonDelta(epsilon, 0.0), runs_of((each,) * 3, 100, 60))
        assert exact * (1 - 1e-6) <= found <= exact * 1.01 + 3e-4
        assert found <= max_p_value(PooledCount(), EpsilonDelta(epsilon, 1e-4), runs_of((each,) * 3, 100, 60)) + 1e-12


def test_where_induction_would_take_too_long_the_convolution_holds_and_is_said() -> None:
    runs = runs_of((300, 310), 5000, 2000)
    curve = Gaussian(0.8)
    bound = max_p_value(PooledCount(), curve, runs)
    assert "convolution" in PooledCount().remark(runs)
    larger = max_p_value(PooledCount(), Gaussian(0.9), runs)
    assert bound <= larger
    small = runs_of((3, 4), 300, 60)
    seen = pooled.convolved(counted(small), 7, Gaussian(1.0))
    assert max_p_value(PooledCount(), Gaussian(1.0), small) < seen < 1


def test_power_is_foreseen_where_induction_would_take_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = (Gaussian(1.2), Guesses(canaries=1000, guesses=150, correct=0), ErrorRates(promised=0.03, broken=0.02), 3)
    by_induction = power_of_pooled(*asked, 0.05)
    monkeypatch.setattr(foreseen, "thinning", lambda *_: None)
    assert 0.2 < power_of_pooled(*asked, 0.05) <= by_induction + 0.01 < 1.01


def test_what_a_plan_foresees() -> None:
    size = Guesses(canaries=1000, guesses=150, correct=0)
    middle = median_runs(size, 0.02, 4, None)
    assert sum(run.guesses - run.correct for run in middle) == pytest.approx(12, abs=1)
    assert power_of_pooled(Gaussian(1.2), size, ErrorRates(promised=0.03, broken=0.0001), 3, 0.05) > 0.9
    assert power_of_pooled(Gaussian(3.0), size, ErrorRates(promised=0.03, broken=0.03), 3, 0.05) < 0.2
    penalties = evidence_penalties(1000, 150, 0.02, 4, Gaussian(1.2))
    assert penalties is not None
    assert len(median_runs(size, 0.02, 4, penalties)) == 4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("runs", "guesses", "rate", "count", "by_evidence"),
    [(4, 189, 0.0275, 6.37, 6.55), (8, 272, 0.0392, 6.76, 7.02), (16, 266, 0.038, 7.06, 7.36)],
)
def test_certifies_what_is_claimed(runs: int, guesses: int, rate: float, count: float, by_evidence: float) -> None:
    # medians of binomial errors; those of ideal audits, 6.45 for 20 errors in place of 21, are in the docs
    rates = ErrorRates(promised=rate, broken=1e-4)
    size = Guesses(canaries=1000, guesses=guesses, correct=0)
    for test, claimed in ((PooledCount(), count), (PooledCount(rates), by_evidence)):
        penalties = test.penalties(FAMILY, [size] * runs, 0.05 ** (1 / runs))
        assert certified(test, median_runs(size, rate, runs, penalties)) == pytest.approx(claimed, abs=0.06)
