"""Private fine-tuning: a classifier on the encoder of any other trainer, trained by DP-SGD.

The weights of the encoder are what the recipe's `start.weights` names, for example those of an earlier run. Where that
run was trained on the same data, its mechanism is composed with this one's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from torch import Tensor, nn

from dpaudit.discovery import configure
from dpaudit.errors import InputError
from dpaudit.models.classification import class_losses, labels_of
from dpaudit.models.fine_tuned import FineTuned, freeze_unused
from dpaudit.models.images import pixels_of
from dpaudit.models.shifts import draw_shifts, shifted
from dpaudit.recipes.recipe import PlugInEntry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch.optim import Optimizer

    from dpaudit.data.examples import Examples
    from dpaudit.dp.tensors import Batch
    from dpaudit.plugins import Trainer
    from dpaudit.rng import Rng

__all__ = ["FineTune"]


@dataclass(frozen=True, kw_only=True)
class FineTune:
    """Classification by a linear layer on an encoder's features; weights of the encoder come from `start.weights`.

    encoder: the trainer that made the encoder, with its options, for example {name: vip, size: micro}; {} = vip.
    layers: head freezes the encoder, all trains whatever its features depend on. classes: how many, a public number.
    padding: most pixels by which an image is moved, over mirrored edges; flip: swap left and right by a coin.
    peak_learning_rate: of every step; momentum: of SGD.

    >>> FineTune(encoder={"name": "vip", "size": "micro"}).image_size
    16
    """

    encoder: dict[str, Any] = field(default_factory=dict)
    layers: Literal["head", "all"] = "head"
    classes: int = 10
    padding: int = 0
    flip: bool = False
    peak_learning_rate: float = 1.0
    momentum: float = 0.0

    def __post_init__(self) -> None:
        if self.classes < 2:
            raise InputError("classes", self.classes, "at least 2")
        if not 0 <= self.padding <= self.image_size:
            raise InputError("padding", self.padding, f"0 to image_size = {self.image_size} pixels")
        if not 0 < self.peak_learning_rate < math.inf:
            raise InputError("peak_learning_rate", self.peak_learning_rate, "a positive number")
        if not 0 <= self.momentum < 1:
            raise InputError("momentum", self.momentum, "a number in [0, 1)")

    @cached_property
    def pretrainer(self) -> Trainer:
        """Return the trainer that made the encoder."""
        entry = {"name": "vip"} | self.encoder
        if not isinstance(entry["name"], str):
            raise InputError("encoder", self.encoder, "a trainer's name, and its options")
        try:
            return configure("trainers", PlugInEntry.model_validate(entry))
        except InputError as error:
            raise InputError(f"encoder.{error.field}", error.value, error.expected) from None

    @property
    def image_size(self) -> int:
        """Return the side of the images that the encoder takes, in pixels."""
        return self.pretrainer.image_size

    @property
    def modality(self) -> frozenset[str]:
        """Return what it reads of a record: image and label."""
        return frozenset({"image", "label"})

    def build(self, rng: Rng) -> nn.Module:
        """Return a fresh encoder on the CPU, drawn from `rng` alone, and a head of zeros."""
        encoder = self.pretrainer.build(rng)
        images = torch.zeros(1, 3, self.image_size, self.image_size, dtype=torch.uint8)
        if self.layers == "all":
            freeze_unused(encoder, lambda batch: self.pretrainer.embed(encoder, batch), images)
        else:
            encoder.requires_grad_(False)
        with torch.no_grad():
            width = self.pretrainer.embed(encoder, images).shape[1]
        return FineTuned(encoder, width=width, classes=self.classes)

    def given_part(self, model: nn.Module) -> nn.Module:
        """Return the encoder: the part of the model that `start.weights` belongs to."""
        return cast("FineTuned", model).encoder

    def collate(self, examples: Examples, rng: Rng) -> Batch:
        """Return images (n, 3, S, S) uint8, moved and flipped by draws keyed by (rng, id), and labels (n,) int64."""
        images, labels = pixels_of(examples, self.image_size), labels_of(examples, self.classes)
        if self.padding or self.flip:
            shifts = draw_shifts(rng, examples.ids, padding=self.padding, mirror=self.flip)
            images = torch.from_numpy(shifted(examples.images, shifts))
        return {"images": images, "labels": labels}

    def losses(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return each record's cross-entropy, (n,), in nats."""
        return class_losses(self.logits(model, batch["images"]), batch["labels"])

    def embed(self, model: nn.Module, images: Tensor) -> Tensor:
        """Return the encoder's own features of uint8 images (n, 3, S, S), (n, d)."""
        return self.pretrainer.embed(self.given_part(model), images)

    def logits(self, model: nn.Module, images: Tensor) -> Tensor:
        """Return the logits of uint8 images (n, 3, S, S), (n, classes)."""
        logits: Tensor = model(self.embed(model, images))
        return logits

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
