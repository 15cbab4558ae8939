"""Trainers of this package conform, and each thing that a trainer can do wrong is named."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import pytest
import torch
from torch import Tensor, nn

from dpaudit.conformance import check, check_trainer
from dpaudit.conformance.toy import Toy
from dpaudit.discovery import configure
from dpaudit.dp.tensors import trainable
from dpaudit.recipes.recipe import PlugInEntry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dpaudit.data.examples import Examples
    from dpaudit.dp.tensors import Batch, Gradients
    from dpaudit.mechanism import Adjacency
    from dpaudit.rng import Rng

TOY = Toy(classes=10)


@pytest.mark.parametrize(
    "entry",
    [
        PlugInEntry(name="supervised", model="mlp", image_size=8),
        PlugInEntry(name="vip", image_size=16),
        pytest.param(PlugInEntry(name="logit-dp", image_size=16), marks=pytest.mark.slow),
    ],
    ids=["supervised", "vip", "logit-dp"],
)
def test_trainers_conform(entry: PlugInEntry) -> None:
    found = check_trainer(configure("trainers", entry))
    assert [str(each) for each in found if each.status == "failed"] == []
    assert {"build", "collate", "gradients", "embed", "optimizer"} <= {each.check for each in found}


class Mixing(Toy):
    """Its loss is relative to the batch."""

    def losses(self, model: nn.Module, batch: Batch) -> Tensor:
        losses = super().losses(model, batch)
        return losses - 0.1 * losses.mean()


class Normalising(Toy):
    """Batch normalisation, the usual way to mix records."""

    def build(self, rng: Rng) -> nn.Module:
        model = super().build(rng)
        model.see = nn.Sequential(cast("nn.Module", model.see), nn.BatchNorm1d(96))
        return model


class Dropping(Toy):
    def losses(self, model: nn.Module, batch: Batch) -> Tensor:
        images = nn.functional.dropout(batch["images"])
        return super().losses(model, {**batch, "images": images})


class MeanLoss(Toy):
    def losses(self, model: nn.Module, batch: Batch) -> Tensor:
        return super().losses(model, batch).mean()


class DrawsByPlace(Toy):
    def collate(self, examples: Examples, rng: Rng) -> Batch:
        batch = super().collate(examples, rng)
        noise = torch.from_numpy(rng.numpy().normal(size=tuple(batch["images"].shape)))
        return {**batch, "images": batch["images"] + noise.float()}


class DrawsFromTorch(Toy):
    def collate(self, examples: Examples, rng: Rng) -> Batch:
        batch = super().collate(examples, rng)
        return {**batch, "images": batch["images"] + torch.rand_like(batch["images"])}


class Unseeded(Toy):
    def build(self, rng: Rng) -> nn.Module:
        model = super().build(rng)
        model.show = nn.Linear(96, 32)
        return model


class Unreached(Toy):
    def build(self, rng: Rng) -> nn.Module:
        model = super().build(rng)
        model.forgotten = nn.Parameter(torch.ones(3))
        return model


class EmbedsByBatch(Toy):
    def embed(self, model: nn.Module, images: Tensor) -> Tensor:
        features = super().embed(model, images)
        return features - features.mean(dim=0)


class TrainsHalf(Toy):
    def optimizer(self, parameters: Sequence[nn.Parameter], steps: int) -> torch.optim.Optimizer:
        return super().optimizer(parameters[::2], steps)


@pytest.mark.parametrize(
    ("trainer", "broken"),
    [
        (TOY, set()),
        (Mixing(classes=10), {"a record alone"}),
        (Normalising(classes=10), {"a record alone"}),
        (Dropping(classes=10), {"losses"}),
        (MeanLoss(classes=10), {"losses"}),
        (DrawsByPlace(classes=10), {"collate"}),
        (DrawsFromTorch(classes=10), {"collate"}),
        (Unseeded(classes=10), {"build"}),
        (Unreached(classes=10), {"gradients"}),
        (EmbedsByBatch(classes=10), {"embed"}),
        (TrainsHalf(classes=10), {"optimizer"}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_wrong_is_named(trainer: Toy, broken: set[str]) -> None:
    failed = {each.check for each in check(trainer) if each.status == "failed"}
    assert broken <= failed
    assert broken or not failed


@dataclass(frozen=True)
class Whole:
    """The toy's gradient of the whole batch, clipped as one; share: of the true sensitivity that is declared."""

    toy: Toy = TOY
    share: float = 1.0
    image_size: int = TOY.image_size
    modality: frozenset[str] = TOY.modality
    ordered: bool = False

    def build(self, rng: Rng) -> nn.Module:
        return self.toy.build(rng)

    def collate(self, examples: Examples, rng: Rng) -> Batch:
        return self.toy.collate(examples, rng)

    def embed(self, model: nn.Module, images: Tensor) -> Tensor:
        return self.toy.embed(model, images)

    def optimizer(self, parameters: Sequence[nn.Parameter], steps: int) -> torch.optim.Optimizer:
        return self.toy.optimizer(parameters, steps)

    def learning_rate(self, step: int, steps: int) -> float:
        return self.toy.learning_rate(step, steps)

    def bounded_sum(self, model: nn.Module, batch: Batch, clip: float) -> Gradients:
        parameters = trainable(model)
        losses = self.toy.losses(model, batch)
        total = (losses * torch.arange(1, 1 + len(losses))).sum() if self.ordered else losses.sum()
        found = torch.autograd.grad(total, list(parameters.values()), allow_unused=True)
        sums = {
            name: torch.zeros_like(value) if each is None else each
            for (name, value), each in zip(parameters.items(), found, strict=True)
        }
        norm = torch.sqrt(sum((each.square().sum() for each in sums.values()), start=torch.zeros(())))
        return {name: each * torch.clamp(clip / norm, max=1.0) for name, each in sums.items()}

    def sensitivity(self, clip: float, adjacency: Adjacency) -> float:
        del adjacency
        return self.share * 2 * clip


@pytest.mark.parametrize(
    ("trainer", "broken"),
    [
        (Whole(), set()),
        (Whole(share=0.4), {"sensitivity (add-remove)"}),
        (replace(Whole(), ordered=True), {"bounded sum"}),
    ],
    ids=["right", "too little declared", "order"],
)
def test_a_bound_on_whole_batches_is_held_to_what_it_declares(trainer: Whole, broken: set[str]) -> None:
    failed = {each.check for each in check(trainer) if each.status == "failed"}
    assert broken <= failed
    assert broken or not failed
