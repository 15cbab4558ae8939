"""Augmentation multiplicity: a record's gradient is the mean over K augmented views of it, clipped once.

De, Berrada, Hayes, Smith, Balle 2022 (arXiv 2204.13650, section 3.2). A record still contributes one clipped gradient,
so the sensitivity is that of one view. The views of a record are the second dimension of every tensor of a batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from dpaudit.errors import DpauditError, InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

    from dpaudit.dp.clipping import Losses
    from dpaudit.dp.tensors import Batch
    from dpaudit.rng import Rng

__all__ = ["Views", "viewed", "viewed_batch", "views_of"]


@dataclass(frozen=True)
class Views:
    """Losses of records that come in `count` views each: (n, K, ...) tensors in, the mean over the views, (n,), out.

    The trainer's own losses see n * K rows, the views of a record side by side.

    >>> half = Views(lambda model, batch: batch["x"].squeeze(1), 2)
    >>> half(torch.nn.Identity(), {"x": torch.tensor([[[1.0], [3.0]], [[5.0], [5.0]]])})
    tensor([2., 5.])
    """

    losses: Losses
    count: int

    def __post_init__(self) -> None:
        if self.count < 1:
            raise InputError("privacy.augmentations", self.count, "at least 1")

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return each record's loss, (n,)."""
        rows = next(iter(batch.values())).shape[0]
        values = self.losses(model, {name: tensor.flatten(0, 1) for name, tensor in batch.items()})
        if values.shape != (rows * self.count,):
            found, wanted = tuple(values.shape), rows * self.count
            raise DpauditError(
                f"losses of {rows} records in {self.count} views have shape {found}, expected ({wanted},)"
            )
        return values.reshape(rows, self.count).mean(1)


def viewed(losses: Losses, count: int) -> Losses:
    """Return the losses of batches that `viewed_batch` makes; with one view the trainer's own."""
    return losses if count == 1 else Views(losses, count)


def viewed_batch(collate: Callable[[Rng], Batch], count: int, rng: Rng) -> Batch:
    """Return a batch in `count` views, (n, K, ...), each collated with a key of its own; with one view, (n, ...).

    collate: key -> the batch of the same records, (n, ...). A view has its own masks, crops and everything else that
    the trainer draws.
    """
    if count == 1:
        return collate(rng)
    views = [collate(rng.child("view", index)) for index in range(count)]
    return {name: torch.stack([view[name] for view in views], dim=1) for name in views[0]}


def views_of(losses: Losses) -> int:
    """Return how many rows of the trainer's losses belong to one record: 1, but for `Views`."""
    return losses.count if isinstance(losses, Views) else 1
