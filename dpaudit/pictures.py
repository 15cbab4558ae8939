"""Pictures of what a model does, for the page: originals beside what the model saw and what it painted."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from dpaudit.plugins import Reconstructs
from dpaudit.results import Picture
from dpaudit.runs import write_atomically

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import nn

    from dpaudit.data.examples import Examples
    from dpaudit.plugins import Trainer
    from dpaudit.rng import Rng

__all__ = ["reconstructions"]

_GAP, _TILE = 4, 96


def reconstructions(folder: Path, trainer: Trainer, model: nn.Module, examples: Examples, rng: Rng) -> list[Picture]:
    """Write a grid of originals, masked inputs and reconstructions of records that no run was trained on.

    Returns no picture for a trainer that does not reconstruct.
    """
    if not isinstance(trainer, Reconstructs) or len(examples) == 0:
        return []
    seen, painted = trainer.reconstruct(model, examples, rng)
    grid = np.stack([examples.images, seen, painted])
    write_atomically(folder / "reconstructions.png", _png(_tiles(grid)))
    title = "Originals (top), what the model saw (middle), what it painted (bottom)"
    alt = f"Three rows of {len(examples)} held-out images: original, masked input, reconstruction."
    return [Picture(file="reconstructions.png", title=title, alt=alt)]


def _tiles(grid: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Return one image (H, W, 3) of a grid of images (rows, columns, 3, S, S), pixels enlarged without smoothing."""
    rows, columns, _, side, _ = grid.shape
    scale = max(1, _TILE // side)
    tile = side * scale
    canvas = np.full((rows * (tile + _GAP) - _GAP, columns * (tile + _GAP) - _GAP, 3), 255, dtype=np.uint8)
    for row in range(rows):
        for column in range(columns):
            image = grid[row, column].transpose(1, 2, 0).repeat(scale, axis=0).repeat(scale, axis=1)
            top, left = row * (tile + _GAP), column * (tile + _GAP)
            canvas[top : top + tile, left : left + tile] = image
    return canvas


def _png(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()
