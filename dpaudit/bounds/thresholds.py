"""What every threshold of a table gets wrong, and which thresholds can matter: all, without judging each of them.

As the threshold rises, false positives fall and false negatives rise. Both searches give the answer of one that looks
at every threshold (tests/bounds/test_thresholds.py has it beside them); with a million scores they look at thousands.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from dpaudit.scores import LabelledScores

__all__ = ["ErrorCounts", "best_threshold", "corners", "error_counts"]

#: (false positives, false negatives), both (n,) -> what each pair is worth, (n,), -inf for nothing
Worth: TypeAlias = "Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float64]]"

_WIDTHS = (4096, 256, 16, 1)
_WORTHWHILE = 0.9


@dataclass(frozen=True, eq=False)
class ErrorCounts:
    """The errors at every threshold, all columns (n,): a score above the threshold is called in.

    thresholds: the distinct scores, rising. false_positives: non-members above. false_negatives: members not above.
    From one threshold to the next at least one of the two counts changes: somebody has that score.
    """

    thresholds: NDArray[np.float64]
    false_positives: NDArray[np.int64]
    false_negatives: NDArray[np.int64]


def error_counts(labelled: LabelledScores) -> ErrorCounts:
    """Return the errors at every threshold that is a score.

    >>> from dpaudit.scores import LabelledScores
    >>> rows = LabelledScores(scores=np.array([1.0, 2.0, 2.0, 3.0]), member=np.array([False, False, True, True]))
    >>> errors = error_counts(rows)
    >>> errors.thresholds.tolist(), errors.false_positives.tolist(), errors.false_negatives.tolist()
    ([1.0, 2.0, 3.0], [1, 0, 0], [0, 1, 2])
    """
    thresholds, which = np.unique(labelled.scores, return_inverse=True)
    inside = np.bincount(which[labelled.member], minlength=len(thresholds))
    outside = np.bincount(which[~labelled.member], minlength=len(thresholds))
    return ErrorCounts(thresholds, outside.sum() - np.cumsum(outside), np.cumsum(inside))


def corners(errors: ErrorCounts) -> list[int]:
    """Return the indices of the corners of the convex hull of the two error counts, the highest threshold first.

    A trade-off curve is convex, so what lies on or above it is a convex set: if all corners do, every threshold does.

    A corner lies strictly below the line from any point on its left to any on its right. So a point on or above the
    line between its neighbours is no corner, and without all these points at once the hull is the same. They are
    dropped while that pays, and one scan (Andrew 1979) takes what is left.
    """
    kept = np.arange(len(errors.thresholds))[::-1]  # false positives rise, false negatives fall
    while len(kept) > 2:
        x, y = errors.false_positives[kept], errors.false_negatives[kept]
        below = (x[1:-1] - x[:-2]) * (y[2:] - y[:-2]) > (x[2:] - x[:-2]) * (y[1:-1] - y[:-2])
        bends = np.concatenate([[True], below, [True]])
        kept = kept[bends]
        if bends.mean() > _WORTHWHILE:
            break
    return _scan(kept.tolist(), errors.false_positives[kept].tolist(), errors.false_negatives[kept].tolist())


def best_threshold(errors: ErrorCounts, worth: Worth) -> float:
    """Return the threshold of the largest worth, the lowest of them if several are; `worth` falls in both counts.

    In a block of neighbouring thresholds none is worth more than the false positives of its last would be together with
    the false negatives of its first. A block of which this is below the best that was seen (or equal to it, and the
    block lies higher) cannot hold the answer; the others are cut into smaller ones, down to single thresholds.
    """
    size, best, where, first = len(errors.thresholds), -np.inf, 0, np.zeros(1, dtype=np.int64)
    for wider, width in pairwise((size, *_WIDTHS)):
        first = (first[:, None] + np.arange(0, wider, width)).ravel()
        first = first[first < size]
        if len(first) == 0:
            break
        attained = worth(errors.false_positives[first], errors.false_negatives[first])
        here = int(np.argmax(attained))
        if (attained[here], -first[here]) > (best, -where):
            best, where = float(attained[here]), int(first[here])
        last = np.minimum(first + width, size) - 1
        possible = worth(errors.false_positives[last], errors.false_negatives[first])
        first = first[(possible > best) | ((possible == best) & (first < where))]
    return float(errors.thresholds[where])


def _scan(indices: list[int], x: list[int], y: list[int]) -> list[int]:
    """Return the indices of the corners among points whose x rises and whose y falls."""
    hull: list[int] = []
    for point in range(len(indices)):
        while len(hull) > 1 and _turns_up(x, y, hull[-2], hull[-1], point):
            hull.pop()
        hull.append(point)
    return [indices[point] for point in hull]


def _turns_up(x: list[int], y: list[int], first: int, middle: int, last: int) -> bool:
    """Return whether the middle of three points lies on or above the line through the other two."""
    return (x[middle] - x[first]) * (y[last] - y[first]) <= (x[last] - x[first]) * (y[middle] - y[first])
