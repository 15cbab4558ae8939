"""What training executed, in plain numbers: the evidence for the assumptions of a promise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from dpaudit.mechanism import Mechanism, Sampling

__all__ = ["ExecutedFacts", "InitialWeights", "NoiseSample"]

InitialWeights: TypeAlias = Literal["random", "synthetic", "public", "private", "unknown"]


@dataclass(frozen=True, kw_only=True)
class NoiseSample:
    """All numbers that the noise generator gave, over all steps and tensors, each divided by its declared std.

    count: how many; sum_of_squares: in float64, so that its expectation is `count`.
    """

    count: int
    sum_of_squares: float


@dataclass(frozen=True, kw_only=True)
class ExecutedFacts:
    """What was executed, beside the mechanism that is accounted.

    steps: rows of the ledger; noise_draws: steps in which noise was added, empty batches included.
    records_present: records that could be drawn (without the input canaries whose coin said out).
    drawn_total, drawn_square_total: sums over steps of the drawn batch size and of its square, gradient canaries not
    counted. divisors, noise_stds: distinct values in the ledger; the std is of the sum, before division.
    sensitivity: declared, add-remove, the unit of the noise multiplier. largest_norm: of a clipped contribution, None
    where only record-and-replay can tell. noise: None if not measured. duplicates: records that share content with
    another one, None if not counted. cross_record_layers: names of modules that mix records. tuning_runs: None if
    nobody said. input_canaries: candidates, in or out; records: all others.
    """

    mechanism: Mechanism
    steps: int
    noise_draws: int
    sampling: Sampling
    records_present: int
    drawn_total: int
    drawn_square_total: int
    divisors: tuple[float, ...]
    noise_stds: tuple[float, ...]
    sensitivity: float
    largest_norm: float | None
    noise: NoiseSample | None
    reproducible: bool
    privacy_unit: str
    duplicates: int | None
    cross_record_layers: tuple[str, ...]
    initial_weights: InitialWeights
    tuning_runs: int | None
    input_canaries: int
    records: int
