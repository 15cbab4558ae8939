"""Overfit tiny models of every system, trained once, and what attacks get of them and of their first weights."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from dpaudit.data.digits import Digits
from dpaudit.data.scenes.source import Scenes
from dpaudit.mechanism import Mechanism
from dpaudit.models.images import normalised
from dpaudit.plugins import AttackView, Candidates
from dpaudit.rng import Rng
from dpaudit.trainers.dp_cap import DPCap
from dpaudit.trainers.supervised import Supervised
from dpaudit.trainers.vip import ViP
from dpaudit.training.targets import ModelTarget

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dpaudit.data.examples import Examples
    from dpaudit.dp.tensors import Batch
    from dpaudit.plugins import PerExampleTrainer, Target, Trainer

ROOT = Rng.from_seed(8)
SIDE, CANDIDATES, STRANGERS, MASKS = 16, 128, 96, 2
MECHANISM = Mechanism(
    sampling="poisson",
    adjacency="add-remove",
    noise_multiplier=0.0,
    sampling_rate=0.5,
    steps=1,
    clip_norm=1.0,
    batch_size=64,
    dataset_size=CANDIDATES,
)


@dataclass(frozen=True)
class Overfit:
    """A model that has fitted half of the candidates, and who they are: members (n,) bool, for tests alone."""

    trainer: Trainer
    trained: nn.Module
    untrained: nn.Module
    records: Examples
    members: NDArray[np.bool_]
    population: Examples

    def view(
        self, state: Literal["trained", "untrained"] = "trained", order: NDArray[np.int64] | None = None
    ) -> AttackView:
        """Return what an attack gets of the trained or the untrained model; order: of the candidates."""
        records = self.records if order is None else self.records.take(order)
        model = self.trained if state == "trained" else self.untrained
        target = ModelTarget(
            trainer=self.trainer,
            model=model,
            untrained=lambda: self.untrained,
            mechanism=MECHANISM,
            access="final weights",
        )
        candidates = Candidates(family="pool", ids=records.ids, examples=records)
        return AttackView(
            target=cast("Target", target), candidates=candidates, population=self.population, rng=ROOT.child("attack")
        )

    def auc(self, scores: NDArray[np.float64]) -> float:
        """Return the probability that a member's score is above a non-member's, ties counted half."""
        inside, outside = scores[self.members][:, None], scores[~self.members][None, :]
        return float((inside > outside).mean() + (inside == outside).mean() / 2)


class PairTowers(nn.Module):
    """The smallest model of image-caption pairs: a linear map of pixels and one of counted words, to unit vectors."""

    def __init__(self, outputs: int = 48, words: int = 64) -> None:
        super().__init__()
        self.image, self.text, self.words = nn.Linear(3 * SIDE**2, outputs), nn.Linear(words, outputs), words


@dataclass(frozen=True)
class Pairs:
    """A trainer of `PairTowers` with the contrastive loss of CLIP, of which attacks see `EmbedsText` alone."""

    image_size: int = SIDE
    modality: frozenset[str] = frozenset({"image", "caption"})

    def build(self, rng: Rng) -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(rng.integer(31))
            return PairTowers()

    def collate(self, examples: Examples, rng: Rng) -> Batch:
        raise AssertionError((examples, rng))

    def embed(self, model: nn.Module, images: Tensor) -> Tensor:
        return self.image_vectors(model, images)

    def image_vectors(self, model: nn.Module, images: Tensor) -> Tensor:
        return normalize(cast("PairTowers", model).image(normalised(images).flatten(1)), dim=1)

    def text_vectors(self, model: nn.Module, captions: Sequence[str]) -> Tensor:
        towers = cast("PairTowers", model)
        places = [[sum(word.encode()) % towers.words for word in caption.split()] for caption in captions]
        counts = np.stack([np.bincount(each, minlength=towers.words) for each in places])
        return normalize(towers.text(torch.from_numpy(counts).float()), dim=1)

    def optimizer(self, parameters: Sequence[nn.Parameter], steps: int) -> torch.optim.Optimizer:
        raise AssertionError((parameters, steps))

    def learning_rate(self, step: int, steps: int) -> float:
        raise AssertionError((step, steps))


def contrastive(trainer: Pairs, model: nn.Module, examples: Examples) -> Tensor:
    images = trainer.image_vectors(model, torch.tensor(examples.images))
    captions = trainer.text_vectors(model, examples.captions or ())
    logits, own = images @ captions.T / 0.1, torch.arange(len(examples))
    return cross_entropy(logits, own) + cross_entropy(logits.T, own)


def fitted(model: nn.Module, loss_at: partial[Tensor], steps: int, rate: float) -> nn.Module:
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    for step in range(steps):
        optimizer.zero_grad()
        torch.autograd.backward(loss_at(model, step))
        optimizer.step()
    return model.eval()


def mean_loss(trainer: PerExampleTrainer, members: Examples, model: nn.Module, step: int) -> Tensor:
    masks = ROOT.child("attack").child("mask", step % MASKS)  # those that attacks draw
    return trainer.losses(model, trainer.collate(members, masks)).mean()


def overfitted(
    trainer: Trainer, data: Scenes | Digits, steps: int, rate: float, candidates: int = CANDIDATES
) -> Overfit:
    """Return a model that has fitted a random half of the first records, the population being later ones."""
    drawn = data[ROOT.child("records").numpy().permutation(data.ids())[: candidates + STRANGERS]]
    records, population = drawn.take(slice(0, candidates)), drawn.take(slice(candidates, candidates + STRANGERS))
    members = ROOT.child("members").numpy().permutation(candidates) < candidates // 2
    inside = records.take(np.flatnonzero(members))
    untrained = trainer.build(ROOT.child("model"))
    if isinstance(trainer, Pairs):
        loss_at = partial(lambda model, _step: contrastive(trainer, model, inside))
    else:
        loss_at = partial(mean_loss, cast("PerExampleTrainer", trainer), inside)
    trained = fitted(copy.deepcopy(untrained), loss_at, steps, rate)
    return Overfit(trainer, trained, untrained.eval(), records, members, population)


@pytest.fixture(scope="session")
def classifier() -> Overfit:
    """A tanh CNN on 64 scenes with labels."""
    trainer = Supervised(classes=8, image_size=SIDE, width=8)
    return overfitted(trainer, Scenes(size=2000, image_size=SIDE), steps=120, rate=5e-3)


@pytest.fixture(scope="session")
def captioner() -> Overfit:
    """A tiny DP-Cap on 64 scenes with captions."""
    trainer = DPCap(tokenizer="scenes", context=24)
    return overfitted(trainer, Scenes(size=2000, image_size=SIDE), steps=60, rate=3e-3)


@pytest.fixture(scope="session")
def autoencoder() -> Overfit:
    """A tiny ViP on 32 digits, under few masks: new ones at every step take thousands of steps to overfit."""
    return overfitted(ViP(mask_ratio=0.5), Digits(image_size=SIDE), steps=160, rate=5e-3, candidates=64)


@pytest.fixture(scope="session")
def pairs() -> Overfit:
    """Two linear towers on 64 scenes with captions."""
    return overfitted(Pairs(), Scenes(size=2000, image_size=SIDE), steps=60, rate=1e-2)


@pytest.fixture(scope="session")
def overfit(request: pytest.FixtureRequest) -> Overfit:
    """The system of this name (indirect parameter)."""
    return cast("Overfit", request.getfixturevalue(request.param))
