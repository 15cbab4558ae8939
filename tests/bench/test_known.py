"""The mechanisms of the bench: their privacy is what is said, and a score of theirs comes close to showing it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.special import ndtri

from dpaudit.bench.known import COUNTER_EXAMPLE, GAUSSIAN, KNOWN, NOISE
from dpaudit.bounds.clopper_pearson import refutes_by_rates
from dpaudit.bounds.tradeoff import EpsilonDelta, Gaussian
from dpaudit.bounds.trials import confusion_at

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dpaudit.bench.known import Known

    Law = NDArray[np.float64]

BY_NAME = {known.name: known for known in KNOWN}


def hockey_stick(p: Law, q: Law, epsilon: float) -> float:
    """Return the larger divergence of two laws on one grid."""
    e = math.exp(epsilon)
    return float(max(np.maximum(0, p - e * q).sum(), np.maximum(0, q - e * p).sum()))


def laws(name: str) -> tuple[Law, Law]:
    """Return the laws of one canary's score, in and out, on a grid."""
    y = np.linspace(-30, 32, 400_001)
    out, inside = np.exp(-(y**2) / 2), np.exp(-((y - 1) ** 2) / 2)
    match name:
        case "gaussian":
            pair = (inside, out)
        case "laplace":
            pair = (np.exp(-np.abs(y - 1.5)), np.exp(-np.abs(y)))
        case "subsampled gaussian":
            pair = ((inside + out) / 2, out)
        case "randomised response":
            pair = (np.array([math.e, 1.0]), np.array([1.0, math.e]))
        case _:
            raise AssertionError(name)
    return pair[0] / pair[0].sum(), pair[1] / pair[1].sum()


@pytest.mark.parametrize("name", ["gaussian", "laplace", "subsampled gaussian", "randomised response"])
@pytest.mark.parametrize("delta", [1e-5, 1e-2])
def test_the_true_epsilon_is_that_of_the_laws(name: str, delta: float) -> None:
    epsilon = BY_NAME[name].parameter("any", delta)
    assert epsilon is not None
    assert hockey_stick(*laws(name), epsilon) == pytest.approx(delta, rel=1e-2)


def test_the_counter_example_is_1_gdp_and_no_better() -> None:
    leak, accuracy = 0.3, 0.8409226
    gap = ndtri(leak * accuracy) - ndtri(leak * (1 - accuracy))
    assert 1 - 1e-6 < gap <= 1
    epsilon = COUNTER_EXAMPLE.parameter("any", 1e-5)
    assert epsilon is not None
    assert leak * (accuracy - math.exp(epsilon) * (1 - accuracy)) == pytest.approx(1e-5, rel=1e-6)


def test_the_counter_example_leaks_all_bits_of_a_run_together() -> None:
    rng = np.random.default_rng(3)
    runs = [COUNTER_EXAMPLE.one_run(rng, 500) for _ in range(200)]
    right = [float(((run.scores > 2) == run.member).mean()) for run in runs]
    leaked = [share for share in right if share > 0.65]
    assert np.mean(leaked) == pytest.approx(0.841, abs=0.01)
    assert len(leaked) / len(right) == pytest.approx(0.3, abs=0.1)
    alone = COUNTER_EXAMPLE.independent_runs(rng, 20_000)
    assert float((alone.scores[alone.member] > 2).mean()) == pytest.approx(0.3 * 0.841, abs=0.015)


@pytest.mark.parametrize("known", KNOWN, ids=lambda known: known.name)
def test_one_threshold_refutes_little_less_than_the_truth_and_never_the_truth(known: Known) -> None:
    runs = known.independent_runs(np.random.default_rng(0), 400_000)
    counts = confusion_at(runs, 1.5, "independent runs")
    epsilon = known.parameter("any", 0.0) or 1.0
    assert refutes_by_rates(EpsilonDelta(0.5 * epsilon, 0.0), counts, 1e-6)
    assert not refutes_by_rates(EpsilonDelta(known.parameter("any", 1e-5) or 0.0, 1e-5), counts, 1e-6)


@pytest.mark.parametrize("known", [GAUSSIAN, COUNTER_EXAMPLE], ids=lambda known: known.name)
def test_the_mechanisms_said_to_be_gaussian_are_close_to_1_gdp(known: Known) -> None:
    runs = known.independent_runs(np.random.default_rng(1), 400_000)
    counts = confusion_at(runs, 1.5, "independent runs")
    assert refutes_by_rates(Gaussian(0.93), counts, 1e-6)
    assert not refutes_by_rates(Gaussian(1.0), counts, 1e-6)


def test_noise_knows_nothing() -> None:
    runs = NOISE.independent_runs(np.random.default_rng(2), 400_000)
    counts = confusion_at(runs, 1.5, "independent runs")
    assert not refutes_by_rates(EpsilonDelta(0.0, 0.0), counts, 1e-6)
