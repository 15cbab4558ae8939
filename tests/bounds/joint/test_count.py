"""The exact test of one count: known numbers, never weaker than the recursion, and level under adversarial leaks."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from dpaudit.bounds.family import accountant_family, any_family, gaussian_family
from dpaudit.bounds.gdp import gdp_epsilon
from dpaudit.bounds.guesses import Guesses
from dpaudit.bounds.joint.count import JointCount
from dpaudit.bounds.max_p import PlannedTest, max_p_bound
from dpaudit.bounds.one_run_fdp import FdpRecursion
from dpaudit.bounds.tradeoff import EpsilonDelta, Gaussian, Profile, TradeOff

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    LawOf = Callable[..., NDArray[np.float64]]
    ChanceOf = Callable[..., float]

TEST = JointCount()


def run_of(canaries: int, guesses: int, correct: int) -> Guesses:
    return Guesses(canaries=canaries, guesses=guesses, correct=correct)


@pytest.mark.parametrize(
    ("canaries", "guesses", "correct", "recursion", "exact"),
    [
        (1000, 150, 147, 4.734, 4.82),
        (1000, 100, 89, 2.324, 2.388),
        (1000, 150, 109, 1.003, 1.045),
        (10_000, 500, 496, 5.579, 5.663),
        (100_000, 1500, 1494, 6.005, 6.081),
    ],
)
def test_known_values(canaries: int, guesses: int, correct: int, recursion: float, exact: float) -> None:
    planned = PlannedTest(test=TEST, family=gaussian_family(delta=1e-5), confidence=0.95)
    bound = max_p_bound(planned, [run_of(canaries, guesses, correct)], strategy="fixed")
    assert bound.epsilon == pytest.approx(exact, rel=2e-3)
    assert bound.epsilon > recursion * 1.01
    assert (bound.method, bound.guarantee, bound.note) == ("one-run-joint", "certified", "")


CURVES = [
    Gaussian(0.5),
    EpsilonDelta(1.0, 0.0),
    EpsilonDelta(0.8, 1e-4),
    Profile(np.array([0.0, 0.5, 1.5]), np.array([0.3, 0.1, 1e-3])),
]


@pytest.mark.parametrize("curve", CURVES, ids=lambda curve: type(curve).__name__)
def test_never_above_the_recursion_and_rising_with_the_errors(curve: TradeOff) -> None:
    found = []
    for correct in (40, 37, 34, 31):
        run = run_of(200, 40, correct)
        found.append(TEST.p_value(curve, run))
        assert found[-1] <= FdpRecursion().p_value(curve, run)
        assert TEST.refutes(curve, run, found[-1])
        assert not TEST.refutes(curve, run, found[-1] * 0.99)
    assert found == sorted(found)


def test_the_search_answers_with_a_curve_that_is_refuted_and_close_to_one_that_is_not() -> None:
    for family in (gaussian_family(delta=1e-5), any_family(delta=1e-5)):
        run = run_of(1000, 100, 92)
        found = TEST.largest_refuted(family, [run], 0.05).parameter
        assert found is not None
        assert TEST.p_value(family.curve(found), run) <= 0.05 * 1.001
        assert TEST.p_value(family.curve(found * 1.01), run) > 0.05


def test_a_family_whose_curves_are_costly_is_searched_by_p_values() -> None:
    family = accountant_family(
        lambda noise: Gaussian(1 / noise),
        lambda noise: gdp_epsilon(1 / noise, 1e-5),
        delta=1e-5,
        noise_multipliers=(0.1, 30.0),
        start=1.0,
    )
    run = run_of(1000, 150, 147)
    by_noise = TEST.largest_refuted(family, [run], 0.05)
    by_mu = TEST.largest_refuted(gaussian_family(delta=1e-5), [run], 0.05)
    assert by_noise.epsilon == pytest.approx(by_mu.epsilon, rel=5e-3)
    assert by_noise.epsilon <= by_mu.epsilon + 1e-2


@pytest.mark.parametrize("chance", [0.051, 0.1, 0.2, 0.5, 1.0])
def test_coverage_on_a_leak_of_all_or_nothing(
    chance: float,
    leak: LawOf,
    vertex: Callable[[float, float, float], float],
    chance_of_refuting: ChanceOf,
) -> None:
    for canaries, guesses in ((1000, 1000), (1000, 200)):
        law = leak(guesses, chance, vertex(chance, guesses / canaries, 1.0))
        assert chance_of_refuting(law, canaries, lambda run: TEST.refutes(Gaussian(1.0), run, 0.05)) <= 0.05


@pytest.mark.parametrize("eps", [0.5, 2.0])
def test_coverage_on_randomised_response_is_exact(eps: float, binomial: LawOf, chance_of_refuting: ChanceOf) -> None:
    law = binomial(60, 1 / (1 + math.exp(-eps)))
    truth = chance_of_refuting(law, 60, lambda run: TEST.refutes(EpsilonDelta(eps, 0.0), run, 0.05))
    assert 0.01 < truth <= 0.05


def test_the_worst_law_of_the_count_reaches_the_bound() -> None:
    # a test of the count alone cannot do better: this law keeps every inequality, on a finer grid than the bound's
    from scipy.optimize import linprog  # noqa: PLC0415

    m, r, wrong, curve = 60, 12, 2, Gaussian(1.0)
    epsilons = np.linspace(0.0, 6.0, 60)
    errors = np.arange(r + 1)
    right, late = r - errors[:-1], errors[:-1] + 1
    edges = len(right)
    width = r + 1 + edges * len(epsilons)
    rows, limits = [], []
    for level, epsilon in enumerate(epsilons.tolist()):
        budget = np.zeros(width)
        for edge in range(edges):
            row = np.zeros(width)
            row[edge], row[edge + 1] = right[edge], -math.exp(epsilon) * late[edge]
            row[r + 1 + level * edges + edge] = -1.0
            rows.append(row)
            limits.append(0.0)
            budget[r + 1 + level * edges + edge] = 1.0
        rows.append(budget)
        limits.append(m * curve.delta_at(epsilon))
    reward = np.where(np.arange(width) <= wrong, -1.0, 0.0)
    law = np.where(np.arange(width) <= r, 1.0, 0.0)
    found = linprog(reward, A_ub=np.array([*rows, law]), b_ub=[*limits, 1.0])
    assert found.fun is not None
    bound = TEST.p_value(curve, run_of(m, r, r - wrong))
    assert -found.fun <= bound * (1 + 1e-6)
    assert -found.fun == pytest.approx(bound, rel=0.03)


@pytest.mark.parametrize("guesses", [20, 100])
def test_null_claims_at_most_alpha(guesses: int, binomial: LawOf, chance_of_refuting: ChanceOf) -> None:
    law = binomial(guesses, 0.5)
    for curve in (Gaussian(0.0), EpsilonDelta(0.0, 0.0)):
        assert chance_of_refuting(law, 1000, lambda run: TEST.refutes(curve, run, 0.05)) <= 0.05  # noqa: B023  # called at once


def test_too_many_errors_are_left_to_the_recursion_and_this_is_said() -> None:
    run = run_of(100_000, 3000, 2000)
    planned = PlannedTest(test=TEST, family=gaussian_family(delta=1e-5), confidence=0.95)
    by_recursion = PlannedTest(test=FdpRecursion(), family=gaussian_family(delta=1e-5), confidence=0.95)
    bound = max_p_bound(planned, [run], strategy="fixed")
    assert bound.epsilon == max_p_bound(by_recursion, [run], strategy="fixed").epsilon
    assert bound.note.startswith("by the recursion")


def test_degenerate_counts_refute_nothing() -> None:
    for run in (run_of(10, 0, 0), run_of(10, 10, 0)):
        assert TEST.p_value(Gaussian(0.0), run) == 1.0
