"""The area under the ROC curve: closed forms, published bounds, coverage."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.special import ndtr, ndtri

from dpaudit.bounds.auc import auc_bound, auc_p_value, largest_auc, pairwise_auc
from dpaudit.bounds.family import any_family, gaussian_family
from dpaudit.bounds.gdp import gdp_delta, gdp_epsilon
from dpaudit.bounds.tradeoff import EpsilonDelta, Gaussian, Profile
from dpaudit.errors import InputError
from dpaudit.scores import LabelledScores

if TYPE_CHECKING:
    from collections.abc import Callable


def trials(rng: np.random.Generator, mu: float, each: int) -> LabelledScores:
    member = np.arange(2 * each) < each
    return LabelledScores(scores=rng.normal(size=2 * each) + mu * member, member=member)


def test_the_area_counts_pairs() -> None:
    rng = np.random.default_rng(0)
    runs = LabelledScores(scores=rng.integers(0, 5, 60).astype(float), member=rng.random(60) < 0.4)
    inside, outside = runs.scores[runs.member], runs.scores[~runs.member]
    pairs = [(a > b) + (a == b) / 2 for a in inside for b in outside]
    assert pairwise_auc(runs) == pytest.approx(np.mean(pairs))


def test_the_largest_area_of_known_curves() -> None:
    assert largest_auc(Gaussian(1.3)) == pytest.approx(ndtr(1.3 / math.sqrt(2)))
    assert largest_auc(EpsilonDelta(0.0, 0.0)) == pytest.approx(0.5)
    # pure epsilon: 1 - f is two straight lines that meet at (1 / (1 + e^eps), e^eps / (1 + e^eps))
    q = 1 / (1 + math.exp(-1.5))
    assert largest_auc(EpsilonDelta(1.5, 0.0)) == pytest.approx(q, abs=1e-6)
    assert largest_auc(EpsilonDelta(1.5, 0.0)) >= q - 1e-15


def test_the_largest_area_is_rounded_up() -> None:
    epsilons = np.linspace(0, 15, 400)
    profile = Profile(epsilons, np.array([gdp_delta(1.3, e) for e in epsilons]))
    assert ndtr(1.3 / math.sqrt(2)) <= largest_auc(profile) <= ndtr(1.3 / math.sqrt(2)) + 1e-4


@pytest.mark.parametrize(
    ("mu", "each", "published"),
    [
        (0.924931, 50, 1.03),
        (0.924931, 500, 2.99),
        (0.924931, 5000, 3.67),
        (1.666031, 50, 3.94),
        (1.666031, 500, 6.60),
        (1.666031, 5000, 7.54),
        (0.501552, 500, 1.15),
    ],
)
def test_published_bounds_at_the_expected_area(mu: float, each: int, published: float) -> None:
    auc, level = float(ndtr(mu / math.sqrt(2))), 0.05
    low, high = 0.0, 5.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if auc_p_value(Gaussian(middle), auc, each) <= level else (low, middle)
    assert gdp_epsilon(low, 1e-5) == pytest.approx(published, rel=0.005, abs=0.006)


def test_the_bound_inverts_the_divergence() -> None:
    runs = trials(np.random.default_rng(0), 1.5, 300)
    bound = auc_bound(gaussian_family(delta=1e-5), runs, confidence=0.95, trials="independent runs")
    assert bound.parameter is not None
    a, auc = float(ndtr(bound.parameter / math.sqrt(2))), pairwise_auc(runs)
    divergence = auc * math.log(auc / a) + (1 - auc) * math.log((1 - auc) / (1 - a))
    assert divergence == pytest.approx(math.log(20) / 300, rel=1e-4)


@pytest.mark.parametrize("mu", [0.0, 1.0, 3.0])
def test_coverage(mu: float, most_allowed: Callable[[int, float], int]) -> None:
    rng = np.random.default_rng(4)
    p_values = [auc_p_value(Gaussian(mu), pairwise_auc(trials(rng, mu, 40)), 40) for _ in range(2000)]
    assert sum(p <= 0.2 for p in p_values) <= most_allowed(2000, 0.2)


def test_taking_all_pairs_for_independent_is_caught(most_allowed: Callable[[int, float], int]) -> None:
    rng = np.random.default_rng(4)
    p_values = [auc_p_value(Gaussian(0.0), pairwise_auc(trials(rng, 0.0, 40)), 40 * 40) for _ in range(500)]
    assert sum(p <= 0.2 for p in p_values) > most_allowed(500, 0.2)


def test_a_perfect_attack_is_not_infinite() -> None:
    runs = LabelledScores(scores=np.arange(100.0), member=np.arange(100) >= 50)
    bound = auc_bound(gaussian_family(delta=1e-5), runs, confidence=0.95, trials="canaries of one run")
    assert bound.parameter == pytest.approx(math.sqrt(2) * ndtri(0.05 ** (1 / 50)), abs=1e-6)
    assert bound.guarantee == "under_independence"
    any_bound = auc_bound(any_family(delta=0.0), runs, confidence=0.95, trials="independent runs")
    assert any_bound.epsilon == pytest.approx(-math.log(0.05 ** (-1 / 50) - 1), abs=1e-2)


def test_both_worlds_are_needed() -> None:
    with pytest.raises(InputError, match="member"):
        auc_bound(
            gaussian_family(delta=1e-5),
            LabelledScores(scores=np.arange(3.0), member=np.zeros(3, dtype=np.bool_)),
            confidence=0.95,
            trials="independent runs",
        )
