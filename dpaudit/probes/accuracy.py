"""The accuracy of a classifier's own last layer on records that no run was trained on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dpaudit.errors import DpauditError, InputError
from dpaudit.probes.linear import wilson
from dpaudit.results import Measurement, ProbeResult

if TYPE_CHECKING:
    from dpaudit.plugins import FeatureSource, ProbeData
    from dpaudit.rng import Rng

__all__ = ["Accuracy"]


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """Test accuracy of a trainer that classifies: the class with the largest logit. Nothing is fitted.

    confidence: of the Wilson interval, over draws of test records with the model fixed. `detail` says how often the
    most frequent class stands among the test records: what a model that always says it would score.

    >>> Accuracy().confidence
    0.95
    """

    confidence: float = 0.95

    def __post_init__(self) -> None:
        if not 0 < self.confidence < 1:
            raise InputError("confidence", self.confidence, "a number between 0 and 1, both excluded")

    @property
    def reads_logits(self) -> bool:
        """Return that `measure` takes logits (n, classes) in place of features."""
        return True

    def measure(self, features: FeatureSource, data: ProbeData, rng: Rng) -> ProbeResult:  # noqa: ARG002 (a contract)
        """Return the test accuracy of every kind of logits."""
        labels = data.test.labels
        if labels is None or not len(labels):
            raise InputError("probe data, test", "no labelled records", "one or more")
        measurements = []
        for name, extract in features.items():
            logits = extract(data.test)
            if not np.isfinite(logits).all():
                raise DpauditError(f"probe accuracy: logits ({name}) are not finite")
            right = int((logits.argmax(axis=1) == labels).sum())
            measurements.append(Measurement(features=name, score=wilson(right, len(labels), self.confidence)))
        return ProbeResult(
            probe="accuracy",
            run="",
            metric="accuracy",
            measurements=tuple(measurements),
            train_size=0,
            test_size=len(labels),
            detail={"most frequent class": float(np.bincount(labels).max() / len(labels))},
        )
