"""The small convolutional network that papers on private learning and its audits train on CIFAR-10.

Papernot, Thakurta, Song, Chien, Erlingsson 2021 (arXiv 2007.14191), as in the public code of Tramer and Boneh 2021
(arXiv 2011.11660): three stages of two 3 x 3 convolutions and a 2 x 2 max-pool, a hidden layer; tanh, and no norm.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from dpaudit.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["TanhCnn"]

_SHRINKS = 8  # three poolings by 2


class TanhCnn(nn.Module):
    """Images (n, 3, S, S) -> logits (n, classes); width: channels of the first stage, doubled in each that follows.

    The published network has width 32, S = 32 and 10 classes, which is 550,570 parameters.

    >>> sum(parameter.numel() for parameter in TanhCnn(classes=10).parameters())
    550570
    """

    def __init__(self, *, classes: int, image_size: int = 32, width: int = 32) -> None:
        super().__init__()
        if image_size < _SHRINKS or image_size % _SHRINKS:
            raise InputError("image_size", image_size, f"a positive multiple of {_SHRINKS} for this network")
        channels = (width, 2 * width, 4 * width)
        stages = [_stage(before, after) for before, after in zip((3, *channels), channels, strict=False)]
        pixels = (image_size // _SHRINKS) ** 2
        hidden = nn.Linear(channels[-1] * pixels, 4 * width)
        self.trunk = nn.Sequential(*stages, nn.Flatten(), hidden, nn.Tanh())
        self.head = nn.Linear(4 * width, classes)

    def features(self, images: Tensor) -> Tensor:
        """Return what the last layer reads, (n, 4 width)."""
        hidden: Tensor = self.trunk(images)
        return hidden

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits, (n, classes)."""
        logits: Tensor = self.head(self.features(images))
        return logits


def _stage(before: int, after: int) -> nn.Sequential:
    """Return two convolutions and a pooling: (n, before, H, H) -> (n, after, H / 2, H / 2)."""
    return nn.Sequential(
        nn.Conv2d(before, after, 3, padding=1),
        nn.Tanh(),
        nn.Conv2d(after, after, 3, padding=1),
        nn.Tanh(),
        nn.MaxPool2d(2),
    )
