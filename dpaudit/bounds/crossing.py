"""Where a function of one positive number crosses zero, by few and costly evaluations, always from the side below."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["last_below"]

Point: TypeAlias = tuple[float, float]


def last_below(
    height: Callable[[float], float], *, start: float, ends: tuple[float, float], tolerance: float
) -> float | None:
    """Return a point where `height` is at most 0, within `tolerance` of one where it is above; None if it never is.

    ends: (low, high), two positive numbers; `height` grows from the first, in either direction, towards the second,
    which is not tried. The search doubles or halves from `start`. Between a point below and one above it tries where
    the chord over 1 / x crosses zero, half a tolerance further, first to the one and then to the other side, and the
    middle when two tries did not halve the bracket.

    >>> tried = []
    >>> round(last_below(lambda x: tried.append(x) or 1 / x - 0.3, start=1.0, ends=(32.0, 0.01), tolerance=1e-3), 2)
    3.33
    >>> len(tried)
    6
    """
    below, above = _bracket(height, start, ends)
    if below is None:
        return None
    widths = [math.inf, math.inf]
    upward = True
    while (width := abs(above[0] - below[0])) > tolerance:
        tried = (below[0] + above[0]) / 2
        if width < widths[-2] / 2 and math.isfinite(below[1]) and math.isfinite(above[1]):
            tried = _chord(below, above, tolerance / 2 if upward else -tolerance / 2)
        point = (tried, height(tried))
        below, above = (point, above) if point[1] <= 0 else (below, point)
        upward = point[1] <= 0
        widths.append(width)
    return below[0]


def _bracket(height: Callable[[float], float], start: float, ends: tuple[float, float]) -> tuple[Point | None, Point]:
    """Return the last point below and the first above on the way from `start`; (None, ...) if none is below."""
    low, high = ends
    below, above, at = None, (high, math.inf), start
    while below is None or above[0] == high:
        point = (at, height(at))
        if point[1] <= 0:
            below = point
            at = at / 2 if high < low else at * 2
            if (at - high) * (low - high) <= 0:
                break
        else:
            above = point
            if at == low:
                break
            at = at * 2 if high < low else at / 2
            at = low if (at - low) * (high - low) <= 0 else at
    return below, above


def _chord(below: Point, above: Point, further: float) -> float:
    """Return where the chord over 1 / x crosses zero, moved by `further` towards `above`, kept between the two."""
    share = below[1] / (below[1] - above[1])
    crossing = 1 / (1 / below[0] + share * (1 / above[0] - 1 / below[0]))
    direction = math.copysign(1.0, above[0] - below[0])
    least, most = sorted((below[0], above[0]))
    margin = min(abs(further), (most - least) / 4)
    return min(max(crossing + direction * further, least + margin), most - margin)
