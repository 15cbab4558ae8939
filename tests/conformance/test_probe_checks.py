"""Probes of this package conform, and each thing that a probe can do wrong is named."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from dpaudit.conformance import check, check_probe
from dpaudit.discovery import configure
from dpaudit.errors import InputError
from dpaudit.probes.knn import NearestNeighbours
from dpaudit.recipes.recipe import PlugInEntry
from dpaudit.results import Interval, Measurement

if TYPE_CHECKING:
    from collections.abc import Callable

    from dpaudit.plugins import FeatureSource, ProbeData
    from dpaudit.results import ProbeResult
    from dpaudit.rng import Rng


@pytest.mark.parametrize("name", ["accuracy", "knn", "linear"])
def test_probes_conform(name: str) -> None:
    found = check_probe(configure("probes", PlugInEntry(name=name)))
    assert [each.status for each in found] == ["passed"] * 4


def trained_alone(result: ProbeResult) -> tuple[Measurement, ...]:
    return result.measurements[:1]


def without_interval(result: ProbeResult) -> tuple[Measurement, ...]:
    return tuple(_scored(each, low=each.score.value, high=each.score.value) for each in result.measurements)


def not_finite(result: ProbeResult) -> tuple[Measurement, ...]:
    return tuple(_scored(each, low=each.score.low, high=np.inf) for each in result.measurements)


def error_rates(result: ProbeResult) -> tuple[Measurement, ...]:
    return tuple(
        Measurement(
            features=each.features,
            score=Interval(value=1 - each.score.value, low=1 - each.score.high, high=1 - each.score.low),
        )
        for each in result.measurements
    )


def unseeded(result: ProbeResult) -> tuple[Measurement, ...]:
    shift = 1e-6 * np.random.default_rng().random()
    return tuple(_scored(each, low=each.score.low - shift, high=each.score.high) for each in result.measurements)


def _scored(each: Measurement, *, low: float, high: float) -> Measurement:
    return Measurement(features=each.features, score=Interval(value=each.score.value, low=low, high=high))


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        (trained_alone, "baselines"),
        (without_interval, "intervals"),
        (not_finite, "intervals"),
        (error_rates, "direction"),
        (unseeded, "determinism"),
    ],
)
def test_what_is_wrong_is_named(change: Callable[[ProbeResult], tuple[Measurement, ...]], broken: str) -> None:
    class Wrong(NearestNeighbours):
        def measure(self, features: FeatureSource, data: ProbeData, rng: Rng) -> ProbeResult:
            result = super().measure(features, data, rng)
            return result.model_copy(update={"measurements": change(result)})

    assert broken in {each.check for each in check(replace(Wrong())) if each.status == "failed"}


def test_a_probe_of_texts_is_refused() -> None:
    with pytest.raises(InputError, match="a probe of features or logits"):
        check(configure("probes", PlugInEntry(name="zero-shot")))
