"""Random expressions of the pixel's place, as in a fragment shader: stripes, rings, folds and their mixtures."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from dpaudit.data.procedural.colour import palette, stretched

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["expression"]

Field: TypeAlias = "NDArray[np.float32]"

_DEPTH = 3


def expression(draw: np.random.Generator, side: int) -> Field:
    """Return a random formula of the place in random colours, (3, side, side) in [0, 1].

    In the spirit of the programs that Baradad et al. 2022 (Shaders21k) render, but grown at random, not written by
    people: a tree of depth 3 over turned, scaled and warped coordinates; about every third picture is two formulas
    with a third as the mask between them.
    """
    ramp = np.linspace(-1, 1, side, dtype=np.float32)
    place = _warped(draw, np.broadcast_to(ramp, (side, side)), np.broadcast_to(ramp[:, None], (side, side)))
    picture = palette(draw, stretched(_grow(draw, place, _DEPTH)))
    if draw.random() < 0.35:
        mask = stretched(_grow(draw, place, 1)) > draw.uniform(0.3, 0.7)
        picture = np.where(mask, picture, palette(draw, stretched(_grow(draw, place, _DEPTH - 1))))
    return picture


def _warped(draw: np.random.Generator, x: Field, y: Field) -> tuple[Field, ...]:
    """Return the coordinates of a formula: place, distance and angle from a random centre."""
    angle, scale = draw.uniform(0, 2 * np.pi), np.float32(np.exp(draw.uniform(-0.5, 1.2)))
    cosine, sine = scale * np.float32(np.cos(angle)), scale * np.float32(np.sin(angle))
    x, y = cosine * x + sine * y, cosine * y - sine * x
    strength, pitch = draw.uniform(0, 0.5, 2).astype(np.float32), draw.uniform(1, 4, 2).astype(np.float32)
    x, y = x + strength[0] * np.sin(pitch[0] * y), y + strength[1] * np.sin(pitch[1] * x)
    shift = draw.uniform(-1, 1, 2).astype(np.float32)
    return x, y, np.hypot(x - shift[0], y - shift[1]), np.arctan2(y - shift[1], x - shift[0]) / np.float32(np.pi)


def _grow(draw: np.random.Generator, place: tuple[Field, ...], depth: int) -> Field:
    """Return a random formula of this depth at every place, (side, side)."""
    if depth == 0:
        return place[draw.integers(len(place))] * np.float32(draw.uniform(0.5, 2)) + np.float32(draw.uniform(-1, 1))
    left = _grow(draw, place, depth - 1)
    if draw.random() < 0.5:
        return _ONE[draw.integers(len(_ONE))](left * np.float32(draw.uniform(0.8, 3)))
    return _TWO[draw.integers(len(_TWO))](left, _grow(draw, place, depth - 1))


def _waves(field: Field) -> Field:
    result: Field = np.sin(np.float32(2.5) * field)
    return result


def _fraction(field: Field) -> Field:
    result: Field = field - np.floor(field)
    return result


def _folds(field: Field) -> Field:
    result: Field = np.abs(_fraction(field) - np.float32(0.5))
    return result


def _hill(field: Field) -> Field:
    result: Field = np.float32(1) / (1 + field * field)
    return result


def _steps(field: Field) -> Field:
    result: Field = np.float32(0.5) * np.floor(2 * field)
    return result


_ONE: tuple[Callable[[Field], Field], ...] = (_waves, _waves, _fraction, _folds, _hill, _steps)
_TWO: tuple[Callable[[Field, Field], Field], ...] = (np.add, np.multiply, np.maximum, np.minimum, np.hypot)
