"""The quick searches over thresholds against ones that look at every threshold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import betainccinv, ndtri

from dpaudit.bounds.thresholds import ErrorCounts, best_threshold, corners, error_counts
from dpaudit.scores import LabelledScores

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Columns = tuple[NDArray[np.int64], NDArray[np.int64]]


def rows(seed: int, size: int, shift: float, decimals: int) -> LabelledScores:
    rng = np.random.default_rng(seed)
    member = rng.random(size) < 0.5
    scores = np.round(rng.normal(size=size) + shift * member, decimals).astype(np.float64)
    return LabelledScores(scores=scores, member=member)


def randomised_response(size: int) -> LabelledScores:
    rng = np.random.default_rng(0)
    member = rng.random(size) < 0.5
    return LabelledScores(scores=(member ^ (rng.random(size) < 0.3)).astype(np.float64), member=member)


def alternating(size: int) -> LabelledScores:
    """Members and non-members in turn: every second threshold is as good as its neighbours."""
    return LabelledScores(scores=np.arange(float(size)), member=np.arange(size) % 2 == 1)


def quantiles(size: int) -> LabelledScores:
    """Two Gaussians without any chance: the worth is as flat as it can be."""
    middles = ndtri((np.arange(size // 2) + 0.5) / (size // 2))
    return LabelledScores(scores=np.concatenate([middles, middles + 1]), member=np.arange(size // 2 * 2) >= size // 2)


TABLES: dict[str, LabelledScores] = {
    "gaussian": rows(0, 20_000, 1.0, 12),
    "ties": rows(1, 20_000, 1.0, 2),
    "noise": rows(2, 20_000, 0.0, 12),
    "backwards": rows(3, 20_000, -1.0, 12),
    "apart": rows(4, 9_000, 20.0, 12),
    "few": rows(5, 7, 1.0, 12),
    "constant": LabelledScores(scores=np.zeros(50), member=np.arange(50) < 20),
    "randomised response": randomised_response(5_000),
    "alternating": alternating(20_000),
    "quantiles": quantiles(20_000),
}


def clopper_pearson_worth(errors: ErrorCounts, level: float) -> Callable[..., NDArray[np.float64]]:
    outside, inside = int(errors.false_positives[0]) + 1, int(errors.false_negatives[-1])

    def limit(counts: NDArray[np.int64], trials: int) -> NDArray[np.float64]:
        return np.where(counts >= trials, 1.0, betainccinv(counts + 1, np.maximum(trials - counts, 1e-9), level))

    def worth(above: NDArray[np.int64], below: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.asarray(ndtri(1 - limit(above, outside)) - ndtri(limit(below, inside)), dtype=np.float64)

    return worth


@pytest.mark.parametrize("name", TABLES)
def test_errors_are_counted(name: str) -> None:
    table = TABLES[name]
    errors = error_counts(table)
    np.testing.assert_array_equal(errors.thresholds, np.unique(table.scores))
    for index in np.unique(np.linspace(0, len(errors.thresholds) - 1, 12).astype(int)):
        called_in = table.scores > errors.thresholds[index]
        assert errors.false_positives[index] == (called_in & ~table.member).sum()
        assert errors.false_negatives[index] == (~called_in & table.member).sum()


@pytest.mark.parametrize("name", TABLES)
def test_the_best_threshold_is_that_of_a_look_at_all(name: str) -> None:
    errors = error_counts(TABLES[name])
    worth = clopper_pearson_worth(errors, 0.025)
    slow = errors.thresholds[np.argmax(worth(errors.false_positives, errors.false_negatives))]
    assert best_threshold(errors, worth) == slow


@given(
    columns=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=60),
    coarseness=st.integers(1, 40),
)
def test_the_lowest_of_several_best_thresholds_is_taken(columns: list[tuple[int, int]], coarseness: int) -> None:
    falls, rises = (np.array(column) for column in zip(*columns, strict=True))
    errors = ErrorCounts(np.arange(float(len(columns))), falls.sum() - np.cumsum(falls), np.cumsum(rises))

    def worth(above: NDArray[np.int64], below: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.asarray(-np.floor((above + below) / coarseness), dtype=np.float64)

    slow = np.argmax(worth(errors.false_positives, errors.false_negatives))
    assert best_threshold(errors, worth) == slow


@pytest.mark.parametrize("name", ["gaussian", "noise"])
def test_few_thresholds_are_judged(name: str) -> None:
    errors, judged = error_counts(TABLES[name]), 0
    worth = clopper_pearson_worth(errors, 0.025)

    def counted(above: NDArray[np.int64], below: NDArray[np.int64]) -> NDArray[np.float64]:
        nonlocal judged
        judged += len(above)
        return worth(above, below)

    best_threshold(errors, counted)
    assert judged < len(errors.thresholds) / 4


def test_nothing_is_worth_anything() -> None:
    errors = error_counts(TABLES["gaussian"])
    judged: list[int] = []

    def worthless(above: NDArray[np.int64], _: NDArray[np.int64]) -> NDArray[np.float64]:
        judged.append(len(above))
        return np.full(len(above), -np.inf)

    assert best_threshold(errors, worthless) == errors.thresholds[0]
    assert sum(judged) < 100


def on_hull(errors: ErrorCounts) -> list[int]:
    """Return the corners, the highest threshold first, by one scan of all points (Andrew 1979)."""
    x, y = errors.false_positives.tolist(), errors.false_negatives.tolist()
    hull: list[int] = []
    for last in range(len(x) - 1, -1, -1):
        while len(hull) > 1:
            first, middle = hull[-2], hull[-1]
            if (x[middle] - x[first]) * (y[last] - y[first]) > (x[last] - x[first]) * (y[middle] - y[first]):
                break
            hull.pop()
        hull.append(last)
    return hull


@pytest.mark.parametrize("name", TABLES)
def test_corners_are_those_of_one_scan(name: str) -> None:
    errors = error_counts(TABLES[name])
    assert corners(errors) == on_hull(errors)


@given(columns=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)).filter(any), min_size=1, max_size=80))
def test_corners_of_any_points_are_those_of_one_scan(columns: list[tuple[int, int]]) -> None:
    falls, rises = (np.array(column) for column in zip(*columns, strict=True))
    errors = ErrorCounts(np.arange(float(len(columns))), falls.sum() - np.cumsum(falls), np.cumsum(rises))
    assert corners(errors) == on_hull(errors)
    for angle in np.linspace(0, np.pi / 2, 20):  # in no direction a point lies below all corners
        heights = np.cos(angle) * errors.false_positives + np.sin(angle) * errors.false_negatives
        assert heights[corners(errors)].min() <= heights.min() + 1e-9


def test_a_cascade_of_corners_that_fall_one_by_one() -> None:
    size = 400
    x = np.cumsum(np.arange(1, size + 1))
    y = np.cumsum(np.arange(size, 0, -1))[::-1] + 10**6
    errors = ErrorCounts(np.arange(size + 1.0), np.append(x[-1] + 1, x[::-1]), np.append(0, y[::-1]))
    assert corners(errors) == on_hull(errors)
