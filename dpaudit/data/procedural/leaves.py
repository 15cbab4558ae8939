"""Dead leaves: opaque shapes that fall on one another (Matheron 1968; Lee, Mumford, Huang 2001)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dpaudit.data.procedural.colour import palette
from dpaudit.data.procedural.spectra import spectrum

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["dead_leaves"]

_LEAVES = 60
_SMALLEST, _LARGEST = 0.03, 0.45


def dead_leaves(draw: np.random.Generator, side: int) -> NDArray[np.float32]:
    """Return leaves whose radii follow the scale-free density r^-3, (3, side, side) in [0, 1].

    Radii run from 3 % to 45 % of the side. A leaf is a polygon of three to six sides or, without sides, a disc; all
    have colours of one palette, and a faint noise lies over the whole.
    """
    picture = np.empty((side, side, 3), dtype=np.float32)
    picture[:] = draw.uniform(size=3)
    radii = side / np.sqrt(draw.uniform(_LARGEST**-2, _SMALLEST**-2, _LEAVES))
    if draw.random() < 0.5:
        radii = -np.sort(-radii)
    colours = palette(draw, draw.uniform(size=(1, _LEAVES)).astype(np.float32))[:, 0].T
    centres, starts = draw.uniform(0, side, (_LEAVES, 2)), draw.uniform(0, 2 * np.pi, _LEAVES)
    corners = draw.integers(2, 7, _LEAVES)
    grid = np.arange(side, dtype=np.float64)
    for (x, y), radius, colour, sides, start in zip(centres, radii, colours, corners, starts, strict=True):
        rows, columns = (slice(max(0, int(at - radius)), int(at + radius) + 2) for at in (y, x))
        inside = _inside((grid[columns] - x) / radius, (grid[rows, None] - y) / radius, int(sides), float(start))
        picture[rows, columns][inside] = colour
    noise = spectrum(draw, side) - np.float32(0.5)
    return np.clip(picture.transpose(2, 0, 1) + np.float32(draw.uniform(0, 0.25)) * noise, 0, 1)


def _inside(across: NDArray[np.float64], down: NDArray[np.float64], sides: int, start: float) -> NDArray[np.bool_]:
    """Return which places, in radii from the centre, lie in the polygon that is inscribed in the unit circle.

    across: (w,), down: (h, 1), result (h, w). Fewer than three sides: the circle itself.
    """
    if sides < 3:
        return across**2 + down**2 <= 1
    angles = (start + 2 * np.pi / sides * np.arange(sides))[:, None, None]
    within: NDArray[np.bool_] = (np.cos(angles) * across + np.sin(angles) * down).max(0) <= np.cos(np.pi / sides)
    return within
