"""What training executed, in plain numbers: the evidence for the assumptions of a promise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dpaudit.mechanism import InitialWeights, Mechanism
    from dpaudit.results import Beginning

__all__ = ["Coupling", "Duplicates", "ExecutedFacts", "NoiseSample"]


@dataclass(frozen=True, kw_only=True)
class NoiseSample:
    """All numbers that the noise generator gave, over all steps and tensors, each divided by its declared std.

    count: how many; sum_of_squares: in float64, so that its expectation is `count`.
    """

    count: int
    sum_of_squares: float


@dataclass(frozen=True, kw_only=True)
class Duplicates:
    """Records whose pixels are the same as another one's.

    compared: how many records were looked at; sharing: how many of them share their image; largest: how many records
    share one image at most; captions: how many share their caption with a record of another image, None without any.
    """

    compared: int
    sharing: int
    largest: int
    captions: int | None = None


@dataclass(frozen=True, kw_only=True)
class Coupling:
    """Whether what is computed of one record depends on others.

    layers: modules that mix records or keep statistics of them; changed_buffers: buffers that training changed.
    difference: largest relative difference between a record's loss in a batch and alone, None if not compared; noise:
    the same between two calls with one batch. by_design: the trainer sees whole batches, so nothing was compared.
    """

    layers: tuple[str, ...] = ()
    changed_buffers: tuple[str, ...] = ()
    difference: float | None = None
    noise: float = 0.0
    by_design: bool = False


@dataclass(frozen=True, kw_only=True)
class ExecutedFacts:
    """What was executed, beside the mechanism that is accounted.

    executed: what the run was started with. drawn: records in each step, gradient canaries not counted. noise_draws:
    steps in which noise was added, empty batches included. records_present: records that could be drawn (without the
    input canaries whose coin said out). sampling_rates, divisors, noise_stds: distinct values in the ledger; the std
    is of the sum, before division. noise_unit: std / noise multiplier (`dpaudit.accounting.executed`), infinity
    without clipping. largest_norm: of a clipped contribution, None where only record-and-replay can tell. noise: None
    if not measured. duplicates: None if not counted. initial_weights: as declared, None if nobody said; unseeded:
    share of the initial numbers that are the same for every seed, constant tensors left out. tuning_runs: declared
    trainings that chose the settings, None if nobody said; earlier_trainings: those that are known from the run folder.
    input_canaries: candidates that a coin was tossed for, in or out; records: all others. beginning: where the weights
    of step 0 are from, None where they were drawn. unsound: why the trainer itself says that its declared sensitivity
    is too small, or None.
    """

    mechanism: Mechanism
    executed: Mechanism
    drawn: tuple[int, ...]
    noise_draws: int
    records_present: int
    sampling_rates: tuple[float, ...]
    divisors: tuple[float, ...]
    noise_stds: tuple[float, ...]
    noise_unit: float
    largest_norm: float | None
    noise: NoiseSample | None
    reproducible: bool
    privacy_unit: str
    duplicates: Duplicates | None
    coupling: Coupling
    initial_weights: InitialWeights | None
    unseeded: float
    tuning_runs: int | None
    earlier_trainings: int
    input_canaries: int
    records: int
    beginning: Beginning | None = None
    unsound: str | None = None

    @property
    def steps(self) -> int:
        """Return the number of executed steps."""
        return len(self.drawn)
