"""Mahloujifar, Melis, Chaudhuri: published numbers, two slow twins, and the false-claim rate on known mechanisms."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.optimize import linprog
from scipy.special import ndtr

from dpaudit.bounds.family import any_family, gaussian_family
from dpaudit.bounds.gdp import gdp_delta
from dpaudit.bounds.guesses import Guesses, guess
from dpaudit.bounds.max_p import PlannedTest, max_p_bound
from dpaudit.bounds.one_run_fdp import FdpRecursion
from dpaudit.bounds.tradeoff import EpsilonDelta, Gaussian, Profile, TradeOff

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from dpaudit.scores import LabelledScores

    LawOf = Callable[..., NDArray[np.float64]]
    ChanceOf = Callable[..., float]

TEST = FdpRecursion()


def run_of(canaries: int, guesses: int, correct: int) -> Guesses:
    return Guesses(canaries=canaries, guesses=guesses, correct=correct)


def epsilon(run: Guesses, *, delta: float = 1e-5, confidence: float = 0.95) -> float:
    planned = PlannedTest(test=TEST, family=gaussian_family(delta=delta), confidence=confidence)
    return max_p_bound(planned, [run], strategy="fixed").epsilon


def refutes_by_arrays(curve: TradeOff, run: Guesses, level: float) -> bool:
    """The published recursion, written out over whole arrays, without any early stop."""
    m, c_all, c = run.canaries, run.guesses, run.correct
    r, h = np.zeros(c + 1), np.zeros(c + 1)
    r[c], h[c] = level * c / m, level * (c_all - c) / m
    for i in range(c - 1, -1, -1):
        h[i] = max(h[i + 1], curve.inverse_blow_up(float(r[i + 1])))
        r[i] = r[i + 1] + i / (c_all - i) * (h[i] - h[i + 1])
    return bool(r[0] + h[0] > c_all / m)


def most_by_linear_program(curve: EpsilonDelta, run: Guesses, *, every_event: bool) -> float:
    """Return the largest P[at least v right] over all laws of the count that obey the leave-one-out inequalities.

    For events "at least i of the others are right", i < v, or for every i; f_(epsilon, delta) is three straight lines.
    """
    m, r, v = run.canaries, run.guesses, run.correct
    k = np.arange(r + 1)
    rows, limits = [], []
    steep, gentle = math.exp(curve.epsilon), math.exp(-curve.epsilon)
    for i in range(r if every_event else v):
        right, wrong = (k >= i + 1) * k / m, (k >= i) * (r - k) / m
        rows += [gentle * right - wrong, steep * right - wrong]
        limits += [gentle * curve.delta, steep - 1 + curve.delta]
    found = linprog(
        -(k >= v).astype(float), A_ub=np.array(rows), b_ub=limits, A_eq=np.ones((1, r + 1)), b_eq=[1], bounds=(0, 1)
    )
    assert found.fun is not None
    return -float(found.fun)


@pytest.mark.parametrize(
    ("guesses", "correct", "mu", "eps"),
    [(1000, 600, 0.1638, 0.5835), (100, 90, 0.6025, 2.4564), (100, 100, 1.2255, 5.5490)],
)
def test_published_bounds(guesses: int, correct: int, mu: float, eps: float) -> None:
    planned = PlannedTest(test=TEST, family=gaussian_family(delta=1e-5), confidence=0.95)
    bound = max_p_bound(planned, [run_of(1000, guesses, correct)], strategy="fixed")
    assert bound.parameter == pytest.approx(mu, abs=1e-4)
    assert bound.epsilon == pytest.approx(eps, abs=2e-4)


@pytest.mark.parametrize(
    ("right", "wrong", "thresholds", "eps"),
    [(379, 27, 386, 2.164749), (934, 4, 374, 4.7218075), (5436, 0, 140, 9.133752)],
)
def test_bounds_of_jax_privacy(right: int, wrong: int, thresholds: int, eps: float) -> None:
    run = run_of(20_000, right + wrong, right)
    assert epsilon(run, delta=1e-6, confidence=1 - 0.05 / thresholds) == pytest.approx(eps, abs=2e-6)


@pytest.mark.parametrize(
    ("canaries", "guesses", "correct", "eps"),
    [
        (1000, 350, 209, 0.335),
        (10_000, 1000, 636, 0.599),
        (100_000, 1500, 1017, 0.718),
        (1000, 150, 109, 1.003),
        (10_000, 350, 273, 1.323),
        (100_000, 700, 577, 1.505),
        (100, 50, 39, 1.311),
        (1000, 100, 89, 2.324),
        (10_000, 350, 322, 2.755),
        (100_000, 1000, 947, 3.052),
        (100, 50, 46, 3.136),
        (1000, 150, 147, 4.734),
        (10_000, 700, 692, 5.493),
        (100_000, 1500, 1494, 6.005),
        (1_000_000, 5000, 4989, 6.354),
    ],
)
def test_tight_at_the_expected_counts_of_an_ideal_gaussian(
    canaries: int, guesses: int, correct: int, eps: float
) -> None:
    assert epsilon(run_of(canaries, guesses, correct)) == pytest.approx(eps, rel=0.005)


@pytest.mark.parametrize(("canaries", "eps"), [(100, 8.22), (1000, 12.3), (10_000, 16.1), (100_000, 19.7)])
def test_caps_of_a_perfect_attack(canaries: int, eps: float) -> None:
    assert epsilon(run_of(canaries, canaries, canaries)) == pytest.approx(eps, rel=0.005)


@pytest.mark.parametrize(("correct", "eps"), [(921, 4.23), (903, 3.84), (868, 3.22), (793, 2.26)], ids=str)
def test_never_above_the_truth_on_the_counter_example(correct: int, eps: float) -> None:
    # the mechanism is 1-GDP, epsilon 4.377; tests that assume independent canaries say up to 14 here
    assert epsilon(run_of(1000, 1000, correct)) == pytest.approx(eps, abs=0.006)


CURVES = [Gaussian(0.4), Gaussian(1.5), EpsilonDelta(0.7, 0.0), EpsilonDelta(1.5, 1e-3)]


@pytest.mark.parametrize("curve", CURVES, ids=repr)
@pytest.mark.parametrize(("canaries", "guesses", "correct"), [(50, 50, 41), (200, 60, 55), (1000, 30, 30), (60, 60, 5)])
def test_equals_the_array_twin(curve: TradeOff, canaries: int, guesses: int, correct: int) -> None:
    run = run_of(canaries, guesses, correct)
    levels = np.geomspace(1e-12, 0.999, 60).tolist()
    fast = [TEST.refutes(curve, run, level) for level in levels]
    assert fast == [refutes_by_arrays(curve, run, level) for level in levels]
    assert fast == sorted(fast), "whoever refutes at a level refutes at every higher one"


@pytest.mark.parametrize("curve", [EpsilonDelta(0.0, 0.0), EpsilonDelta(0.8, 0.0), EpsilonDelta(1.2, 0.004)], ids=repr)
@pytest.mark.parametrize(("canaries", "guesses", "correct"), [(12, 12, 10), (30, 14, 12), (200, 20, 19), (25, 25, 18)])
def test_equals_the_linear_program_over_all_laws(
    curve: EpsilonDelta, canaries: int, guesses: int, correct: int
) -> None:
    run = run_of(canaries, guesses, correct)
    p_value = TEST.p_value(curve, run)
    assert p_value == pytest.approx(most_by_linear_program(curve, run, every_event=False), rel=1e-5)
    assert p_value >= most_by_linear_program(curve, run, every_event=True) - 1e-9


def test_a_recursion_with_a_slip_is_caught_by_the_linear_program() -> None:
    run, curve = run_of(30, 14, 12), EpsilonDelta(0.8, 0.0)

    def slipped(level: float) -> bool:  # the factor of the paper is i / (c' - i)
        right, wrong = level * run.correct / run.canaries, level * (run.guesses - run.correct) / run.canaries
        for i in range(run.correct - 1, -1, -1):
            demanded = max(wrong, curve.inverse_blow_up(right))
            right += (i + 1) / (run.guesses - i) * (demanded - wrong)
            wrong = demanded
        return right + wrong > run.guesses / run.canaries

    honest = most_by_linear_program(curve, run, every_event=False)
    levels = np.geomspace(honest / 2, honest * (1 - 1e-3), 50).tolist()
    assert any(slipped(level) for level in levels), "it rejects at a level that is reached"
    assert not any(TEST.refutes(curve, run, level) for level in levels)


@pytest.mark.parametrize("mu", [0.3, 1.0, 2.5])
@pytest.mark.parametrize("canaries", [20, 1000])
def test_coverage_on_the_gaussian_when_all_are_guessed(
    mu: float, canaries: int, binomial: LawOf, chance_of_refuting: ChanceOf
) -> None:
    law = binomial(canaries, float(ndtr(mu / 2)))
    assert chance_of_refuting(law, canaries, lambda run: TEST.refutes(Gaussian(mu), run, 0.05)) <= 0.05


@pytest.mark.parametrize("eps", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("canaries", [20, 1000])
def test_coverage_on_randomised_response(
    eps: float, canaries: int, binomial: LawOf, chance_of_refuting: ChanceOf
) -> None:
    law = binomial(canaries, 1 / (1 + math.exp(-eps)))
    for curve in (EpsilonDelta(eps, 0.0), Profile(np.array([0.0, eps + 1e-9]), np.array([math.tanh(eps / 2), 0.0]))):
        assert chance_of_refuting(law, canaries, lambda run: TEST.refutes(curve, run, 0.05)) <= 0.05  # noqa: B023  # called at once


def test_the_gaussian_hypothesis_over_claims_on_randomised_response(
    binomial: LawOf, chance_of_refuting: ChanceOf
) -> None:
    # Randomised response at epsilon 2 is not GDP with epsilon 2: this is why a bound carries its hypothesis.
    law = binomial(2000, 1 / (1 + math.exp(-2.0)))
    claims = chance_of_refuting(law, 2000, lambda run: TEST.refutes(Gaussian(0.501552), run, 0.05))
    assert claims > 0.9


@pytest.mark.parametrize("chance", [0.051, 0.1, 0.2, 0.5, 1.0])
@pytest.mark.parametrize("level", [0.05, 0.2])
def test_coverage_on_the_counter_example(
    chance: float,
    level: float,
    leak: LawOf,
    vertex: Callable[[float, float, float], float],
    chance_of_refuting: ChanceOf,
) -> None:
    for canaries, guesses in ((1000, 1000), (1000, 200)):
        law = leak(guesses, chance, vertex(chance, guesses / canaries, 1.0))
        truth = chance_of_refuting(law, canaries, lambda run: TEST.refutes(Gaussian(1.0), run, level))
        assert truth <= level


def test_the_counter_example_nearly_reaches_the_bound(vertex: Callable[[float, float, float], float]) -> None:
    # its expected count certifies the truth to a few per cent: no test of the count alone can do better
    accuracy = vertex(0.05, 1.0, 1.0)
    assert 0.95 * 4.377 < epsilon(run_of(100_000, 100_000, math.floor(accuracy * 100_000))) <= 4.3772


def test_forgetting_the_canaries_that_were_not_guessed_is_caught(
    leak: LawOf, vertex: Callable[[float, float, float], float], chance_of_refuting: ChanceOf
) -> None:
    law = leak(200, 0.2, vertex(0.2, 0.2, 1.0))
    forgetful = chance_of_refuting(law, 200, lambda run: TEST.refutes(Gaussian(1.0), run, 0.05))
    assert forgetful > 0.1, "over a nominal 0.05"


def test_coverage_with_abstention_on_the_gaussian(
    gaussian_run: Callable[[np.random.Generator, int, float], LabelledScores], most_allowed: Callable[[int, float], int]
) -> None:
    rng = np.random.default_rng(8)
    refuted = [TEST.refutes(Gaussian(1.5), run_of(300, 60, v), 0.3) for v in range(61)]
    claims = sum(
        refuted[guess(gaussian_run(rng, 300, 1.5), guesses_in=30, guesses_out=30).correct] for _ in range(1000)
    )
    assert claims <= most_allowed(1000, 0.3)


@pytest.mark.parametrize("guesses", [10, 100, 1000])
@pytest.mark.parametrize("level", [0.01, 0.05, 0.3])
def test_null_claims_at_most_alpha(guesses: int, level: float, binomial: LawOf, chance_of_refuting: ChanceOf) -> None:
    law = binomial(guesses, 0.5)
    for curve in (Gaussian(0.0), EpsilonDelta(0.0, 0.0)):
        assert chance_of_refuting(law, 1000, lambda run: TEST.refutes(curve, run, level)) <= level  # noqa: B023  # called at once


def test_stronger_than_steinke_where_delta_is_paid_often() -> None:
    run = run_of(1_000_000, 2000, 1990)
    planned = PlannedTest(test=TEST, family=any_family(delta=1e-5), confidence=0.95)
    assert max_p_bound(planned, [run], strategy="fixed").epsilon > 3.0


def test_the_accountants_profile_of_a_gaussian_gives_the_gaussian_p_value() -> None:
    epsilons = np.linspace(0, 12, 1500)
    profile = Profile(epsilons, np.array([gdp_delta(1.0, eps) for eps in epsilons]))
    run = run_of(1000, 300, 270)
    exact, gridded = TEST.p_value(Gaussian(1.0), run), TEST.p_value(profile, run)
    assert exact <= gridded * (1 + 1e-6)
    assert gridded == pytest.approx(exact, rel=1e-3)


def test_degenerate_counts_refute_nothing() -> None:
    for run in (run_of(10, 0, 0), run_of(10, 10, 0)):
        assert TEST.p_value(Gaussian(0.0), run) == 1.0
    assert TEST.p_value(Gaussian(0.0), run_of(1000, 1000, 1000)) < 1e-100
