"""How large a program may be, by sizes alone: what is solved is bounded, and what is not solved is said."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dpaudit.bounds.family import any_family, gaussian_family
from dpaudit.bounds.guesses import Guesses
from dpaudit.bounds.joint import count, evidence, program
from dpaudit.bounds.joint.count import JointCount
from dpaudit.bounds.joint.runs import ErrorRates, are_multiplied
from dpaudit.bounds.max_p import PlannedTest, max_p_bound, max_p_value
from dpaudit.bounds.one_run_fdp import FdpRecursion
from dpaudit.bounds.tradeoff import Gaussian

FAMILY = gaussian_family(delta=1e-5)


def run_of(canaries: int, guesses: int, errors: int) -> Guesses:
    return Guesses(canaries=canaries, guesses=guesses, correct=guesses - errors)


@pytest.fixture
def solved(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Every program that is solved notes its terms (edges x epsilons)."""
    terms: list[int] = []
    for module, name in ((program, "certificate_at"), (evidence, "_solved")):
        inner = getattr(module, name)

        def noted(box, weights, curve, epsilons, inner=inner):  # type: ignore[no-untyped-def]  # of two kinds
            terms.append(len(box.edges[0]) * len(epsilons))
            return inner(box, weights, curve, epsilons)

        monkeypatch.setattr(module, name, noted)
    count.count_certificate.cache_clear()
    return terms


def test_the_worst_run_of_a_size_decides_for_all_of_that_size(solved: list[int]) -> None:
    runs = [run_of(1000, 100, errors) for errors in (3, 5, 2, 5, 4, 1)]
    found = JointCount().p_value_of_runs(Gaussian(0.8), runs)
    assert len(solved) <= 2, "a first and a second grid for one count of errors"
    each = [JointCount().p_value(Gaussian(0.8), run) for run in runs]
    assert found == pytest.approx(max(each) ** 6)


@pytest.mark.parametrize("errors", [40, 370, 5000])
@pytest.mark.parametrize("sizes", [1, 4, 16])
def test_a_bound_solves_few_programs_of_bounded_size(sizes: int, errors: int, solved: list[int]) -> None:
    runs = [run_of(1_000_000, 20_000 + k, errors) for k in range(sizes)]
    planned = PlannedTest(test=JointCount(), family=FAMILY, confidence=0.95)
    bound = max_p_bound(planned, runs, strategy="fixed")
    assert max(solved, default=0) <= program.MOST_TERMS
    per_pass = 2 * count._ALL_TERMS
    assert sum(solved) <= (count._PASSES + 1) * per_pass
    too_large = 6 * (errors + 16 + 4 * math.sqrt(errors)) > min(3_000, 12_000 / sizes)
    assert ("by the recursion" in bound.note) == too_large
    if too_large:
        assert solved == []
        recursion = PlannedTest(test=FdpRecursion(), family=FAMILY, confidence=0.95)
        assert bound.epsilon == max_p_bound(recursion, runs, strategy="fixed").epsilon


def test_e_values_whose_programs_are_too_large_give_way_to_every_run(solved: list[int]) -> None:
    rates = ErrorRates(promised=0.06, broken=0.001)
    runs = [run_of(1_000_000, 30_000, 1900 + k) for k in range(4)]
    assert not are_multiplied(runs, rates)
    bound = max_p_bound(PlannedTest(test=JointCount(rates), family=FAMILY, confidence=0.95), runs, strategy="planned")
    every = max_p_bound(PlannedTest(test=JointCount(), family=FAMILY, confidence=0.95), runs, strategy="planned")
    assert bound.epsilon == every.epsilon > 3
    assert "every run must refute" in bound.note
    assert max_p_value(JointCount(rates), Gaussian(0.5), runs) == max_p_value(JointCount(), Gaussian(0.5), runs)
    assert solved == []


def test_which_way_is_taken_depends_on_sizes_and_never_on_coins() -> None:
    rates, rng = ErrorRates(promised=0.05, broken=0.001), np.random.default_rng(0)
    for guesses, multiplied in ((300, True), (3_000, True), (30_000, False)):
        seen = {
            are_multiplied([run_of(100_000, guesses, int(e)) for e in rng.integers(0, guesses, size=4)], rates)
            for _ in range(20)
        }
        assert seen == {multiplied}
    assert not are_multiplied([run_of(1000, 100, 0)], rates), "one run has no product"


def test_programs_of_e_values_are_bounded_in_number_and_size(solved: list[int]) -> None:
    rates = ErrorRates(promised=0.1, broken=0.02)
    runs = [run_of(1000, 400, 38 + k) for k in range(8)]
    max_p_bound(PlannedTest(test=JointCount(rates), family=FAMILY, confidence=0.95), runs, strategy="planned")
    assert max(solved) <= 300 * 12
    assert len(solved) <= 2 * 16 + 2 * count._PASSES


@pytest.mark.slow
def test_e_values_of_runs_a_little_worse_than_planned_still_refute_what_is_far_off() -> None:
    # without a largest E all of it went to the likeliest errors, and runs with a few more earned nothing at all
    rates = ErrorRates(promised=0.06, broken=0.01)
    runs = [run_of(1_000_000, 3000, 190 + k) for k in range(16)]
    by_mu = PlannedTest(test=JointCount(rates), family=FAMILY, confidence=0.95)
    assert max_p_bound(by_mu, runs, strategy="planned").epsilon > 3
    by_epsilon = PlannedTest(test=JointCount(rates), family=any_family(delta=1e-5), confidence=0.95)
    assert max_p_bound(by_epsilon, runs, strategy="planned").epsilon > 2
