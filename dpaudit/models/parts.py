"""Records of which only a part of each image is left, enlarged to the size that the model takes."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import torch

from dpaudit.models.images import Crops, cropped

if TYPE_CHECKING:
    from dpaudit.data.examples import Examples

__all__ = ["parts_of", "tiles_of"]


def parts_of(examples: Examples, crops: Crops) -> Examples:
    """Return the records with each image cropped, enlarged by bicubic interpolation and rounded, uint8 (n, 3, S, S)."""
    images = cropped(torch.tensor(examples.images).float(), crops)
    return dataclasses.replace(examples, images=images.round().clamp(0, 255).to(torch.uint8).numpy())


def tiles_of(examples: Examples, side: int) -> list[Examples]:
    """Return the records once per tile of a `side` x `side` grid over their images, left to right, top to bottom.

    >>> from dpaudit.data.digits import Digits
    >>> digits = Digits(image_size=8)
    >>> [tile.images.shape for tile in tiles_of(digits[digits.ids()[:3]], 2)]
    [(3, 3, 8, 8), (3, 3, 8, 8), (3, 3, 8, 8), (3, 3, 8, 8)]
    """
    n = len(examples)
    extents, mirrored = np.full((n, 2), 1 / side), np.zeros(n, dtype=np.bool_)
    centres = [((column + 0.5) / side, (row + 0.5) / side) for row in range(side) for column in range(side)]
    return [
        parts_of(examples, Crops(centres=np.tile(centre, (n, 1)), extents=extents, mirrored=mirrored))
        for centre in centres
    ]
