"""A model that has memorised half of the candidates, and what an attacker gets of it, watched."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from dpaudit.conformance.toy import SIDE, Toy
from dpaudit.data.scenes.source import Scenes
from dpaudit.errors import DpauditError
from dpaudit.mechanism import Mechanism
from dpaudit.plugins import AttackView, Candidates, Target
from dpaudit.rng import Rng
from dpaudit.training.targets import ModelTarget

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

    from dpaudit.data.examples import Examples
    from dpaudit.plugins import Needs

__all__ = ["Overfit", "Watched", "overfit"]

_STRANGERS, _STEPS = 96, 140
_ALLOWED = frozenset(name for name in vars(Target) if not name.startswith("_"))


class Watched:
    """A target that answers what the contract names and nothing else, as a run of tomorrow may."""

    def __init__(self, target: ModelTarget) -> None:
        self._asked = {name: getattr(target, name) for name in _ALLOWED}

    def __getattribute__(self, name: str) -> Any:
        asked = object.__getattribute__(self, "_asked")
        if name in asked:
            return asked[name]
        if name.startswith("__"):
            return object.__getattribute__(self, name)
        raise DpauditError(f"it asked its target for {name!r}, which no contract promises")


@dataclass(frozen=True)
class Overfit:
    """Candidates, who of them the trained model was fitted to (n,), and records of which it saw none."""

    toy: Toy
    trained: nn.Module
    untrained: nn.Module
    records: Examples
    members: NDArray[np.bool_]
    population: Examples
    references: tuple[tuple[nn.Module, NDArray[np.bool_]], ...]

    def view(self, needs: Needs, *, trained: bool = True, order: NDArray[np.int64] | None = None) -> AttackView:
        """Return what an attack with these needs gets; order: of the candidates."""
        rows = np.arange(len(self.records)) if order is None else order
        records = _read_only(self.records.take(rows))
        family = next(name for name in needs.families if name in ("pool", "inputs"))
        return AttackView(
            target=self._target(self.trained if trained else self.untrained, needs),
            candidates=Candidates(family=family, ids=records.ids, examples=records),
            population=self.population,
            rng=Rng.from_seed(7).child("attack"),
            references=tuple((self._target(model, needs), mask[rows]) for model, mask in self.references),
        )

    def _target(self, model: nn.Module, needs: Needs) -> Target:
        target = ModelTarget(
            trainer=self.toy,
            model=model,
            untrained=lambda: self.untrained,
            mechanism=_mechanism(len(self.records)),
            access="final weights" if needs.access == "all steps" else needs.access,
        )
        return cast("Target", Watched(target))


@cache
def overfit(references: int = 0, candidates: int = 128, seed: int = 0) -> Overfit:
    """Return a toy that has fitted a random half of the candidates, beside its first weights and references.

    Labels are random, so that they can only be remembered.
    """
    rng = Rng.from_seed(seed).child("conformance")
    records, population = _records(rng, candidates)
    toy = Toy(classes=len(Scenes(size=1).classes))
    untrained = toy.build(rng.child("model")).eval()
    members = _half(rng.child("members"), candidates)
    masks = [_half(rng.child("mask", number), candidates) for number in range((references + 1) // 2)]
    masks = [mask for half in masks for mask in (half, ~half)][:references]
    fitted = [_fitted(toy, untrained, records.take(np.flatnonzero(mask))) for mask in (members, *masks)]
    others = tuple(zip(fitted[1:], masks, strict=True))
    return Overfit(toy, fitted[0], untrained, records, members, population, others)


def _records(rng: Rng, candidates: int) -> tuple[Examples, Examples]:
    source = Scenes(size=4000, image_size=SIDE)
    drawn = source[rng.child("records").numpy().permutation(source.ids())[: candidates + _STRANGERS]]
    labels = rng.child("labels").numpy().integers(len(source.classes), size=len(drawn))
    drawn = replace(drawn, labels=labels.astype(np.int64))
    return drawn.take(slice(0, candidates)), _read_only(drawn.take(slice(candidates, None)))


def _read_only(records: Examples) -> Examples:
    for values in (records.images, records.labels, records.ids):
        cast("NDArray[Any]", values).setflags(write=False)
    return records


def _half(rng: Rng, size: int) -> NDArray[np.bool_]:
    return rng.numpy().permutation(size) < size // 2


def _fitted(toy: Toy, start: nn.Module, members: Examples) -> nn.Module:
    model, batch = copy.deepcopy(start), toy.collate(members, Rng.from_seed(0))
    optimizer = toy.optimizer(list(model.parameters()), _STEPS)
    for _ in range(_STEPS):
        optimizer.zero_grad()
        torch.autograd.backward(toy.losses(model, batch).mean())
        optimizer.step()
    return model.eval()


def _mechanism(candidates: int) -> Mechanism:
    return Mechanism(
        sampling="full",
        adjacency="add-remove",
        noise_multiplier=0.0,
        sampling_rate=1.0,
        steps=_STEPS,
        clip_norm=1.0,
        batch_size=candidates // 2,
        dataset_size=candidates,
    )
