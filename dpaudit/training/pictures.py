"""Pictures of what a model does, for the page: originals beside what it painted, or above what it said."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from dpaudit.plugins import Captions, Reconstructs
from dpaudit.results import Picture, Said
from dpaudit.runs import write_atomically

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import nn

    from dpaudit.data.examples import Examples
    from dpaudit.plugins import Trainer
    from dpaudit.rng import Rng

__all__ = ["captioned", "reconstructions", "thumbnails"]

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


def captioned(folder: Path, trainer: Trainer, model: nn.Module, examples: Examples) -> list[Picture]:
    """Write a row of records that no run was trained on; return it with what the model says of each.

    Returns no picture for a trainer that does not caption.
    """
    if not isinstance(trainer, Captions) or len(examples) == 0:
        return []
    device = next(model.parameters()).device
    generated = trainer.caption(model, torch.tensor(examples.images, device=device))
    captions = examples.captions or (None,) * len(examples)
    write_atomically(folder / "captions.png", _png(_tiles(examples.images[np.newaxis])))
    return [
        Picture(
            file="captions.png",
            title="What the model says of images that no run was trained on",
            alt=f"{len(examples)} held-out images in a row; what the model says of each is in the table below.",
            said=tuple(Said(generated=said, caption=true) for said, true in zip(generated, captions, strict=True)),
        )
    ]


def thumbnails(folder: Path, records: Examples) -> list[Picture]:
    """Write the images of records in a row, of pairs the first; return it. They are as private as the records are."""
    write_atomically(folder / "exposed.png", _png(_tiles(records.images[np.newaxis, :, :3])))
    title = "The most exposed records, from left to right"
    alt = f"The images of the {len(records)} records in the table, in its order."
    return [Picture(file="exposed.png", title=title, alt=alt)]


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
