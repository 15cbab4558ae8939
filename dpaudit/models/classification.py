"""What every classifier shares: features and a head, labels that were checked, one cross-entropy per record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch
from torch import nn
from torch.nn.functional import cross_entropy, relu

from dpaudit.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from dpaudit.data.examples import Examples

__all__ = ["Classifier", "Perceptron", "SoftmaxRegression", "class_losses", "labels_of"]


class Classifier(Protocol):
    """Images (n, 3, S, S) -> logits (n, classes), a linear function of its features."""

    def __call__(self, images: Tensor, /) -> Tensor:
        """Return the logits, (n, classes)."""

    def features(self, images: Tensor) -> Tensor:
        """Return what the last layer reads, (n, d)."""


class SoftmaxRegression(nn.Module):
    """Images (n, 3, S, S) -> logits (n, classes), linear in the pixels, which are its features; all start at 0."""

    def __init__(self, *, classes: int, image_size: int) -> None:
        super().__init__()
        self.head = nn.Linear(3 * image_size**2, classes)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def features(self, images: Tensor) -> Tensor:
        """Return the pixels, (n, 3 S S)."""
        return images.flatten(1)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits, (n, classes)."""
        logits: Tensor = self.head(self.features(images))
        return logits


class Perceptron(nn.Module):
    """Images (n, 3, S, S) -> logits (n, classes) through one hidden layer of `width` rectifiers, its features.

    Small enough that hundreds are trained in a minute: what attacks with many references are tried on.
    """

    def __init__(self, *, classes: int, image_size: int, width: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(3 * image_size**2, width)
        self.head = nn.Linear(width, classes)

    def features(self, images: Tensor) -> Tensor:
        """Return the hidden layer, (n, width)."""
        return relu(self.hidden(images.flatten(1)))

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits, (n, classes)."""
        logits: Tensor = self.head(self.features(images))
        return logits


def labels_of(examples: Examples, classes: int) -> Tensor:
    """Return a copy of the labels, (n,) int64; InputError when there are none, or one that is no class."""
    if examples.labels is None:
        raise InputError("labels", None, "data with labels: a classifier learns from them")
    outside = (examples.labels < 0) | (examples.labels >= classes)
    if outside.any():
        at = int(outside.argmax())
        raise InputError(f"label of {examples.ids[at]}", int(examples.labels[at]), f"0 to {classes - 1}")
    return torch.tensor(examples.labels)  # copies: a view of a read-only array would warn


def class_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Return each record's cross-entropy, (n,), in nats, of logits (n, classes) and labels (n,).

    >>> class_losses(torch.zeros(1, 4), torch.tensor([2]))
    tensor([1.3863])
    """
    return cross_entropy(logits.float(), labels, reduction="none")
