"""The search for the largest curve refuted."""

from __future__ import annotations

import math

import pytest

from dpaudit.bounds.family import accountant_family, any_family, gaussian_family
from dpaudit.bounds.gdp import gdp_epsilon
from dpaudit.bounds.tradeoff import Gaussian
from dpaudit.errors import InputError


def test_the_answer_is_a_refuted_curve_within_the_tolerance() -> None:
    for edge in (0.0, 1e-6, 0.123456789, 5.0, 39.9):
        answer = gaussian_family(delta=1e-5).largest_refuted(lambda curve: curve.mu <= edge)  # noqa: B023  # called at once
        assert answer.parameter is not None
        assert edge - 1.1e-7 <= answer.parameter <= edge
        assert answer.epsilon == gdp_epsilon(answer.parameter, 1e-5)


def test_nothing_refuted_is_epsilon_zero() -> None:
    answer = any_family(delta=1e-5).largest_refuted(lambda _: False)
    assert answer.parameter is None
    assert answer.epsilon == 0.0


def test_everything_refuted_is_the_end_of_the_search() -> None:
    assert any_family(delta=0.0).largest_refuted(lambda _: True).epsilon == pytest.approx(100.0, abs=1e-6)


def test_the_search_never_asks_for_the_exposed_end() -> None:
    tried: list[float] = []

    def curve(noise: float) -> Gaussian:
        tried.append(noise)
        return Gaussian(1 / noise)

    family = accountant_family(curve, lambda _: 1.0, delta=1e-5, noise_multipliers=(0.05, 32.0))
    family.largest_refuted(lambda curve: curve.mu <= 1.0)
    assert min(tried) > 0.4
    assert len(tried) < 20


def test_noise_families_run_downwards() -> None:
    family = accountant_family(
        lambda noise: Gaussian(1 / noise),
        lambda noise: gdp_epsilon(1 / noise, 1e-5),
        delta=1e-5,
        noise_multipliers=(0.2, 20.0),
    )
    answer = family.largest_refuted(lambda curve: curve.mu <= 0.5)
    assert answer.parameter is not None
    assert 2.0 <= answer.parameter <= 2.0 + 1e-3
    assert answer.epsilon <= gdp_epsilon(0.5, 1e-5)


def test_impossible_families_are_refused() -> None:
    for delta in (-1e-9, 1.0, math.nan):
        with pytest.raises(InputError, match="delta"):
            any_family(delta=delta)
    with pytest.raises(InputError, match="delta"):
        gaussian_family(delta=0.0)
    with pytest.raises(InputError, match="noise_multipliers"):
        accountant_family(Gaussian, lambda _: 0.0, delta=1e-5, noise_multipliers=(2.0, 1.0))
    with pytest.raises(InputError, match="tolerance"):
        accountant_family(Gaussian, lambda _: 0.0, delta=1e-5, noise_multipliers=(1.0, 2.0), tolerance=0.0)
