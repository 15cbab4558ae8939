"""The step that record and replay takes: a trainer and what a recipe makes of it, with all randomness held the same."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from dpaudit.dp.clipping import zero_sums
from dpaudit.dp.functional import functional_sum
from dpaudit.dp.step import DpStep
from dpaudit.dp.views import viewed, viewed_batch
from dpaudit.errors import DpauditError, InputError
from dpaudit.mechanism import Mechanism
from dpaudit.models.initialisation import seeded
from dpaudit.plugins import BatchTrainer, PerExampleTrainer
from dpaudit.rng import Rng

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

    from dpaudit.data.examples import Examples
    from dpaudit.dp.clipping import ClippedSum
    from dpaudit.dp.replay import NoiselessSum
    from dpaudit.dp.tensors import Batch, Gradients
    from dpaudit.mechanism import Adjacency

__all__ = ["Rehearsal"]


@dataclass(frozen=True, kw_only=True)
class Rehearsal:
    """The step that is replayed: a trainer and what the recipe makes of it.

    batch_size: the public divisor. engine, micro_batch, augmentations: as in training, for a trainer with one loss per
    record. rng: everything random, public; training draws from other keys.
    """

    trainer: PerExampleTrainer | BatchTrainer
    clip_norm: float
    batch_size: int = 256
    engine: ClippedSum = functional_sum
    micro_batch: int = 64
    augmentations: int = 1
    secure: bool = False
    step: type[DpStep] = DpStep
    rng: Rng = field(default_factory=lambda: Rng.from_seed(0))

    def __post_init__(self) -> None:
        if not 0 < self.clip_norm < math.inf:
            raise InputError("clip_norm", self.clip_norm, "a finite number above 0: without it nothing is declared")
        if self.augmentations > 1 and not isinstance(self.trainer, PerExampleTrainer):
            raise InputError("privacy.augmentations", self.augmentations, "1 with a trainer of whole batches")

    def declared(self, adjacency: Adjacency, clip: float) -> float:
        """Return the L2 sensitivity of the released sum that the noise is calibrated to."""
        if isinstance(self.trainer, PerExampleTrainer):
            return 2 * clip if adjacency == "replace-one" else clip
        return self.trainer.sensitivity(clip, adjacency)

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
            with seeded(self.rng.child("torch", seed)):
                return self._sum(model, records, np.isin(records.ids, ids), clip)

        return sums

    def _sum(self, model: nn.Module, records: Examples, members: NDArray[np.bool_], clip: float) -> Gradients:
        def load(positions: NDArray[np.int64]) -> Batch:
            batch = self.collate(records.take(positions), self.rng.child("collate"))
            return {name: tensor.to(next(model.parameters()).device) for name, tensor in batch.items()}

        if not isinstance(self.trainer, PerExampleTrainer):
            drawn = np.flatnonzero(members)
            return self.trainer.bounded_sum(model, load(drawn), clip) if len(drawn) else zero_sums(model)
        step = self._step(_mechanism(clip, self.batch_size, len(members)), members, clipped_by=self.trainer)
        release = step(0, model, load)
        return {name: tensor * self.batch_size for name, tensor in release.gradients.items()}

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

    def _step(
        self, mechanism: Mechanism, members: NDArray[np.bool_], clipped_by: PerExampleTrainer | None = None
    ) -> DpStep:
        return self.step(
            mechanism=mechanism,
            losses=_never if clipped_by is None else viewed(clipped_by.losses, self.augmentations),
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
