"""Scenes as pixels: smooth-edged shapes on a grey, shaded and slightly noisy ground."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from dpaudit.data.scenes.layout import COLOURS, RADII, SHAPES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dpaudit.data.scenes.layout import Layouts
    from dpaudit.rng import Rng

__all__ = ["paint"]

Field: TypeAlias = "NDArray[np.float32]"

_RGB = np.array(list(COLOURS.values()), dtype=np.float32)
_TINT, _NOISE = 20.0, 10
_AT_ONCE = 1 << 20
_INNER = 0.45  # radius of a star's inner corners


def paint(scenes: Layouts, ids: NDArray[np.str_], rng: Rng, side: int) -> NDArray[np.uint8]:
    """Return the pictures of n scenes, (n, 3, side, side)."""
    pictures = np.empty((len(ids), 3, side, side), dtype=np.uint8)
    step = max(1, _AT_ONCE // (3 * side * side))
    for start in range(0, len(ids), step):
        rows = np.arange(start, min(start + step, len(ids)))
        canvas = _grounds(scenes.grounds[rows].astype(np.float32), side)
        for large in (True, False):
            _add_objects(canvas, scenes, rows, large=large)
        canvas += _grain(rng, ids[rows], side)
        pictures[rows] = np.clip(canvas, 0, 255, out=canvas)
    return pictures


def _grain(rng: Rng, ids: NDArray[np.str_], side: int) -> NDArray[np.int8]:
    """Return a whole number from -10 to 10 for every value of each picture, (n, 3, side, side)."""
    values = 3 * side * side
    drawn = rng.words(ids, -(-values // 8)).view(np.uint8)[:, :values].reshape(-1, 3, side, side)
    return ((drawn.astype(np.uint16) * (2 * _NOISE + 1) >> 8).astype(np.int8)) - np.int8(_NOISE)


def _grounds(drawn: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Return grey grounds, lighter towards one edge, with a faint tint, (n, 3, side, side)."""
    ramp = np.linspace(-1, 1, side, dtype=np.float32)
    level = 90 + 75 * drawn[:, :1] + 24 * (drawn[:, 1:4] - 0.5)
    across, down = 60 * (drawn[:, 4:6] - 0.5).T
    shade = across[:, None, None] * ramp + down[:, None, None] * ramp[:, None]
    grounds: NDArray[np.float32] = level[:, :, None, None] + shade[:, None]
    return grounds


def _add_objects(canvas: NDArray[np.float32], scenes: Layouts, rows: NDArray[np.int64], *, large: bool) -> None:
    """Paint the large or the small objects of these scenes, shape by shape, each in a window around its centre."""
    side = canvas.shape[-1]
    items = np.arange(scenes.shapes.shape[1])
    there = (items < scenes.count[rows, None]) & ((items == 0) == large)
    window = min(side, int(np.ceil(2 * RADII[0 if large else 1][1] * side)) + 3)
    for shape, outline in enumerate(_OUTLINES):
        at, item = np.nonzero(there & (scenes.shapes[rows] == shape))
        row = rows[at]
        corners, u, v = _windows(scenes.centres[row, item], scenes.radii[row, item], side, window)
        radius = (scenes.radii[row, item] * side).astype(np.float32)[:, None, None]
        cover = np.clip(0.5 - outline(u, v) * radius, 0, 1)
        colour = _RGB[scenes.colours[row, item]] + _TINT * scenes.tints[row, item].astype(np.float32)
        for place, (x, y), alpha, rgb in zip(at.tolist(), corners.tolist(), cover, colour, strict=True):
            region = canvas[place, :, y : y + window, x : x + window]
            region += alpha * (rgb[:, None, None] - region)


def _windows(
    centres: NDArray[np.float64], radii: NDArray[np.float64], side: int, window: int
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]:
    """Return each window's left upper pixel, (k, 2), and its pixels' places in radii from the centre, (k, w, w)."""
    middle = centres * side
    corners = np.clip(np.rint(middle - window / 2), 0, side - window).astype(np.int64)
    offset = (corners + 0.5 - middle).astype(np.float32)
    steps = np.arange(window, dtype=np.float32)
    scale = (1 / (radii * side)).astype(np.float32)[:, None]
    u, v = (offset[:, :1] + steps) * scale, (offset[:, 1:] + steps) * scale
    shape = (len(centres), window, window)
    return corners, np.broadcast_to(u[:, None, :], shape), np.broadcast_to(v[:, :, None], shape)


def _circle(u: Field, v: Field) -> Field:
    edge: Field = np.hypot(u, v) - 1
    return edge


def _square(u: Field, v: Field) -> Field:
    edge: Field = np.maximum(np.abs(u), np.abs(v)) - np.float32(0.8)
    return edge


def _triangle(u: Field, v: Field) -> Field:
    half, tall = np.float32(0.5), np.float32(0.75**0.5)
    edge: Field = np.maximum(v - half, tall * np.abs(u) - half * v - half)
    return edge


def _diamond(u: Field, v: Field) -> Field:
    edge: Field = (np.abs(u) + np.abs(v) - 1) * np.float32(0.5**0.5)
    return edge


def _cross(u: Field, v: Field) -> Field:
    across, down, thin = np.abs(u), np.abs(v), np.float32(0.3)
    edge: Field = np.minimum(np.maximum(across - 1, down - thin), np.maximum(across - thin, down - 1))
    return edge


def _ring(u: Field, v: Field) -> Field:
    edge: Field = np.abs(np.hypot(u, v) - np.float32(0.78)) - np.float32(0.22)
    return edge


def _star(u: Field, v: Field) -> Field:
    """Five points: the angle is folded onto half a point, whose edge is a straight line from tip to inner corner."""
    fifth = np.float32(2 * np.pi / 5)
    folded = np.abs(np.mod(np.arctan2(u, -v) + fifth / 2, fifth) - fifth / 2)
    radius = np.hypot(u, v)
    tip, corner = np.array([1, 0]), _INNER * np.array([np.cos(np.pi / 5), np.sin(np.pi / 5)])
    along = (corner - tip) / np.linalg.norm(corner - tip)
    normal = np.array([along[1], -along[0]], dtype=np.float32)
    edge: Field = (radius * np.cos(folded) - 1) * normal[0] + radius * np.sin(folded) * normal[1]
    return edge


def _crescent(u: Field, v: Field) -> Field:
    edge: Field = np.maximum(np.hypot(u, v) - 1, np.float32(0.8) - np.hypot(u - np.float32(0.5), v))
    return edge


#: signed distance to each shape's edge in radii, negative inside, of places (u, v) in radii from the centre, v down
_OUTLINES = (_circle, _square, _triangle, _diamond, _cross, _ring, _star, _crescent)
assert len(_OUTLINES) == len(SHAPES)  # noqa: S101
