"""The noise has the scale that was said, and streams never meet."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from dpaudit.dp.noise import NoiseMeasure, add_noise, gaussian_like
from dpaudit.rng import Rng

RNG = Rng.from_seed(21)


def scale_p(measure: NoiseMeasure, std: float) -> float:
    """Return the two-sided chi-square p-value of "the noise added has this std"."""
    tail = float(stats.chi2(measure.count).cdf(measure.sum_of_squares / std**2))
    return 2 * min(tail, 1 - tail)


@pytest.mark.parametrize("std", [1e-3, 0.7, 30.0])
@pytest.mark.parametrize("size", [2000, 500_000])
def test_scale_is_inside_its_interval_and_wrong_ones_are_outside(std: float, size: int) -> None:
    _, measure = add_noise(torch.zeros(size), std, RNG)
    assert measure.count == size
    assert scale_p(measure, std) > 1e-3
    for wrong in (2 / 3, 3 / 2):
        assert scale_p(measure, wrong * std) < 1e-9
        assert scale_p(add_noise(torch.zeros(size), wrong * std, RNG)[1], std) < 1e-9


def test_the_measure_is_of_what_was_added() -> None:
    before = torch.randn(100_000, generator=torch.Generator().manual_seed(0)) * 5
    after, measure = add_noise(before, 0.5, RNG)
    assert measure.sum_of_squares == pytest.approx(float((after - before).double().square().sum()), rel=1e-12)
    assert scale_p(measure, 0.5) > 1e-3


def test_noise_is_gaussian() -> None:
    draws = gaussian_like(torch.zeros(50_000), 2.0, RNG).numpy()
    assert stats.kstest(draws / 2, "norm").pvalue > 1e-3
    assert stats.kstest(draws / 2.06, "norm").pvalue < 1e-3


def test_tensors_and_steps_have_independent_noise() -> None:
    keys = [RNG.child(step, name) for step in range(12) for name in ("encoder.weight", "encoder.bias")]
    draws = np.stack([gaussian_like(torch.zeros(5000), 1.0, key).numpy() for key in keys])
    correlation = np.corrcoef(draws)[np.triu_indices(len(keys), 1)]
    assert np.abs(correlation).max() < 5 / np.sqrt(5000)
    assert stats.kstest(correlation * np.sqrt(5000), "norm").pvalue > 1e-3


def test_the_same_key_gives_the_same_noise_whatever_was_drawn_before() -> None:
    first = gaussian_like(torch.zeros(3, 4), 1.0, RNG.child(7, "w"))
    torch.rand(5)
    gaussian_like(torch.zeros(9), 1.0, RNG.child(8, "w"))
    assert torch.equal(first, gaussian_like(torch.zeros(3, 4), 1.0, RNG.child(7, "w")))


def test_torchs_generator_is_not_used() -> None:
    state = torch.get_rng_state()
    gaussian_like(torch.zeros(10), 1.0, RNG)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("shape", [(), (3,), (2, 0), (2, 3, 4)])
def test_shape_and_type_are_the_tensors(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    noise = gaussian_like(torch.ones(shape, dtype=dtype), 1.0, RNG)
    assert (noise.shape, noise.dtype) == (torch.Size(shape), dtype)


def test_no_noise_is_exactly_none() -> None:
    before = torch.randn(10)
    after, measure = add_noise(before, 0.0, RNG)
    assert torch.equal(before, after)
    assert measure == NoiseMeasure(0.0, 10)
