"""Input canaries with large gradients, by gradient ascent at public first weights."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from dpaudit.dp.devices import one_thread
from dpaudit.dp.tensors import trainable
from dpaudit.errors import InputError
from dpaudit.plugins import PerExampleTrainer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from torch import Tensor, nn

    from dpaudit.data.examples import Examples
    from dpaudit.dp.tensors import Batch
    from dpaudit.plugins import Trainer
    from dpaudit.rng import Rng

__all__ = ["gradient_norms", "with_large_gradients"]

_ROUNDS, _FIRST_STEP, _LAST_STEP = 8, 96, 8  # of 255 levels of a pixel


def with_large_gradients(trainer: Trainer, start: Examples, rng: Rng) -> Examples:
    """Return the records with pictures changed so that the gradient of their loss is longer, (n,).

    Each round moves every pixel along the sign of the derivative of the squared norm of the record's gradient, at a
    model that anyone can build from `rng`, and keeps what is longer (after the gradient-maximising canaries that
    Boglioni et al. 2025, arXiv 2507.15836, compare with). Draws of `collate` are keyed by (rng, id), so they stay the
    same from round to round. In float64 and on one thread: the same bits whenever it is asked. InputError for a
    trainer without a loss per record, or whose batch has no tensor that is shaped as the pictures are.
    """
    if not isinstance(trainer, PerExampleTrainer):
        expected = "0: this trainer has no loss per record, whose gradient could be made long"
        raise InputError("gradient_max", len(start), expected)
    with _alone_and_exact():
        model = trainer.build(rng.child("model")).double()
        norms, along = _measured(trainer, model, start, rng)
        images, best = start.images, norms
        for step in np.geomspace(_FIRST_STEP, _LAST_STEP, _ROUNDS):
            moved = np.clip(images + step * np.sign(along), 0, 255).round().astype(np.uint8)
            found, ahead = _measured(trainer, model, replace(start, images=moved), rng)
            longer = (found > best)[:, None, None, None]
            images, along = np.where(longer, moved, images), np.where(longer, ahead, along)
            best = np.maximum(found, best)
    return replace(start, images=images)


def gradient_norms(trainer: PerExampleTrainer, records: Examples, rng: Rng) -> NDArray[np.float64]:
    """Return the norm of each record's gradient at the weights at which canaries are made, (n,)."""
    with _alone_and_exact():
        return _measured(trainer, trainer.build(rng.child("model")).double(), records, rng)[0]


def _measured(
    trainer: PerExampleTrainer, model: nn.Module, records: Examples, rng: Rng
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the norm of each record's gradient, (n,), and its derivative by the pixels of the batch, as pictures."""
    norms, along = np.zeros(len(records)), np.zeros(records.images.shape)
    parameters = list(trainable(model).values())
    for row in range(len(records)):
        batch = trainer.collate(records.take(slice(row, row + 1)), rng.child("collate"))
        batch = {name: value.double() if value.is_floating_point() else value for name, value in batch.items()}
        pixels = _pixels(batch, records.images.shape[1:]).requires_grad_()
        loss = trainer.losses(model, batch).sum()
        found = torch.autograd.grad(loss, parameters, create_graph=True, allow_unused=True)
        squared = sum((each.square().sum() for each in found if each is not None), start=torch.zeros(()).double())
        (slope,) = torch.autograd.grad(squared, [pixels])
        norms[row], along[row] = float(squared.detach()) ** 0.5, slope[0].numpy()
    return norms, along


def _pixels(batch: Batch, shape: tuple[int, ...]) -> Tensor:
    for value in batch.values():
        if value.is_floating_point() and tuple(value.shape[1:]) == shape:
            return value
    shapes = ", ".join(f"{name} {tuple(value.shape[1:])}" for name, value in batch.items())
    raise InputError("gradient_max", shapes, f"0: this trainer's batch has no tensor of pictures, {shape} per record")


@contextmanager
def _alone_and_exact() -> Iterator[None]:
    """One thread, and attention whose derivative has a derivative."""
    with one_thread(), sdpa_kernel(SDPBackend.MATH):
        yield
