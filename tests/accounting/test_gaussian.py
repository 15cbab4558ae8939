"""The Gaussian mechanism in closed form, against dp-accounting's own and a numerical integral."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from dp_accounting import gaussian_mechanism
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from dpaudit.accounting.gaussian import gaussian_deltas, gaussian_epsilon


@pytest.mark.parametrize("mu", [1e-3, 0.1, 1.0, 10.0])
@pytest.mark.parametrize("epsilon", [0.0, 0.5, 5.0])
def test_delta_is_the_hockey_stick_integral(mu: float, epsilon: float) -> None:
    x, width = np.linspace(-12, 12 + mu, 400_001, retstep=True)
    integral = np.maximum(norm.pdf(x - mu) - np.exp(epsilon) * norm.pdf(x), 0).sum() * width
    assert gaussian_deltas(mu, np.array([epsilon]))[0] == pytest.approx(integral, rel=1e-6, abs=1e-12)


@settings(max_examples=100, deadline=None)
@given(st.floats(1e-3, 1e4), st.floats(-30, -0.1))
def test_epsilon_agrees_with_dp_accounting(mu: float, log10_delta: float) -> None:
    delta = 10**log10_delta
    expected = gaussian_mechanism.get_epsilon_gaussian(1 / mu, delta)
    assert gaussian_epsilon(mu, delta) == pytest.approx(expected, rel=1e-6, abs=1e-9)


@settings(max_examples=50, deadline=None)
@given(st.floats(0.01, 30), st.floats(-12, -1))
def test_epsilon_inverts_delta(mu: float, log10_delta: float) -> None:
    epsilon = gaussian_epsilon(mu, 10**log10_delta)
    if epsilon > 0:
        assert gaussian_deltas(mu, np.array([epsilon]))[0] == pytest.approx(10**log10_delta, rel=1e-6)


@pytest.mark.parametrize("mu", [1e-3, 0.1, 1.0, 4.0, 50.0])
@pytest.mark.parametrize("delta", [0.01, 1e-5, 1e-10, 1e-30])
def test_epsilon_is_rounded_up_and_no_further(mu: float, delta: float) -> None:
    mpmath.mp.dps = 60

    def exact_delta(epsilon: mpmath.mpf) -> mpmath.mpf:
        m = mpmath.mpf(mu)
        return mpmath.ncdf(m / 2 - epsilon / m) - mpmath.exp(epsilon) * mpmath.ncdf(-m / 2 - epsilon / m)

    epsilon = mpmath.mpf(gaussian_epsilon(mu, delta))
    assert exact_delta(epsilon) <= mpmath.mpf(delta)
    if epsilon > 0:
        assert exact_delta(epsilon * (1 - mpmath.mpf("3e-11")) - mpmath.mpf("3e-14")) > mpmath.mpf(delta)


def test_no_signal_leaks_nothing() -> None:
    assert gaussian_deltas(0.0, np.array([0.0, 1.0])).tolist() == [0.0, 0.0]
