"""The augmentation of small images: moved by a few pixels over mirrored edges, and flipped, keyed by record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dpaudit.rng import Rng

__all__ = ["Shifts", "draw_shifts", "shifted"]


@dataclass(frozen=True, kw_only=True)
class Shifts:
    """By how many pixels each of n images is moved, (n, 2), down first, and whether it is mirrored after, (n,)."""

    pixels: NDArray[np.int64]
    mirrored: NDArray[np.bool_]


def draw_shifts(rng: Rng, ids: NDArray[np.str_], *, padding: int, mirror: bool) -> Shifts:
    """Return the shift of each record, keyed by (rng, id); who else is in the batch does not matter.

    Both directions are uniform on -padding, ..., padding. mirror: left and right are swapped by a fair coin.
    """
    drawn = rng.uniform(ids, 3)
    pixels = np.floor(drawn[:, :2] * (2 * padding + 1)).astype(np.int64) - padding
    return Shifts(pixels=pixels, mirrored=mirror & (drawn[:, 2] < 0.5))


def shifted(images: NDArray[np.uint8], shifts: Shifts) -> NDArray[np.uint8]:
    """Return the images (n, 3, S, S) moved and mirrored; what comes in at an edge is the image mirrored there.

    It is a random crop of the image padded by its own reflection, edge pixels included (De et al. 2022). A shift is at
    most S.

    >>> row = np.arange(4, dtype=np.uint8).reshape(1, 1, 1, 4).repeat(4, axis=2)
    >>> shifted(row, Shifts(pixels=np.array([[0, 2]]), mirrored=np.array([False])))[0, 0, 0]
    array([1, 0, 0, 1], dtype=uint8)
    """
    size = images.shape[-1]
    places = np.arange(size)
    down, across = (_reflected(places - shifts.pixels[:, axis, None], size) for axis in (0, 1))
    across = np.where(shifts.mirrored[:, None], across[:, ::-1], across)
    records, channels = np.arange(len(images)), np.arange(images.shape[1])
    return images[
        records[:, None, None, None], channels[None, :, None, None], down[:, None, :, None], across[:, None, None, :]
    ]


def _reflected(places: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Return places in 0, ..., size - 1: -1 is 0, -2 is 1, size is size - 1."""
    inside = np.where(places < 0, -1 - places, places)
    return np.where(inside >= size, 2 * size - 1 - inside, inside)
