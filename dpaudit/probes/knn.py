"""The nearest-neighbour probe: how often records with similar features have the same label. Nothing is fitted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dpaudit.errors import DpauditError, InputError
from dpaudit.probes.linear import wilson
from dpaudit.results import Measurement, ProbeResult

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dpaudit.data.examples import Examples
    from dpaudit.plugins import FeatureSource, ProbeData
    from dpaudit.rng import Rng

__all__ = ["NearestNeighbours"]

_ROWS = 512  # test records whose similarities are in memory together


@dataclass(frozen=True, kw_only=True)
class NearestNeighbours:
    """Test accuracy of the majority among the k nearest training records by cosine; higher = more useful features.

    Of labels with equally many neighbours the one with the nearest wins. confidence: of the Wilson interval, over draws
    of test records with the training records fixed. `detail` has what Logit-DP's code reports: the share of all
    neighbours that have the test record's label.

    >>> NearestNeighbours().k
    3
    """

    k: int = 3
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if self.k < 1:
            raise InputError("k", self.k, "at least 1 neighbour")
        if not 0 < self.confidence < 1:
            raise InputError("confidence", self.confidence, "a number between 0 and 1, both excluded")

    def measure(self, features: FeatureSource, data: ProbeData, rng: Rng) -> ProbeResult:  # noqa: ARG002 (a contract)
        """Return the test accuracy of every kind of features."""
        train, test = _labels("train", data.train, self.k), _labels("test", data.test, 1)
        detail: dict[str, float | int | str] = {}
        measurements = []
        for name, extract in features.items():
            near = _nearest(_unit(name, extract(data.train)), _unit(name, extract(data.test)), self.k)
            right = int((_majority(train[near], len(data.classes)) == test).sum())
            measurements.append(Measurement(features=name, score=wilson(right, len(test), self.confidence)))
            detail[f"neighbours of the same label ({name})"] = float((train[near] == test[:, None]).mean())
        return ProbeResult(
            probe="knn",
            run="",
            metric="accuracy",
            measurements=tuple(measurements),
            train_size=len(train),
            test_size=len(test),
            detail=detail,
        )


def _labels(part: str, examples: Examples, least: int) -> NDArray[np.int64]:
    if examples.labels is None or len(examples) < least:
        raise InputError(f"probe data, {part}", f"{len(examples)} records", f"{least} labelled records or more")
    return examples.labels


def _unit(name: str, features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return rows of length 1; a row of zeros stays, and is as near to all others."""
    if not np.isfinite(features).all():
        raise DpauditError(f"probe knn: features ({name}) are not finite")
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return (features / np.where(lengths > 0, lengths, 1)).astype(np.float32)


def _nearest(train: NDArray[np.float32], test: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """Return the rows of `train` with the largest cosines, (n, k), nearest first; of equals the earlier row."""
    found = [
        np.argsort(-(test[start : start + _ROWS] @ train.T), axis=1, kind="stable")[:, :k]
        for start in range(0, len(test), _ROWS)
    ]
    return np.concatenate(found)


def _majority(labels: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """Return the most frequent label of each row (n, k), nearest first; of equally frequent ones the nearest."""
    votes = np.stack([np.bincount(row, minlength=classes) for row in labels])
    mine = np.take_along_axis(votes, labels, axis=1)
    return np.take_along_axis(labels, mine.argmax(axis=1)[:, None], axis=1)[:, 0]
