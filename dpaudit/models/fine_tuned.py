"""A classifier on top of somebody else's encoder: what private fine-tuning trains."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn.functional import layer_norm

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

__all__ = ["FineTuned", "freeze_unused"]


class FineTuned(nn.Module):
    """An encoder, and a linear layer on its features, normalised per record to mean 0 and variance 1; it starts at 0.

    The norm has no parameters and sees one record at a time. It makes one clip norm fit features of any scale.
    """

    def __init__(self, encoder: nn.Module, *, width: int, classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(width, classes)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Return logits (n, classes) of features (n, d)."""
        logits: Tensor = self.head(layer_norm(features, features.shape[1:]))
        return logits


def freeze_unused(encoder: nn.Module, embed: Callable[[Tensor], Tensor], images: Tensor) -> None:
    """Freeze the parameters that the features of these images (n, 3, S, S) do not depend on, such as a decoder's.

    Trained, they would get noise alone.
    """
    trained = [parameter for parameter in encoder.parameters() if parameter.requires_grad]
    total = embed(images).sum()
    if not total.requires_grad:
        encoder.requires_grad_(False)
        return
    for parameter, gradient in zip(trained, torch.autograd.grad(total, trained, allow_unused=True), strict=True):
        parameter.requires_grad_(gradient is not None)
