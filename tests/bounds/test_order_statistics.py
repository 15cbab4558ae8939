"""Order statistics of independent canaries: published numbers, a simulation, and what happens without independence."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.special import ndtr

from dpaudit.bounds.family import gaussian_family
from dpaudit.bounds.gdp import gdp_delta
from dpaudit.bounds.guesses import Guesses
from dpaudit.bounds.max_p import PlannedTest, max_p_bound
from dpaudit.bounds.order_statistics import OrderStatistics, error_above
from dpaudit.bounds.tradeoff import EpsilonDelta, Gaussian, Profile

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from dpaudit.bounds.tradeoff import TradeOff
    from dpaudit.results import Bound

TEST = OrderStatistics()


def bound(canaries: int, guesses: int, correct: int) -> Bound:
    planned = PlannedTest(test=TEST, family=gaussian_family(delta=1e-5), confidence=0.95)
    return max_p_bound(planned, [Guesses(canaries=canaries, guesses=guesses, correct=correct)], strategy="fixed")


def error_at(curve: TradeOff, rank: float) -> float:
    return float(error_above(curve, np.array([rank]))[0])


@pytest.mark.parametrize(
    ("guesses", "correct", "mu", "eps"),
    [(1000, 600, 0.3722, 1.4359), (100, 90, 0.7537, 3.1645), (100, 100, 1.4544, 6.7960)],
)
def test_published_bounds(guesses: int, correct: int, mu: float, eps: float) -> None:
    found = bound(1000, guesses, correct)
    assert found.parameter == pytest.approx(mu, abs=1e-4)
    assert found.epsilon == pytest.approx(eps, abs=1e-4)


@pytest.mark.parametrize(("correct", "eps"), [(921, 14.07), (903, 12.63), (868, 10.40), (793, 6.96)])
def test_published_claims_about_a_mechanism_of_epsilon_4(correct: int, eps: float) -> None:
    assert bound(1000, 1000, correct).epsilon == pytest.approx(eps, abs=0.006)


@pytest.mark.parametrize(("correct", "p_value"), [(921, 7e-70), (903, 7e-58), (868, 5e-39), (793, 4e-13)])
def test_published_p_values_of_that_mechanism(correct: int, p_value: float) -> None:
    found = TEST.p_value(Gaussian(1.0), Guesses(canaries=1000, guesses=1000, correct=correct))
    assert math.log10(found) == pytest.approx(math.log10(p_value), abs=0.1)


def test_errors_of_the_best_guess() -> None:
    assert error_at(Gaussian(1.0), 0.0) == pytest.approx(ndtr(-0.5))
    assert error_at(EpsilonDelta(1.0, 1e-5), 0.0) == pytest.approx((1 - 1e-5) / (1 + math.e))
    assert error_at(EpsilonDelta(1.0, 0.3), 0.8) == pytest.approx(0.0, abs=1e-12)
    # Gaussian, closed form: |log-likelihood ratio| above mu c
    mu, c = 1.2, 0.7
    wrong, right = ndtr(-c - mu / 2), ndtr(-c + mu / 2)
    assert error_at(Gaussian(mu), 1 - wrong - right) == pytest.approx(wrong / (wrong + right), rel=1e-9)


def error_by_a_loop(curve: TradeOff, rank: float) -> float:
    """Return `error_above` of one rank, by bisection on one number."""
    low, high = 0.0, 1.0
    for _ in range(60):
        x = (low + high) / 2
        low, high = (x, high) if x + curve.inverse_blow_up(x) <= 1 - rank else (low, x)
    return max(0.0, 1 - rank - high) / (1 - rank)


@pytest.mark.parametrize(
    "curve",
    [
        Gaussian(0.0),
        Gaussian(1.3),
        EpsilonDelta(0.0, 0.0),
        EpsilonDelta(2.0, 0.1),
        EpsilonDelta(900.0, 0.0),
        Profile(np.array([0.0, 1.0, 3.0]), np.array([0.4, 0.2, 0.01])),
    ],
    ids=repr,
)
def test_all_ranks_at_once_give_what_each_rank_gives(curve: TradeOff) -> None:
    ranks = np.concatenate([np.linspace(0, 0.999, 60), [1 - 1e-6]])
    one_by_one = [error_by_a_loop(curve, rank) for rank in ranks.tolist()]
    np.testing.assert_allclose(error_above(curve, ranks), one_by_one, rtol=1e-12, atol=1e-12)


def test_a_profile_of_a_gaussian_is_a_gaussian() -> None:
    epsilons = np.linspace(0, 12, 1500)
    profile = Profile(epsilons, np.array([gdp_delta(1.0, e) for e in epsilons]))
    run = Guesses(canaries=500, guesses=100, correct=85)
    assert TEST.p_value(profile, run) == pytest.approx(TEST.p_value(Gaussian(1.0), run), rel=1e-3)


@pytest.mark.parametrize(("canaries", "guesses"), [(200, 40), (60, 60), (50, 1)])
def test_the_law_of_errors_is_exact_for_the_best_guesser(canaries: int, guesses: int) -> None:
    rng, mu, audits = np.random.default_rng(2), 1.0, 4000
    coin = rng.choice([-0.5, 0.5], size=(audits, canaries))
    score = coin * mu + rng.normal(size=(audits, canaries))
    surest = np.argsort(-np.abs(score), axis=1)[:, :guesses]
    right = np.take_along_axis(score * coin > 0, surest, axis=1).sum(axis=1)
    for value in np.unique(right):
        chance = TEST.p_value(Gaussian(mu), Guesses(canaries=canaries, guesses=guesses, correct=int(value)))
        assert (right >= value).mean() == pytest.approx(chance, abs=4 * math.sqrt(0.25 / audits))


def test_it_over_claims_where_canaries_interact(
    leak: Callable[[int, float, float], NDArray[np.float64]],
    vertex: Callable[[float, float, float], float],
    chance_of_refuting: Callable[..., float],
) -> None:
    # Exactly 1-GDP, yet refuted at 5 % whenever it leaks.
    for chance in (0.1, 0.5):
        law = leak(1000, chance, vertex(chance, 1.0, 1.0))
        refuted = chance_of_refuting(law, 1000, lambda run: TEST.refutes(Gaussian(1.0), run, 0.05))
        assert refuted > 0.99 * chance
    assert bound(1000, 1000, 793).guarantee == "under_independence"
