"""One step of DP-SGD: sample, clip, sum, add noise, divide by the expected batch size."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dpaudit.dp.functional import functional_sum
from dpaudit.dp.ledger import LedgerRow
from dpaudit.dp.loop import unclipped_sum
from dpaudit.dp.noise import Noise, NoiseMeasure
from dpaudit.dp.processes import Alone, Processes
from dpaudit.dp.sampling import sampler
from dpaudit.dp.tensors import Batch, Gradients, trainable
from dpaudit.dp.total import Measured, Total
from dpaudit.errors import DpauditError, InputError

if TYPE_CHECKING:
    from torch import nn

    from dpaudit.canaries import Family
    from dpaudit.dp.audit_block import GradientCanaries
    from dpaudit.dp.clipping import Clipped, ClippedSum, Losses
    from dpaudit.mechanism import Mechanism
    from dpaudit.rng import Rng

__all__ = ["DpStep", "Load", "Release", "assign"]

#: positions in the public ordering of all records -> their collated batch, rows in that order, on the model's device
Load: TypeAlias = Callable[[NDArray[np.int64]], Batch]


@dataclass(frozen=True, kw_only=True)
class Release:
    """What a step gives out.

    gradients: name -> noisy gradient, divided. canaries: family -> released value at each candidate's coordinate, (m,).
    row: what was executed; private, as the loss in it is without noise.
    """

    gradients: Gradients
    canaries: dict[Family, NDArray[np.float32]]
    row: LedgerRow


@dataclass(frozen=True, kw_only=True)
class DpStep:
    """A mechanism made executable. Holds no state: step t is the same whichever steps ran before.

    members: (dataset_size,) who is in, in the public ordering of all records that could be in.
    sampling, noise: secret keys. micro_batch: records that are loaded and differentiated together, of no effect on the
    result but rounding. secure: see `dpaudit.dp.noise`. processes: they share the micro-batches of a step, and each
    gets the whole release. The noise std is noise_multiplier * clip_norm; the divisor is the mechanism's batch_size,
    whatever was drawn. Infinite clip norm and no noise: the ordinary gradient.
    """

    mechanism: Mechanism
    losses: Losses
    members: NDArray[np.bool_]
    sampling: Rng
    noise: Rng
    engine: ClippedSum = functional_sum
    micro_batch: int = 64
    canaries: tuple[GradientCanaries, ...] = ()
    secure: bool = False
    processes: Processes = field(default_factory=Alone)

    def __post_init__(self) -> None:
        if self.members.shape != (self.mechanism.dataset_size,) or self.members.dtype != np.bool_:
            found = (self.members.shape, str(self.members.dtype))
            raise InputError("members", found, f"{self.mechanism.dataset_size} booleans, one per record")
        if self.micro_batch < 1:
            raise InputError("micro_batch", self.micro_batch, "at least 1")
        if math.isinf(self.mechanism.clip_norm) and (self.mechanism.noise_multiplier > 0 or self.canaries):
            raise InputError("clip_norm", self.mechanism.clip_norm, "a finite number with noise or gradient canaries")

    @property
    def noise_std(self) -> float:
        """Return the standard deviation of the noise on each coordinate of the sum."""
        multiplier = self.mechanism.noise_multiplier
        return multiplier * self.mechanism.clip_norm if multiplier > 0 else 0.0

    def drawn(self, step: int) -> NDArray[np.int64]:
        """Return the positions of the members that are in the step, ascending."""
        if not 0 <= step < self.mechanism.steps:
            raise InputError("step", step, f"one of the {self.mechanism.steps} steps that are accounted for")
        mask = sampler(self.mechanism).draw(step, len(self.members), self.sampling.child("records"))
        return np.flatnonzero(mask & self.members)

    def __call__(self, step: int, model: nn.Module, load: Load) -> Release:
        """Return what the step releases; the model is not changed."""
        sums, measured = self._sum_of(step, model, load)
        self._add_canaries(step, sums)
        gradients, noise = self._privatised(step, sums)
        canaries: dict[Family, NDArray[np.float32]] = {
            canary.placement.family: canary.placement.read(gradients) for canary in self.canaries
        }
        released = {name: gradients[name] for name in trainable(model)}
        return Release(gradients=released, canaries=canaries, row=self._row(step, measured, noise))

    def _sum_of(self, step: int, model: nn.Module, load: Load) -> tuple[Gradients, Measured]:
        """Return the sum over the drawn records, to which every process adds whole micro-batches."""
        drawn, size = self.drawn(step), self.micro_batch
        parts = [drawn[start : start + size] for start in range(0, len(drawn), size)]
        total, failure = Total(model, self.mechanism, step, len(parts)), None
        try:
            for part in range(self.processes.rank, len(parts), self.processes.size):
                total.add(part, self._clipped(model, parts[part], load))
        except DpauditError as error:
            failure = error
        self.processes.check(failure)
        return total.over(self.processes)

    def _clipped(self, model: nn.Module, positions: NDArray[np.int64], load: Load) -> Clipped:
        batch = load(positions)
        if math.isinf(self.mechanism.clip_norm):
            clipped = unclipped_sum(model, self.losses, batch)
        else:
            clipped = self.engine(model, self.losses, batch, self.mechanism.clip_norm)
        if len(clipped.losses) != len(positions):
            found = f"{len(clipped.losses)} records were loaded"
            raise DpauditError(f"{found}, expected the {len(positions)} that were drawn")
        return clipped

    def _add_canaries(self, step: int, sums: Gradients) -> None:
        draws = sampler(self.mechanism)
        for canary in self.canaries:
            rng = self.sampling.child("canaries", canary.placement.family)
            canary.contribute(sums, draws.draw(step, len(canary.placement), rng), self.mechanism.clip_norm)

    def _privatised(self, step: int, sums: Gradients) -> tuple[Gradients, NoiseMeasure]:
        noise = Noise(std=self.noise_std, secure=self.secure)
        noisy, measure = noise.add(sums, lambda name: self.noise.child(step, name))
        return {name: tensor / self.mechanism.batch_size for name, tensor in noisy.items()}, measure

    def _row(self, step: int, measured: Measured, noise: NoiseMeasure) -> LedgerRow:
        return LedgerRow(
            step=step,
            drawn=measured.records,
            clip_norm=self.mechanism.clip_norm,
            noise_std=self.noise_std,
            sampling_rate=self.mechanism.sampling_rate,
            divisor=self.mechanism.batch_size,
            loss=measured.loss,
            clipped_fraction=measured.clipped / measured.records if measured.records else 0.0,
            max_clipped_norm=measured.largest,
            noise_sum_of_squares=noise.sum_of_squares,
            noise_count=noise.count,
        )


def assign(model: nn.Module, gradients: Gradients) -> None:
    """Set .grad of every trained parameter, for an optimizer to take a step."""
    for name, parameter in trainable(model).items():
        parameter.grad = gradients[name].to(parameter.dtype)
