"""The per-step evidence equals the densities' ratio, and never overflows."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from dpaudit.likelihood import log_likelihood_ratio
from dpaudit.mechanism import Mechanism


def mechanism(noise_multiplier: float, rate: float) -> Mechanism:
    return Mechanism(
        sampling="poisson",
        adjacency="add-remove",
        noise_multiplier=noise_multiplier,
        sampling_rate=rate,
        steps=1,
        clip_norm=0.5,
        batch_size=20,
        dataset_size=200,
    )


@pytest.mark.parametrize("sigma", [0.3, 1.0, 7.0])
@pytest.mark.parametrize("rate", [0.01, 0.5, 1.0])
def test_it_is_the_ratio_of_densities(sigma: float, rate: float) -> None:
    y = np.linspace(-3, 4, 50)
    out, drawn = stats.norm(0, sigma).pdf(y), stats.norm(1, sigma).pdf(y)
    expected = np.log(((1 - rate) * out + rate * drawn) / out)
    found = log_likelihood_ratio(y * 0.5 / 20, mechanism(sigma, rate))
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_hardly_any_noise_does_not_overflow() -> None:
    found = log_likelihood_ratio(np.array([0.0, 0.5, 1.0]) / 40, mechanism(1e-3, 0.1))
    np.testing.assert_allclose(found, [np.log(0.9), 0, 5e5 + np.log(0.1)], atol=1e-6)


def test_without_noise_it_is_the_value_in_clip_norms() -> None:
    assert log_likelihood_ratio(np.array([0.0, 0.025]), mechanism(0, 0.1)).tolist() == [0.0, 1.0]


def test_it_grows_with_the_released_value() -> None:
    released = np.sort(np.random.default_rng(0).standard_normal((3, 100)), axis=1).astype(np.float32)
    found = log_likelihood_ratio(released, mechanism(2.0, 0.05))
    assert found.shape == (3, 100)
    assert found.dtype == np.float64
    assert (np.diff(found, axis=1) >= 0).all()
