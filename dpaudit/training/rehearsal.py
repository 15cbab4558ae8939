"""The step that record and replay takes: a trainer and what a recipe makes of it, with all randomness held the same."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from dpaudit.dp.clipping import Flat
from dpaudit.dp.functional import functional_sum
from dpaudit.dp.precision import at_precision, plain_float32
from dpaudit.dp.replay import distance
from dpaudit.dp.step import DpStep
from dpaudit.dp.tensors import beside
from dpaudit.dp.views import viewed, viewed_batch
from dpaudit.dp.whole_batch import WholeBatch, checked_sums
from dpaudit.errors import DpauditError, InputError
from dpaudit.mechanism import Mechanism
from dpaudit.models.initialisation import seeded
from dpaudit.plugins import BatchTrainer, PerExampleTrainer, StepCanary
from dpaudit.rng import Rng
from dpaudit.training.declared import declared_sensitivity

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

    from dpaudit.data.examples import Examples
    from dpaudit.dp.clipping import ClippedSum, ClippingRule, Losses
    from dpaudit.dp.precision import Precision
    from dpaudit.dp.replay import NoiselessSum
    from dpaudit.dp.tensors import Batch, Gradients
    from dpaudit.mechanism import Adjacency

__all__ = ["Rehearsal"]


@dataclass(frozen=True, kw_only=True)
class Rehearsal:
    """The step that is replayed: a trainer and what the recipe makes of it.

    batch_size: the public divisor. engine, micro_batch, augmentations, precision: as in training, for a trainer with
    one loss per record; rule: what that engine clips by. rng: everything random, public; training draws from other
    keys.
    """

    trainer: PerExampleTrainer | BatchTrainer
    clip_norm: float
    batch_size: int = 256
    engine: ClippedSum = functional_sum
    micro_batch: int = 64
    augmentations: int = 1
    rule: ClippingRule = field(default_factory=Flat)
    secure: bool = False
    precision: Precision = "float32"
    step: type[DpStep] = DpStep
    rng: Rng = field(default_factory=lambda: Rng.from_seed(0))

    def __post_init__(self) -> None:
        if not 0 < self.clip_norm < math.inf:
            raise InputError("clip_norm", self.clip_norm, "a finite number above 0: without it nothing is declared")
        if self.augmentations > 1 and not isinstance(self.trainer, PerExampleTrainer):
            raise InputError("privacy.augmentations", self.augmentations, "1 with a trainer of whole batches")

    def declared(self, adjacency: Adjacency, clip: float) -> float:
        """Return the L2 sensitivity of the released sum that the noise is calibrated to."""
        return declared_sensitivity(self.trainer, clip, adjacency, self.rule)

    def collate(self, records: Examples, rng: Rng) -> Batch:
        """Return the tensors of these records as a step sees them."""
        return viewed_batch(lambda key: self.trainer.collate(records, key), self.augmentations, rng)

    def released(self, model: nn.Module, records: Examples, clip: float, seed: int = 0) -> NoiselessSum:
        """Return the step's sum as a function of its batch; model, masks and torch's own generator start the same.

        seed: of torch's own generator, which no step should read.
        """
        state = {name: buffer.clone() for name, buffer in model.named_buffers()}

        def sums(ids: tuple[str, ...]) -> Gradients:
            with torch.no_grad():
                for name, buffer in model.named_buffers():
                    buffer.copy_(state[name])
            with seeded(self.rng.child("torch", seed)), plain_float32():
                return self._sum(model, records, np.isin(records.ids, ids), clip)

        return sums

    def _sum(self, model: nn.Module, records: Examples, members: NDArray[np.bool_], clip: float) -> Gradients:
        def load(positions: NDArray[np.int64]) -> Batch:
            return beside(model, self.collate(records.take(positions), self.rng.child("collate")))

        if not isinstance(self.trainer, PerExampleTrainer):
            drawn, whole = np.flatnonzero(members), WholeBatch(bounded_sum=self.trainer.bounded_sum)
            return whole.sums(model, load(drawn) if len(drawn) else None, clip)
        step = self._step(_mechanism(clip, self.batch_size, len(members)), members, clipped_by=self.trainer)
        release = step(0, model, load)
        return {name: tensor * self.batch_size for name, tensor in release.gradients.items()}

    def worst_case(self, model: nn.Module, records: Examples | None, adjacency: Adjacency, seed: int = 0) -> float:
        """Return how far apart (L2) the neighbours are that a `StepCanary` makes of a batch of these records."""
        if not isinstance(self.trainer, StepCanary):
            raise DpauditError(f"{type(self.trainer).__name__} makes no worst case of its own")
        batch = None if records is None else beside(model, self.collate(records, self.rng.child("collate")))
        with seeded(self.rng.child("torch", seed)):
            first, second = self.trainer.neighbouring_sums(model, batch, self.clip_norm, adjacency)
        return distance(checked_sums(model, first), checked_sums(model, second))

    def noise(self, model: nn.Module, steps: int = 2) -> dict[str, NDArray[Any]]:
        """Return what an empty batch releases, which is noise alone: "step, tensor" -> values."""
        mechanism = _mechanism(self.clip_norm, self.batch_size, 1, noise_multiplier=1.0, steps=steps)
        step = self._step(mechanism, np.zeros(1, dtype=np.bool_))
        released = [step(index, model, _never).gradients for index in range(steps)]
        return {
            f"step {index}, {name}": tensor.cpu().numpy()
            for index, gradients in enumerate(released)
            for name, tensor in gradients.items()
        }

    def _losses(self, trainer: PerExampleTrainer) -> Losses:
        return viewed(at_precision(trainer.losses, self.precision), self.augmentations)

    def _step(
        self, mechanism: Mechanism, members: NDArray[np.bool_], clipped_by: PerExampleTrainer | None = None
    ) -> DpStep:
        return self.step(
            mechanism=mechanism,
            losses=_never if clipped_by is None else self._losses(clipped_by),
            members=members,
            sampling=self.rng.child("sampling"),
            noise=self.rng.child("noise"),
            engine=self.engine,
            micro_batch=self.micro_batch,
            secure=self.secure,
        )


def _mechanism(
    clip: float, batch_size: int, records: int, *, noise_multiplier: float = 0.0, steps: int = 1
) -> Mechanism:
    """Return a mechanism that draws every member in every step."""
    return Mechanism(
        sampling="full",
        adjacency="add-remove",
        noise_multiplier=noise_multiplier,
        sampling_rate=1.0,
        steps=steps,
        clip_norm=clip,
        batch_size=batch_size,
        dataset_size=records,
    )


def _never(*_: object) -> Any:
    raise DpauditError("an empty batch asked for records")
