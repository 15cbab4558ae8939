"""Trade-off curves against their definitions, each other, and what validity asks of a coarse grid."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtr, ndtri

from dpaudit.bounds.gdp import gdp_delta
from dpaudit.bounds.tradeoff import EpsilonDelta, Gaussian, Profile, TradeOff, false_negative_rate
from dpaudit.errors import InputError

RATES = np.linspace(0, 1, 501)


def gaussian_profile(mu: float, points: int, top: float = 12.0) -> Profile:
    epsilons = np.linspace(0, top, points)
    return Profile(epsilons, np.array([gdp_delta(mu, epsilon) for epsilon in epsilons]))


CURVES: list[TradeOff] = [
    EpsilonDelta(0.0, 0.0),
    EpsilonDelta(1.3, 0.0),
    EpsilonDelta(2.0, 0.05),
    Gaussian(0.0),
    Gaussian(1.0),
    Gaussian(3.0),
    gaussian_profile(1.0, 30),
]


def test_epsilon_delta_is_its_definition() -> None:
    epsilon, delta = 1.7, 0.02
    f = np.maximum(0, np.maximum(1 - delta - np.exp(epsilon) * RATES, np.exp(-epsilon) * (1 - delta - RATES)))
    np.testing.assert_allclose(false_negative_rate(EpsilonDelta(epsilon, delta), RATES), f, atol=1e-14)


def test_gaussian_is_its_definition() -> None:
    inner = RATES[1:-1]
    np.testing.assert_allclose(false_negative_rate(Gaussian(1.2), inner), ndtr(ndtri(1 - inner) - 1.2), rtol=1e-10)


def test_gaussian_is_accurate_far_in_the_tail() -> None:
    assert Gaussian(2.0).inverse_blow_up(1e-200) == pytest.approx(ndtr(ndtri(1e-200) - 2.0), rel=1e-10)


@pytest.mark.parametrize("curve", CURVES, ids=repr)
def test_curves_are_trade_off_curves(curve: TradeOff) -> None:
    f = false_negative_rate(curve, RATES)
    assert (f >= 0).all()
    assert (f <= 1 - RATES + 1e-15).all(), "no curve promises more than perfect privacy"
    assert (np.diff(f) <= 1e-15).all(), "falling"
    assert (np.diff(f, 2) >= -1e-12).all(), "convex"


@pytest.mark.parametrize("curve", CURVES, ids=repr)
def test_curves_are_symmetric(curve: TradeOff) -> None:
    f = false_negative_rate(curve, RATES)
    inside = f > 0
    np.testing.assert_allclose(false_negative_rate(curve, f[inside]), RATES[inside], atol=1e-9)


def test_a_coarse_grid_is_never_above_the_curve_and_a_fine_one_is_close() -> None:
    exact = false_negative_rate(Gaussian(1.0), RATES)
    coarse = false_negative_rate(gaussian_profile(1.0, 5), RATES)
    fine = false_negative_rate(gaussian_profile(1.0, 2000), RATES)
    assert (coarse <= exact + 1e-12).all()
    assert (coarse < exact - 1e-3).any()
    np.testing.assert_allclose(fine, exact, atol=5e-6)


def test_a_profile_of_one_point_is_epsilon_delta() -> None:
    profile = Profile(np.array([1.1]), np.array([0.03]))
    np.testing.assert_allclose(
        false_negative_rate(profile, RATES), false_negative_rate(EpsilonDelta(1.1, 0.03), RATES), atol=1e-14
    )


@given(
    points=st.dictionaries(st.floats(0, 20), st.floats(0, 1), min_size=1, max_size=12),
    x=st.floats(0, 1),
)
def test_a_profile_is_the_highest_of_its_curves(points: dict[float, float], x: float) -> None:
    epsilons = sorted(points)
    epsilons = [e for i, e in enumerate(epsilons) if i == 0 or e > epsilons[i - 1] + 1e-6]
    profile = Profile(np.array(epsilons), np.array([points[e] for e in epsilons]))
    highest = max(EpsilonDelta(e, points[e]).inverse_blow_up(x) for e in epsilons)
    assert profile.inverse_blow_up(x) == pytest.approx(highest, abs=1e-9)


def test_grid_points_beyond_floating_point_are_left_out() -> None:
    profile = Profile(np.array([1.0, 1e4]), np.array([0.1, 0.0]))
    assert profile.inverse_blow_up(0.7) == EpsilonDelta(1.0, 0.1).inverse_blow_up(0.7)
    assert EpsilonDelta(1e4, 0.0).inverse_blow_up(0.7) == 0.0


@pytest.mark.parametrize("curve", [*CURVES, EpsilonDelta(1e4, 0.2), gaussian_profile(0.5, 1)], ids=repr)
def test_a_column_of_rates_gives_what_each_rate_gives(curve: TradeOff) -> None:
    rates = np.concatenate([RATES, [1e-300, 1e-12, 1 - 1e-12]])
    one_by_one = [curve.inverse_blow_up(rate) for rate in rates.tolist()]
    np.testing.assert_allclose(curve.inverse_blow_ups(rates), one_by_one, rtol=1e-10, atol=1e-300)
    assert curve.inverse_blow_ups(rates.reshape(2, -1)).shape == (2, len(rates) // 2)


def test_the_ends() -> None:
    for curve in CURVES:
        assert curve.inverse_blow_up(0.0) == pytest.approx(0.0, abs=1e-12)
    assert Gaussian(1.0).inverse_blow_up(1.0) == 1.0
    assert EpsilonDelta(1.0, 0.25).inverse_blow_up(1.0) == 0.75


@pytest.mark.parametrize(
    ("epsilons", "deltas"),
    [([], []), ([0.0, 1.0], [0.1]), ([1.0, 0.5], [0.1, 0.2]), ([-1.0], [0.1]), ([1.0], [1.5]), ([1.0], [math.nan])],
)
def test_impossible_profiles_are_refused(epsilons: list[float], deltas: list[float]) -> None:
    with pytest.raises(InputError):
        Profile(np.array(epsilons), np.array(deltas))


def test_impossible_curves_are_refused() -> None:
    with pytest.raises(InputError, match="epsilon"):
        EpsilonDelta(-0.1, 0.0)
    with pytest.raises(InputError, match="delta"):
        EpsilonDelta(1.0, math.nan)
    with pytest.raises(InputError, match="mu"):
        Gaussian(math.inf)
