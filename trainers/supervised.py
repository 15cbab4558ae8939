"""Supervised image classification by DP-SGD: what most audits of private training are made on.

The loss of a record is the cross-entropy of its label, so it depends on that record alone and per-example clipping
bounds the sensitivity. Networks: the tanh CNN (Papernot et al. 2021; Tramer, Boneh 2021), WRN-16-4 with group norm (De
et al. 2022, arXiv 2204.13650), and softmax regression on pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

import torch
from torch import Tensor, nn

from dpaudit.errors import InputError
from dpaudit.models.classification import Classifier, Perceptron, SoftmaxRegression, class_losses, labels_of
from dpaudit.models.cnn import TanhCnn
from dpaudit.models.images import normalised, pixels_of
from dpaudit.models.initialisation import seeded
from dpaudit.models.shifts import draw_shifts, shifted
from dpaudit.models.wide_resnet import WideResNet

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch.optim import Optimizer

    from dpaudit.data.examples import Examples
    from dpaudit.dp.tensors import Batch
    from dpaudit.rng import Rng

__all__ = ["Supervised"]

_PUBLISHED_WIDTH = 32


@dataclass(frozen=True, kw_only=True)
class Supervised:
    """Classification whose loss is a sum over labelled images.

    model: cnn, wrn-16-4, linear (softmax regression on pixels) or mlp (one hidden layer on pixels). classes: how many,
    a public number. width: channels of cnn's first stage or units of mlp's hidden layer, 0 = 32. standardised: false
    gives wrn-16-4 plain convolutions. padding: most pixels by which an image is moved, over mirrored edges; flip: swap
    left and right by a coin. peak_learning_rate: of every step; momentum: of SGD.

    The public code of De et al. trains wrn-16-4 on CIFAR-10 for epsilon 1 at learning rate 2 and clip norm 1, batch
    4,096, padding 4, flips, 16 augmentations, and an average of the weights.

    >>> Supervised(model="wrn-16-4", padding=4, flip=True).learning_rate(0, 725)
    2.0
    """

    model: Literal["cnn", "wrn-16-4", "linear", "mlp"] = "cnn"
    classes: int = 10
    image_size: int = 32
    width: int = 0
    standardised: bool = True
    padding: int = 0
    flip: bool = False
    peak_learning_rate: float = 2.0
    momentum: float = 0.0

    def __post_init__(self) -> None:
        _check_model(self)
        _check_data(self)
        if not 0 < self.peak_learning_rate < math.inf:
            raise InputError("peak_learning_rate", self.peak_learning_rate, "a positive number")
        if not 0 <= self.momentum < 1:
            raise InputError("momentum", self.momentum, "a number in [0, 1)")

    @property
    def modality(self) -> frozenset[str]:
        """Return what it reads of a record: image and label."""
        return frozenset({"image", "label"})

    def build(self, rng: Rng) -> nn.Module:
        """Return a fresh model on the CPU, its weights drawn from `rng` alone."""
        with seeded(rng):
            match self.model:
                case "cnn":
                    width = self.width or _PUBLISHED_WIDTH
                    return TanhCnn(classes=self.classes, image_size=self.image_size, width=width)
                case "wrn-16-4":
                    return WideResNet(classes=self.classes, depth=16, width=4, standardised=self.standardised)
                case "linear":
                    return SoftmaxRegression(classes=self.classes, image_size=self.image_size)
                case "mlp":
                    width = self.width or _PUBLISHED_WIDTH
                    return Perceptron(classes=self.classes, image_size=self.image_size, width=width)

    def collate(self, examples: Examples, rng: Rng) -> Batch:
        """Return images (n, 3, S, S) float32, moved and flipped by draws keyed by (rng, id), and labels (n,) int64."""
        images, labels = pixels_of(examples, self.image_size), labels_of(examples, self.classes)
        if self.padding or self.flip:
            shifts = draw_shifts(rng, examples.ids, padding=self.padding, mirror=self.flip)
            images = torch.from_numpy(shifted(examples.images, shifts))
        return {"images": normalised(images), "labels": labels}

    def losses(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return each record's cross-entropy, (n,), in nats."""
        return class_losses(model(batch["images"]), batch["labels"])

    def embed(self, model: nn.Module, images: Tensor) -> Tensor:
        """Return what the last layer reads of uint8 images (n, 3, S, S), (n, d)."""
        return cast("Classifier", model).features(normalised(images))

    def logits(self, model: nn.Module, images: Tensor) -> Tensor:
        """Return the logits of uint8 images (n, 3, S, S), (n, classes)."""
        return cast("Classifier", model)(normalised(images))

    def optimizer(self, parameters: Sequence[nn.Parameter], steps: int) -> Optimizer:  # noqa: ARG002 (a contract)
        """Return plain SGD, without weight decay."""
        return torch.optim.SGD(parameters, lr=self.peak_learning_rate, momentum=self.momentum)

    def learning_rate(self, step: int, steps: int) -> float:  # noqa: ARG002 (a contract)
        """Return the rate, the same at every step."""
        return self.peak_learning_rate

    @property
    def optimisation_options(self) -> frozenset[str]:
        """Return the options that a recipe's own optimizer makes void."""
        return frozenset({"peak_learning_rate", "momentum"})


def _check_model(options: Supervised) -> None:
    if options.width < 0 or (options.width and options.model not in ("cnn", "mlp")):
        raise InputError(
            "width", options.width, "a number of channels for model = cnn, of hidden units for mlp, 0 for others"
        )
    if not options.standardised and options.model != "wrn-16-4":
        raise InputError("standardised", options.standardised, "true, unless model = wrn-16-4")
    if options.classes < 2:
        raise InputError("classes", options.classes, "at least 2")


def _check_data(options: Supervised) -> None:
    multiple = {"cnn": 8, "wrn-16-4": 4, "linear": 1, "mlp": 1}[options.model]
    if options.image_size < 1 or options.image_size % multiple:
        raise InputError("image_size", options.image_size, f"a positive multiple of {multiple} for {options.model}")
    if not 0 <= options.padding <= options.image_size:
        raise InputError("padding", options.padding, f"0 to image_size = {options.image_size} pixels")
