"""Models as a probe that fine-tunes them sees them: features, and a copy that may be trained on."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from dpaudit.training.signals import in_batches
from dpaudit.training.targets import embedder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from dpaudit.data.examples import Examples
    from dpaudit.plugins import Trainer

__all__ = ["ModelEncoder", "PixelEncoder"]


@dataclass(frozen=True)
class ModelEncoder:
    """A `dpaudit.plugins.Encoder`: one model of a trainer."""

    trainer: Trainer
    model: nn.Module

    def __call__(self, examples: Examples, /) -> NDArray[np.float32]:
        """Return features, (n, d)."""
        return embedder(self.trainer, self.model)(examples)

    def fresh(self) -> nn.Module:
        """Return a copy of the model."""
        return copy.deepcopy(self.model)

    def embed(self, model: nn.Module, images: Tensor) -> Tensor:
        """Return features of uint8 images by this copy, (n, d)."""
        return self.trainer.embed(model, images)


class PixelEncoder:
    """A `dpaudit.plugins.Encoder` without parameters: the pixels themselves, of pairs those of the first image."""

    def __call__(self, examples: Examples, /) -> NDArray[np.float32]:
        """Return pixels in [0, 1], (n, 3 S S)."""
        return in_batches(lambda part: self.embed(self.fresh(), torch.tensor(part.images)), examples)

    def fresh(self) -> nn.Module:
        """Return nothing that could be trained."""
        return nn.Identity()

    def embed(self, model: nn.Module, images: Tensor) -> Tensor:  # noqa: ARG002 (a contract)
        """Return pixels in [0, 1], (n, 3 S S)."""
        return images[:, :3].flatten(1).float() / 255
