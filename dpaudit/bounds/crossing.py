"""Where a function of one positive number crosses zero, by few and costly evaluations, always from the side below."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["last_below"]

Point: TypeAlias = tuple[float, float]

#: the expected crossing is passed by so much of the tolerance, or of its distance from the height nearest to 0
_SHIFT, _DOUBT = 0.45, 0.01


def last_below(
    height: Callable[[float], float], *, start: float, ends: tuple[float, float], tolerance: float, factor: float = 2.0
) -> float | None:
    """Return a point where `height` is at most 0, within `tolerance` of one where it is above; None if it never is.

    ends: (low, high), two positive numbers; `height` grows from the first, in either direction, towards the second,
    which is not tried. The search multiplies or divides `start` by `factor`, then by its square and so on, up to 2.
    Between a point below and one above it tries a little beside where the parabola through the heights nearest to 0
    crosses it, first on the one side and then on the other, and the middle when two tries did not halve the bracket.

    >>> tried = []
    >>> round(last_below(lambda x: tried.append(x) or 1 / x - 0.3, start=1.0, ends=(32.0, 0.01), tolerance=1e-3), 2)
    3.33
    >>> len(tried)
    6
    """
    seen: list[Point] = []

    def look(x: float) -> Point:
        seen.append((x, height(x)))
        return seen[-1]

    below, above = _bracket(look, start, ends, factor)
    if below is None:
        return None
    widths = [math.inf, math.inf]
    upward = True
    while (width := abs(above[0] - below[0])) > tolerance:
        point = look(_tried(seen, below, above, tolerance, upward=upward, halved=width < widths[-2] / 2))
        below, above = (point, above) if point[1] <= 0 else (below, point)
        upward = point[1] <= 0
        widths.append(width)
    return below[0]


def _bracket(
    look: Callable[[float], Point], start: float, ends: tuple[float, float], factor: float
) -> tuple[Point | None, Point]:
    """Return the last point below and the first above on the way from `start`; (None, ...) if none is below."""
    low, high = ends
    below, above, at = None, (high, math.inf), start
    while below is None or above[0] == high:
        point = look(at)
        if point[1] <= 0:
            below = point
            at = at / factor if high < low else at * factor
            if (at - high) * (low - high) <= 0:
                break
        else:
            above = point
            if at == low:
                break
            at = at * factor if high < low else at / factor
            at = low if (at - low) * (high - low) <= 0 else at
        factor = min(2.0, factor**2)
    return below, above


def _tried(seen: list[Point], below: Point, above: Point, tolerance: float, *, upward: bool, halved: bool) -> float:
    """Return what to try next between the two: beside the expected crossing, or the middle."""
    least, most = sorted((below[0], above[0]))
    crossing = _expected(seen) if halved else None
    if crossing is None or not least <= crossing <= most:
        return (least + most) / 2
    nearest = min(seen, key=lambda point: abs(point[1]))[0]
    step = max(_SHIFT * tolerance, _DOUBT * abs(crossing - nearest))
    further = math.copysign(step, above[0] - below[0]) * (1 if upward else -1)
    margin = min(_SHIFT * tolerance, (most - least) / 4)
    return min(max(crossing + further, least + margin), most - margin)


def _expected(seen: list[Point]) -> float | None:
    """Return where the parabola, 1 / x over the height, through the three heights nearest to 0 is at 0."""
    near = sorted((point for point in seen if math.isfinite(point[1])), key=lambda point: abs(point[1]))[:3]
    heights = [height for _, height in near]
    if len(near) < 2 or len(set(heights)) < len(heights):
        return None
    inverse = math.fsum(
        math.prod((other / (other - height) for other in heights if other != height), start=1 / x) for x, height in near
    )
    return 1 / inverse if inverse > 0 else None
