"""The test for adaptive guessers: known numbers, never above the joint test, level at the null, searches, sizes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.special import bdtr, expit

from dpaudit.bounds.betting import betting_bound
from dpaudit.bounds.family import accountant_family, any_family, gaussian_family
from dpaudit.bounds.gdp import gdp_epsilon
from dpaudit.bounds.guesses import Guesses
from dpaudit.bounds.joint.adaptive import AdaptiveCount
from dpaudit.bounds.joint.count import JointCount
from dpaudit.bounds.max_p import PlannedTest, max_p_bound, max_p_value
from dpaudit.bounds.one_run_fdp import FdpRecursion
from dpaudit.bounds.tradeoff import EpsilonDelta, Gaussian, Profile, TradeOff

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    LawOf = Callable[..., NDArray[np.float64]]
    ChanceOf = Callable[..., float]

TEST = AdaptiveCount()


def run_of(canaries: int, guesses: int, correct: int) -> Guesses:
    return Guesses(canaries=canaries, guesses=guesses, correct=correct)


def certified(run: Guesses, hypothesis: str, delta: float = 1e-5) -> float:
    family = any_family(delta=delta) if hypothesis == "any" else gaussian_family(delta=delta)
    return max_p_bound(PlannedTest(test=TEST, family=family, confidence=0.95), [run], strategy="fixed").epsilon


@pytest.mark.parametrize(
    ("canaries", "guesses", "correct", "p_value", "epsilon"),
    [
        (1000, 150, 147, 0.0900, 4.299),
        pytest.param(1000, 100, 89, 0.0793, 2.142, marks=pytest.mark.slow),
        pytest.param(10_000, 500, 496, 0.0899, 5.203, marks=pytest.mark.slow),
    ],
)
def test_known_values(canaries: int, guesses: int, correct: int, p_value: float, epsilon: float) -> None:
    # the p-value where the recursion's is 5 %; the reference gives .071 to .090
    run, family = run_of(canaries, guesses, correct), gaussian_family(delta=1e-5)
    there = family.largest_refuted(lambda curve: FdpRecursion().refutes(curve, run, 0.05)).parameter
    assert there is not None
    assert TEST.p_value(Gaussian(there), run) == pytest.approx(p_value, rel=0.01)
    assert certified(run, "gaussian") == pytest.approx(epsilon, rel=2e-3)


CURVES = [
    Gaussian(0.5),
    EpsilonDelta(1.0, 0.0),
    EpsilonDelta(0.8, 1e-4),
    Profile(np.array([0.0, 0.5, 1.5]), np.array([0.3, 0.1, 1e-3])),
]


@pytest.mark.parametrize("curve", CURVES, ids=repr)
def test_never_below_the_joint_count_and_rising_with_the_errors(curve: TradeOff) -> None:
    found = []
    for correct in (40, 36, 32):
        run = run_of(200, 40, correct)
        found.append(TEST.p_value(curve, run))
        # 1e-4: under pure DP the joint test's grid ends a little short of the promise's epsilon
        assert found[-1] >= JointCount().p_value(curve, run) * (1 - 5e-3) - 1e-4
        assert TEST.refutes(curve, run, found[-1])
        assert not TEST.refutes(curve, run, found[-1] * 0.99)
    assert found == sorted(found)


def test_rising_with_mu_and_with_the_canaries_and_falling_with_the_guesses() -> None:
    by_mu = [TEST.p_value(Gaussian(mu), run_of(200, 50, 47)) for mu in (0.0, 0.8)]
    by_canaries = [TEST.p_value(EpsilonDelta(1.5, 1e-4), run_of(m, 50, 47)) for m in (60, 6000)]
    by_guesses = [TEST.p_value(Gaussian(0.8), run_of(200, r, r - 3)) for r in (70, 35)]
    for found in (by_mu, by_canaries, by_guesses):
        assert found == sorted(found)
        assert found[-1] > 2 * found[0]


@pytest.mark.parametrize(("guesses", "correct"), [(150, 147), pytest.param(100, 89, marks=pytest.mark.slow)])
def test_a_gaussian_promise_is_refuted_less_far_than_by_guesses_that_do_not_adapt(guesses: int, correct: int) -> None:
    run = run_of(1000, guesses, correct)
    joint = PlannedTest(test=JointCount(), family=gaussian_family(delta=1e-5), confidence=0.95)
    assert 0.85 < certified(run, "gaussian") / max_p_bound(joint, [run], strategy="fixed").epsilon < 0.93


@pytest.mark.parametrize("epsilon", [0.5, 2.0])
def test_pure_dp_is_the_binomial(epsilon: float) -> None:
    for correct in (60, 55, 45):
        exact = bdtr(60 - correct, 60, expit(-epsilon))
        assert TEST.p_value(EpsilonDelta(epsilon, 0.0), run_of(100, 60, correct)) == pytest.approx(exact, rel=1e-4)
        with_delta = TEST.p_value(EpsilonDelta(epsilon, 1e-4), run_of(100, 60, correct))
        assert exact < with_delta <= exact + 100 * 1e-4 * expit(-epsilon) + 1e-9


@pytest.mark.parametrize("accuracy", [1.0, 0.97, 0.8])
def test_more_than_betting_certifies_where_the_length_is_fixed(accuracy: float) -> None:
    # typical streams: errors spread evenly. Betting may stop at any time, and pays for it
    stream = np.diff(np.floor(accuracy * np.arange(301) + 1e-9)) > 0
    bet = betting_bound(stream.tolist(), canaries=300, delta=1e-5, confidence=0.95)
    assert certified(run_of(300, 300, int(stream.sum())), "any") > bet.epsilon + 0.02


def test_betting_certifies_more_where_all_errors_are_at_the_end() -> None:
    stream = [True] * 100 + [False] * 200
    bet = betting_bound(stream, canaries=300, delta=1e-5, confidence=0.95)
    assert bet.epsilon > 2.5
    assert certified(run_of(300, 300, 100), "any") == 0.0


@pytest.mark.parametrize("guesses", [20, 100])
def test_null_claims_at_most_alpha(guesses: int, binomial: LawOf, chance_of_refuting: ChanceOf) -> None:
    law = binomial(guesses, 0.5)
    for curve in (Gaussian(0.0), EpsilonDelta(0.0, 0.0)):
        chance = chance_of_refuting(law, 1000, lambda run: TEST.refutes(curve, run, 0.05))  # noqa: B023  # called at once
        assert 0.01 < chance <= 0.05


@pytest.mark.parametrize("chance", [0.051, 0.5])
def test_coverage_on_a_leak_of_all_or_nothing(
    chance: float, leak: LawOf, vertex: Callable[[float, float, float], float], chance_of_refuting: ChanceOf
) -> None:
    law = leak(100, chance, vertex(chance, 0.5, 1.0))
    assert chance_of_refuting(law, 200, lambda run: TEST.refutes(Gaussian(1.0), run, 0.05)) <= 0.05


def test_stopping_when_it_looks_best_is_caught(most_allowed: Callable[[int, float], int]) -> None:
    rng, looks = np.random.default_rng(6), range(5, 61, 5)

    def fewest(guesses: int) -> int:
        runs = (run_of(60, guesses, correct) for correct in range(guesses + 1))
        return next(run.correct for run in runs if TEST.refutes(EpsilonDelta(0.0, 0.0), run, 0.2))

    needed = {guesses: fewest(guesses) for guesses in looks}
    at_the_end = at_any_time = 0
    for _ in range(300):
        correct = np.cumsum(rng.random(60) < 0.5)
        at_the_end += bool(correct[-1] >= needed[60])
        at_any_time += any(bool(correct[guesses - 1] >= needed[guesses]) for guesses in looks)
    assert at_the_end <= most_allowed(300, 0.2)
    assert at_any_time > most_allowed(300, 0.2), "the number of guesses must be fixed beforehand"


def test_the_search_answers_with_a_curve_that_is_refuted_and_close_to_one_that_is_not() -> None:
    for family in (gaussian_family(delta=1e-5), any_family(delta=1e-5)):
        run = run_of(100, 20, 18)
        found = TEST.largest_refuted(family, [run], 0.05).parameter
        assert found is not None
        assert TEST.p_value(family.curve(found), run) <= 0.05 * 1.005
        assert TEST.p_value(family.curve(found * 1.01), run) > 0.05


@pytest.mark.slow
def test_a_family_whose_curves_are_costly_is_searched_by_p_values() -> None:
    family = accountant_family(
        lambda noise: Gaussian(1 / noise),
        lambda noise: gdp_epsilon(1 / noise, 1e-5),
        delta=1e-5,
        noise_multipliers=(0.1, 30.0),
        start=1.0,
    )
    run = run_of(100, 20, 19)
    by_noise = TEST.largest_refuted(family, [run], 0.05).epsilon
    assert by_noise == pytest.approx(TEST.largest_refuted(gaussian_family(delta=1e-5), [run], 0.05).epsilon, rel=5e-3)


@pytest.mark.parametrize("hypothesis", ["any", "gaussian"])
def test_what_refutes_nothing_answers_0(hypothesis: str) -> None:
    for run in (run_of(1000, 60, 33), run_of(10, 0, 0), run_of(10, 10, 0)):
        assert certified(run, hypothesis) == 0.0
    assert TEST.p_value(Gaussian(0.0), run_of(10, 0, 0)) == TEST.p_value(Gaussian(0.0), run_of(10, 10, 0)) == 1.0


def test_every_run_must_refute() -> None:
    good, better = run_of(300, 40, 36), run_of(300, 40, 39)
    planned = PlannedTest[TradeOff](
        test=TEST, family=any_family(delta=1e-5), confidence=0.95, promise=EpsilonDelta(0.3, 1e-5)
    )
    both = max_p_bound(planned, [good, better], strategy="fixed")
    assert both.epsilon == pytest.approx(max_p_bound(planned, [good, good], strategy="fixed").epsilon)
    assert both.epsilon > certified(good, "any")
    promise = EpsilonDelta(0.3, 1e-5)
    assert both.p_value == max_p_value(TEST, promise, [good, better]) == TEST.p_value(promise, good) ** 2


def test_too_many_guesses_are_bounded_by_one_toll_and_this_is_said() -> None:
    run = run_of(200_000, 100_000, 60_000)
    planned = PlannedTest(test=TEST, family=any_family(delta=1e-9), confidence=0.95)
    bound = max_p_bound(planned, [run], strategy="fixed")
    assert bound.note.startswith("by a toll at one epsilon")
    assert 0.35 < bound.epsilon < math.log(1.5)
    assert max_p_bound(planned, [run_of(1000, 100, 90)], strategy="fixed").note == ""
