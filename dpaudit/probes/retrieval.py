"""Retrieval: whether an image's caption is among the k nearest of all test captions, and the other way round."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from dpaudit.errors import DpauditError, InputError
from dpaudit.probes.linear import wilson
from dpaudit.results import Measurement, ProbeResult

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from dpaudit.plugins import ProbeData, SharedSpace
    from dpaudit.rng import Rng

__all__ = ["Retrieval"]

_SHOWN = (1, 5, 10)


@dataclass(frozen=True, kw_only=True)
class Retrieval:
    """Recall at k among all test records (R@k): a query hits if one of its k nearest has its own caption.

    Records with equal captions count as each other's, so a gallery with few captions is easy: `detail` says what order
    at random would score, and R@1, R@5 and R@10 both ways. k, direction: of the score that is shown. confidence: of
    the Wilson interval, over queries with model and gallery fixed.

    >>> Retrieval(k=5).direction
    'image to text'
    """

    k: int = 1
    direction: Literal["image to text", "text to image"] = "image to text"
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if self.k < 1:
            raise InputError("k", self.k, "a positive number of neighbours")
        if not 0 < self.confidence < 1:
            raise InputError("confidence", self.confidence, "a number between 0 and 1, both excluded")

    @property
    def reads_text(self) -> bool:
        """Return that `measure` takes unit vectors of images and texts."""
        return True

    def measure(self, features: Mapping[str, SharedSpace], data: ProbeData, rng: Rng) -> ProbeResult:  # noqa: ARG002 (a contract)
        """Return the recall of every model."""
        captions = data.test.captions
        if not captions:
            raise InputError("probe data, test", "no records with captions", "one or more")
        _, same = np.unique(np.array(captions), return_inverse=True)
        alike = same[:, None] == same[None, :]
        measurements, detail = [], {"chance": _chance(alike, self.k)}
        for name, space in features.items():
            cosines = space(data.test) @ space.texts(captions).T
            if not np.isfinite(cosines).all():
                raise DpauditError(f"probe retrieval: vectors ({name}) are not finite")
            ways = {"image to text": _ranks(cosines, alike), "text to image": _ranks(cosines.T, alike)}
            hits = int((ways[self.direction] < self.k).sum())
            measurements.append(Measurement(features=name, score=wilson(hits, len(captions), self.confidence)))
            for way, ranks in ways.items():
                detail |= {f"R@{k}, {way} ({name})": float((ranks < k).mean()) for k in _SHOWN}
        return ProbeResult(
            probe="retrieval",
            run="",
            metric=f"R@{self.k}, {self.direction}",
            measurements=tuple(measurements),
            train_size=0,
            test_size=len(captions),
            detail={**detail},
        )


def _ranks(cosines: NDArray[np.float32], alike: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return how many wrong answers stand before each query's best right one, (n,); of equals the wrong come first."""
    best = np.where(alike, cosines, -np.inf).max(axis=1, keepdims=True)
    ranks: NDArray[np.int64] = ((cosines >= best) & ~alike).sum(axis=1)
    return ranks


def _chance(alike: NDArray[np.bool_], k: int) -> float:
    """Return the recall of an order at random: one less the chance that the first k are all wrong."""
    count, right = len(alike), alike.sum(axis=1)
    misses = np.ones(count)
    for drawn in range(min(k, count)):
        misses *= np.maximum(count - right - drawn, 0) / (count - drawn)
    return float(1 - misses.mean())
