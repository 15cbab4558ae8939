"""Two Gaussians and the cosines of random directions: published numbers and a numerical twin."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import betainc

from dpaudit.bounds.gdp import gdp_epsilon, gdp_mu
from dpaudit.bounds.one_shot import one_shot_epsilon, one_shot_estimate, two_gaussian_delta, two_gaussian_epsilon
from dpaudit.errors import InputError

LAWS = [((0.0, 1.0), (1.0, 1.0)), ((0.0, 1.0), (0.7, 1.5)), ((2.0, 0.4), (1.0, 1.1)), ((0.0, 1.0), (0.0, 2.0))]


@pytest.mark.parametrize(("dimension", "eps"), [(2000, 2.317789), (200, 2.375326)])
def test_published_estimates(dimension: int, eps: float) -> None:
    unit = dimension**-0.5
    assert one_shot_epsilon(unit, unit, dimension, 1e-2) == pytest.approx(eps, abs=1e-6)


@pytest.mark.parametrize("epsilon", [0.5, 1.0, 5.0])
@pytest.mark.parametrize("delta", [1e-5, 1e-2])
@pytest.mark.parametrize("sensitivity", [1e-2, 1.0, 10.0])
@pytest.mark.parametrize("difference", [-1e-12, 0.0, 1e-12])
def test_noise_calibrated_to_an_epsilon_gives_it_back(
    epsilon: float, delta: float, sensitivity: float, difference: float
) -> None:
    noise = sensitivity / gdp_mu(epsilon, delta)
    found = two_gaussian_epsilon((0.0, noise), (sensitivity, noise + difference), delta)
    assert found == pytest.approx(epsilon, rel=1e-6)


@pytest.mark.parametrize(("first", "second"), LAWS)
@pytest.mark.parametrize("epsilon", [0.0, 0.5, 2.0])
def test_delta_equals_a_sum_over_a_grid(
    first: tuple[float, float], second: tuple[float, float], epsilon: float
) -> None:
    y = np.linspace(-20, 20, 400_001)

    def density(law: tuple[float, float]) -> np.ndarray:
        return np.exp(-(((y - law[0]) / law[1]) ** 2) / 2) / law[1] / math.sqrt(2 * math.pi)

    for one, two in ((first, second), (second, first)):
        excess = np.maximum(0, density(one) - math.exp(epsilon) * density(two)).sum() * (y[1] - y[0])
        assert two_gaussian_delta(one, two, epsilon) == pytest.approx(excess, abs=1e-6)


@pytest.mark.parametrize(("first", "second"), LAWS)
def test_epsilon_inverts_delta(first: tuple[float, float], second: tuple[float, float]) -> None:
    epsilon = two_gaussian_epsilon(first, second, 1e-3)
    worse = max(two_gaussian_delta(first, second, epsilon), two_gaussian_delta(second, first, epsilon))
    assert worse == pytest.approx(1e-3, rel=1e-6)
    assert two_gaussian_epsilon(first, second, 0.9) == 0.0


def test_equal_spreads_are_gdp_and_nearly_equal_ones_nearly() -> None:
    assert two_gaussian_epsilon((5.0, 2.0), (3.0, 2.0), 1e-5) == pytest.approx(gdp_epsilon(1.0, 1e-5), abs=1e-8)
    for spread in (1 - 1e-9, 1 + 1e-9):
        assert two_gaussian_epsilon((0.0, 1.0), (1.0, spread), 1e-5) == pytest.approx(4.377178, abs=1e-5)


def test_the_law_of_a_cosine_is_a_beta() -> None:
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(20_000, 7))
    cosines = directions[:, 0] / np.linalg.norm(directions, axis=1)
    for t in (-0.5, 0.0, 0.3):
        assert (cosines <= t).mean() == pytest.approx(betainc(3.0, 3.0, (1 + t) / 2), abs=0.015)


def test_the_estimate_recovers_a_gaussian_mechanism() -> None:
    cosines = np.random.default_rng(1).normal(1.5, 1.0, size=20_000) / 200
    found = one_shot_estimate(cosines, 40_000, delta=1e-5)
    assert found.epsilon == pytest.approx(gdp_epsilon(1.5, 1e-5), rel=0.03)
    assert (found.guarantee, found.hypothesis, found.confidence) == ("estimate", "none", None)


def test_the_estimate_is_no_bound() -> None:
    # at no privacy loss it still answers well above 0, half of the time: it has no confidence to state
    rng = np.random.default_rng(2)
    found = [one_shot_estimate(rng.normal(0, 0.01, size=100), 10_000, delta=1e-5).epsilon for _ in range(50)]
    assert np.median(found) > 0.3


@pytest.mark.parametrize("cosines", [[0.1], [0.1, 1.2], [0.1, float("nan")]])
def test_what_is_no_cosine_is_refused(cosines: list[float]) -> None:
    with pytest.raises(InputError, match="cosines"):
        one_shot_estimate(np.array(cosines), 100, delta=1e-5)


def test_impossible_settings_are_refused() -> None:
    for mean, spread, dimension, delta in ((0.1, 0.1, 1, 0.1), (0.1, 0.1, 100, 0.0), (0.1, 0.0, 100, 0.1)):
        with pytest.raises(InputError):
            one_shot_epsilon(mean, spread, dimension, delta)
