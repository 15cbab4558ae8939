"""The random checks as statistics: false alarms at most at their level, faults of practice found."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from dpaudit.accounting.checks import (
    dispersion_p_value,
    noise_scale_interval,
    noise_scale_p_value,
    sampling_rate_p_value,
)
from dpaudit.accounting.facts import NoiseSample

LEVEL = 0.01


def _at_most(alarms: int, runs: int, level: float) -> bool:
    """Return whether this many alarms are credible at this level (a one-in-a-million binomial limit)."""
    return bool(stats.binom.sf(alarms - 1, runs, level) > 1e-6)


@pytest.mark.parametrize(("drawn", "trials", "rate"), [(0, 10, 0.1), (7, 10, 0.5), (10, 10, 0.9), (120, 1000, 0.1)])
def test_sampling_rate_against_a_sum_of_probabilities(drawn: int, trials: int, rate: float) -> None:
    masses = stats.binom.pmf(np.arange(trials + 1), trials, rate)
    expected = min(1.0, 2 * min(masses[: drawn + 1].sum(), masses[drawn:].sum()))
    assert sampling_rate_p_value(drawn, trials, rate) == pytest.approx(expected)


def test_sampling_rate_of_a_trillion_chances() -> None:
    assert sampling_rate_p_value(10**10, 10**12, 0.01) > 0.9
    assert sampling_rate_p_value(10**10 + 4 * 10**5, 10**12, 0.01) == pytest.approx(2 * stats.norm.sf(4.02), rel=0.1)


@pytest.mark.parametrize(("drawn", "expected"), [(100, 1.0), (99, 0.0)])
def test_everybody_is_in_at_rate_one(drawn: int, expected: float) -> None:
    assert sampling_rate_p_value(drawn, 100, 1.0) == expected


@pytest.mark.parametrize(("records", "rate"), [(2, 0.5), (10, 0.1), (100, 0.1), (1000, 0.2), (20, 0.97)])
@pytest.mark.parametrize("steps", [1, 5, 100])
def test_dispersion_raises_few_false_alarms(records: int, rate: float, steps: int) -> None:
    runs = 2000
    sizes = np.random.default_rng(5).binomial(records, rate, (runs, steps))
    sums = zip(sizes.sum(axis=1).tolist(), (sizes**2).sum(axis=1).tolist(), strict=True)
    alarms = sum(dispersion_p_value(drawn, steps, records, rate) < LEVEL for drawn in sums)
    assert _at_most(alarms, runs, LEVEL)


@pytest.mark.parametrize("copies", [0, 2, 8])
def test_dispersion_finds_fixed_batches_and_shared_masks(copies: int) -> None:
    rng, steps, records, rate = np.random.default_rng(6), 200, 2000, 0.1
    sizes = np.full(steps, 200) if copies == 0 else copies * rng.binomial(records // copies, rate, steps)
    p_value = dispersion_p_value((int(sizes.sum()), int((sizes**2).sum())), steps, records, rate)
    assert p_value < 1e-6


def test_dispersion_of_constants_says_nothing() -> None:
    assert dispersion_p_value((100, 1000), 10, 10, 1.0) == 1.0
    assert dispersion_p_value((5, 5), 10, 1, 0.5) == 1.0
    assert dispersion_p_value((0, 0), 0, 10, 0.5) == 1.0


@pytest.mark.parametrize("count", [1, 30, 10_000])
def test_noise_scale_is_exact_under_the_null(count: int) -> None:
    runs = 4000
    sums = np.random.default_rng(7).chisquare(count, runs)
    samples = [NoiseSample(count=count, sum_of_squares=float(total)) for total in sums]
    alarms = sum(noise_scale_p_value(sample) < LEVEL for sample in samples)
    assert _at_most(alarms, runs, LEVEL)
    assert alarms > 0.5 * LEVEL * runs
    intervals = [noise_scale_interval(sample, LEVEL) for sample in samples]
    assert sum(not low <= 1 <= high for low, high in intervals) == pytest.approx(alarms, abs=3)


@pytest.mark.parametrize("ratio", [2 / 3, 0.98, 1.02, 1.5])
def test_wrong_noise_scale_is_found(ratio: float) -> None:
    rng = np.random.default_rng(8)
    numbers = ratio * rng.normal(size=100_000)
    noise = NoiseSample(count=numbers.size, sum_of_squares=float(numbers @ numbers))
    assert noise_scale_p_value(noise) < 1e-6
    low, high = noise_scale_interval(noise, 1e-6)
    assert low < ratio < high


def test_float32_rounding_is_no_alarm() -> None:
    count = 10**13
    assert noise_scale_p_value(NoiseSample(count=count, sum_of_squares=count * (1 + 1e-6))) > 0.5
    assert noise_scale_p_value(NoiseSample(count=count, sum_of_squares=count * (1 + 1e-5))) < 1e-9
