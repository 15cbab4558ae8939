"""Curves for the page: the trade-off is a valid, nearly tight trade-off curve."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.stats import norm

from dpaudit.accounting.curve import privacy_profile
from dpaudit.accounting.series import profile_series, trade_off, trade_off_series

if TYPE_CHECKING:
    from collections.abc import Callable

    from dpaudit.mechanism import Mechanism

RATES = np.concatenate([np.geomspace(1e-7, 0.01, 40), np.linspace(0.01, 1, 60)])


@pytest.mark.parametrize("noise", [40.0, 10.0, 3.0, 1.0])
def test_trade_off_of_a_gaussian_is_just_below_the_exact_one(
    make_mechanism: Callable[..., Mechanism], noise: float
) -> None:
    mechanism = make_mechanism(1.0, noise, 16, sampling="full")
    found = trade_off(*privacy_profile(mechanism), RATES)
    exact = norm.cdf(norm.isf(RATES) - 4 / noise)
    assert np.all(found <= exact + 1e-12)
    assert found == pytest.approx(exact, abs=1e-3, rel=5e-3)


def test_trade_off_series_is_convex_and_falls(make_mechanism: Callable[..., Mechanism]) -> None:
    series = trade_off_series(make_mechanism())
    rates, misses = np.array(series.x), np.array(series.y)
    slopes = np.diff(misses) / np.diff(rates)
    assert np.all(slopes <= 0)
    assert np.all(np.diff(slopes) > -1e-6 * np.abs(slopes[1:]) - 1e-9)
    assert np.all(misses <= 1 - rates + 1e-12)


def test_profile_series_is_a_part_of_the_profile(make_mechanism: Callable[..., Mechanism]) -> None:
    series = profile_series(make_mechanism(), points=50)
    epsilons, deltas = privacy_profile(make_mechanism())
    assert len(series.x) == len(series.y) == 50
    assert (series.x[0], series.x[-1]) == (epsilons[0], epsilons[-1])
    assert set(series.y) <= set(deltas.tolist())


@pytest.mark.parametrize(("noise", "expected"), [(0.0, 0.0), (float("inf"), 0.75)])
def test_trivial_trade_offs(make_mechanism: Callable[..., Mechanism], noise: float, expected: float) -> None:
    found = trade_off(*privacy_profile(make_mechanism(noise=noise)), np.array([0.25]))
    assert found.tolist() == [expected]
