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
from dpaudit.dp.objective import batch_length
from dpaudit.dp.processes import Alone, Processes
from dpaudit.dp.sampling import sampler
from dpaudit.dp.step_coins import seen
from dpaudit.dp.tensors import Batch, Gradients, trainable
from dpaudit.dp.total import Measured, Total
from dpaudit.errors import DpauditError, InputError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from dpaudit.canaries import Family
    from dpaudit.dp.audit_block import GradientCanaries
    from dpaudit.dp.clipping import Clipped, ClippedSum, Losses
    from dpaudit.dp.step_coins import StepCoins
    from dpaudit.dp.whole_batch import WholeBatch
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


def _no_losses(model: nn.Module, batch: Batch) -> Tensor:  # noqa: ARG001 (the signature of losses)
    raise DpauditError("this step was given no losses")


@dataclass(frozen=True, kw_only=True)
class DpStep:
    """A mechanism made executable. Holds no state: step t is the same whichever steps ran before.

    members: (dataset_size,) who is in, in the public ordering of all records that could be in. places: (dataset_size,)
    each one's place in storage, which a stream goes by; None = they are stored in that ordering.
    sampling, noise: secret keys. micro_batch: records that are loaded and differentiated together, of no effect on the
    result but rounding. secure: see `dpaudit.dp.noise`. processes: they share the micro-batches of a step, and each
    gets the whole release. The noise std is noise_multiplier * noise_unit (None: the clip norm); the divisor is the
    mechanism's batch_size, whatever was drawn. Infinite clip norm and no noise: the ordinary gradient.
    whole: a trainer of whole batches, in place of losses, engine and micro_batch. inserted: one more record, in or out
    of each step by a coin.
    """

    mechanism: Mechanism
    losses: Losses = _no_losses
    members: NDArray[np.bool_]
    sampling: Rng
    noise: Rng
    engine: ClippedSum = functional_sum
    micro_batch: int = 64
    canaries: tuple[GradientCanaries, ...] = ()
    secure: bool = False
    processes: Processes = field(default_factory=Alone)
    noise_unit: float | None = None
    whole: WholeBatch | None = None
    inserted: StepCoins | None = None
    places: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        if self.members.shape != (self.mechanism.dataset_size,) or self.members.dtype != np.bool_:
            found = (self.members.shape, str(self.members.dtype))
            raise InputError("members", found, f"{self.mechanism.dataset_size} booleans, one per record")
        if self.places is not None and not np.array_equal(np.sort(self.places), np.arange(len(self.members))):
            raise InputError("places", self.places.shape, f"each of 0 to {len(self.members) - 1} once")
        if self.micro_batch < 1:
            raise InputError("micro_batch", self.micro_batch, "at least 1")
        if self.inserted is not None and len(self.inserted.members) != self.mechanism.steps:
            raise InputError("coins of steps", len(self.inserted.members), f"{self.mechanism.steps}, one per step")
        if math.isinf(self.mechanism.clip_norm) and (self.mechanism.noise_multiplier > 0 or self.canaries):
            raise InputError("clip_norm", self.mechanism.clip_norm, "a finite number with noise or gradient canaries")

    @property
    def noise_std(self) -> float:
        """Return the standard deviation of the noise on each coordinate of the sum."""
        multiplier, unit = self.mechanism.noise_multiplier, self.noise_unit or self.mechanism.clip_norm
        return multiplier * unit if multiplier > 0 else 0.0

    def drawn(self, step: int) -> NDArray[np.int64]:
        """Return the positions of the members that are in the step, ascending."""
        if not 0 <= step < self.mechanism.steps:
            raise InputError("step", step, f"one of the {self.mechanism.steps} steps that are accounted for")
        mask = sampler(self.mechanism).draw(step, len(self.members), self.sampling.child("records"))
        return np.flatnonzero((mask if self.places is None else mask[self.places]) & self.members)

    def __call__(self, step: int, model: nn.Module, load: Load) -> Release:
        """Return what the step releases; the model is not changed."""
        sums, measured, pair = self._computed(step, model, load)
        self._add_canaries(step, sums)
        gradients, noise = self._privatised(step, sums)
        canaries: dict[Family, NDArray[np.float32]] = {
            canary.placement.family: canary.placement.read(gradients) for canary in self.canaries
        }
        if self.inserted is not None and pair is not None:
            canaries[self.inserted.family] = seen(pair, gradients, self.mechanism.batch_size)
        released = {name: gradients[name] for name in trainable(model)}
        return Release(gradients=released, canaries=canaries, row=self._row(step, measured, noise))

    def _computed(
        self, step: int, model: nn.Module, load: Load
    ) -> tuple[Gradients, Measured, tuple[Gradients, Gradients] | None]:
        """Return the sum without noise, what is known of it, and the neighbours between which a coin chose."""
        if self.whole is not None:
            return self._sum_of_whole(self.whole, step, model, load)
        sums, measured = self._sum_of(step, model, load)
        if self.inserted is None:
            return sums, measured, None
        pair = self.inserted.neighbours(step, model, None, sums)
        return self.inserted.chosen(step, pair), measured, pair

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

    def _sum_of_whole(
        self, whole: WholeBatch, step: int, model: nn.Module, load: Load
    ) -> tuple[Gradients, Measured, tuple[Gradients, Gradients] | None]:
        """Return the same of a trainer that bounds its sum itself; all processes would compute it, so there is one."""
        drawn = self.drawn(step)
        batch = load(drawn) if len(drawn) else None
        try:
            records = 0 if batch is None else batch_length(batch)
            if self.inserted is None:
                sums = whole.sums(model, batch, self.mechanism.clip_norm)
                return sums, whole.measured(model, batch, records), None
            pair = self.inserted.neighbours(step, model, batch, None)
            return self.inserted.chosen(step, pair), whole.unmeasured(records), pair
        except DpauditError as error:
            raise DpauditError(f"step {step}: {error}") from error

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
            clipped_fraction=_share(measured),
            max_clipped_norm=measured.largest,
            noise_sum_of_squares=noise.sum_of_squares,
            noise_count=noise.count,
        )


def _share(measured: Measured) -> float | None:
    if measured.clipped is None:
        return None
    return measured.clipped / measured.records if measured.records else 0.0


def assign(model: nn.Module, gradients: Gradients) -> None:
    """Set .grad of every trained parameter, for an optimizer to take a step."""
    for name, parameter in trainable(model).items():
        parameter.grad = gradients[name].to(parameter.dtype)
