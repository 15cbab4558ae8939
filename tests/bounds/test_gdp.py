"""mu <-> epsilon at delta, against published numbers and the textbook formula."""

from __future__ import annotations

import math

import pytest
from scipy.special import ndtr

from dpaudit.bounds.gdp import gdp_delta, gdp_epsilon, gdp_mu
from dpaudit.errors import InputError


@pytest.mark.parametrize(
    ("mu", "delta", "epsilon"),
    [
        (0.5, 1e-6, 2.254085),
        (1.0, 1e-6, 4.886554),
        (2.0, 1e-6, 10.997151),
        (3.0, 1e-6, 18.163446),
        (0.5, 1e-5, 1.993091),
        (1.0, 1e-5, 4.377178),
        (2.0, 1e-5, 9.997256),
        (3.0, 1e-5, 16.675494),
    ],
)
def test_epsilon_of_known_mechanisms(mu: float, delta: float, epsilon: float) -> None:
    assert gdp_epsilon(mu, delta) == pytest.approx(epsilon, abs=1e-6)


@pytest.mark.parametrize(
    ("epsilon", "mu"), [(1, 0.268051), (2, 0.501552), (4, 0.924931), (8, 1.666031), (10, 2.000446)]
)
def test_mu_of_known_promises(epsilon: float, mu: float) -> None:
    assert gdp_mu(epsilon, 1e-5) == pytest.approx(mu, abs=1e-6)


@pytest.mark.parametrize("mu", [0.01, 0.3, 1.0, 4.0, 12.0])
@pytest.mark.parametrize("epsilon", [0.0, 0.1, 1.0, 5.0])
def test_delta_equals_the_textbook_formula(mu: float, epsilon: float) -> None:
    plain = ndtr(mu / 2 - epsilon / mu) - math.exp(epsilon) * ndtr(-mu / 2 - epsilon / mu)
    assert gdp_delta(mu, epsilon) == pytest.approx(plain, abs=1e-14)


@pytest.mark.parametrize("mu", [1e-3, 0.1, 2.0, 30.0])
@pytest.mark.parametrize("delta", [1e-300, 1e-12, 1e-3])
def test_epsilon_is_rounded_down_and_turns_back_into_mu(mu: float, delta: float) -> None:
    epsilon = gdp_epsilon(mu, delta)
    if epsilon > 0:
        assert gdp_delta(mu, epsilon) >= delta
        assert gdp_delta(mu, epsilon * (1 + 1e-9)) < delta
        assert gdp_mu(epsilon, delta) == pytest.approx(mu, rel=1e-8)


def test_a_delta_that_pays_for_everything_leaves_no_epsilon() -> None:
    assert gdp_epsilon(0.1, 0.5) == 0.0
    assert gdp_epsilon(0.0, 1e-5) == 0.0


def test_delta_neither_overflows_nor_goes_negative() -> None:
    assert gdp_delta(50.0, 0.0) == pytest.approx(1.0)
    assert gdp_delta(1.0, 800.0) == 0.0
    assert all(gdp_delta(0.001 * k, 0.05 * k) >= 0 for k in range(1, 400))


@pytest.mark.parametrize("delta", [0.0, 1.0, -1e-5, float("nan")])
def test_impossible_deltas_are_refused(delta: float) -> None:
    with pytest.raises(InputError, match="delta"):
        gdp_epsilon(1.0, delta)
    with pytest.raises(InputError, match="delta"):
        gdp_mu(1.0, delta)


def test_impossible_parameters_are_refused() -> None:
    with pytest.raises(InputError, match="mu"):
        gdp_epsilon(-1.0, 1e-5)
    with pytest.raises(InputError, match="epsilon"):
        gdp_mu(math.inf, 1e-5)
