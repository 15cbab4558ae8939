"""Who is in a step: decided once per (key, step) over a public, fixed ordering of all records that could be in.

A mask covers members and non-members alike; the caller then keeps the members. So whether a record is drawn depends
on the key, the step and its place in the ordering, never on who else is in, and step t needs no earlier step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, assert_never

import numpy as np

from dpaudit.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dpaudit.mechanism import Mechanism
    from dpaudit.rng import Rng

__all__ = ["Fixed", "Full", "Poisson", "Sampler", "Shuffle", "sampler"]


class Sampler(Protocol):
    """Draws who is in a step. `count` may differ from the number of records: virtual canaries get the same rate."""

    def draw(self, step: int, count: int, rng: Rng) -> NDArray[np.bool_]:
        """Return who is in the step, (count,); the same for the same (step, count, rng)."""


@dataclass(frozen=True)
class Poisson:
    """Each record is in each step with chance `rate`, independently of everything else.

    >>> from dpaudit.rng import Rng
    >>> Poisson(0.5).draw(3, 8, Rng.from_seed(1)).shape
    (8,)
    """

    rate: float

    def __post_init__(self) -> None:
        if not 0 < self.rate <= 1:
            raise InputError("sampling rate", self.rate, "a number above 0 and at most 1")

    def draw(self, step: int, count: int, rng: Rng) -> NDArray[np.bool_]:
        """Return who is in the step, (count,)."""
        return _step_generator(step, rng).random(count) < self.rate


@dataclass(frozen=True)
class Fixed:
    """Each step is a uniform subset of `batch_size` of the `dataset_size` records, independent of other steps.

    Over another count the subset has count * batch_size / dataset_size members, rounded at random to keep the rate.
    """

    batch_size: int
    dataset_size: int

    def __post_init__(self) -> None:
        _check_sizes(self.batch_size, self.dataset_size)

    def draw(self, step: int, count: int, rng: Rng) -> NDArray[np.bool_]:
        """Return who is in the step, (count,)."""
        generator = _step_generator(step, rng)
        size, rest = divmod(count * self.batch_size, self.dataset_size)
        size += int(generator.integers(self.dataset_size) < rest)
        mask = np.zeros(count, dtype=np.bool_)
        mask[generator.choice(count, size, replace=False, shuffle=False)] = True
        return mask


@dataclass(frozen=True)
class Shuffle:
    """Epochs through a fresh permutation: every record is in exactly one step of each epoch.

    An epoch has ceil(dataset_size / batch_size) steps; the last holds what is left over. Over another count each step
    takes the same share of the permutation.
    """

    batch_size: int
    dataset_size: int

    def __post_init__(self) -> None:
        _check_sizes(self.batch_size, self.dataset_size)

    @property
    def steps_per_epoch(self) -> int:
        """Return the number of steps in which every record is drawn once."""
        return -(-self.dataset_size // self.batch_size)

    def draw(self, step: int, count: int, rng: Rng) -> NDArray[np.bool_]:
        """Return who is in the step, (count,)."""
        epoch, index = divmod(step, self.steps_per_epoch)
        order = rng.child("epoch", epoch).numpy().permutation(count)
        mask = np.zeros(count, dtype=np.bool_)
        mask[order[self._edge(index, count) : self._edge(index + 1, count)]] = True
        return mask

    def _edge(self, index: int, count: int) -> int:
        return min(count, -(-index * self.batch_size * count // self.dataset_size))


@dataclass(frozen=True)
class Full:
    """Every record is in every step."""

    def draw(self, step: int, count: int, rng: Rng) -> NDArray[np.bool_]:  # noqa: ARG002  # a Sampler's arguments
        """Return who is in the step, (count,): all."""
        return np.ones(count, dtype=np.bool_)


def sampler(mechanism: Mechanism) -> Sampler:
    """Return the sampler that a mechanism says."""
    match mechanism.sampling:
        case "poisson":
            return Poisson(mechanism.sampling_rate)
        case "fixed":
            return Fixed(mechanism.batch_size, mechanism.dataset_size)
        case "shuffle":
            return Shuffle(mechanism.batch_size, mechanism.dataset_size)
        case "full":
            return Full()
        case unknown:
            assert_never(unknown)


def _step_generator(step: int, rng: Rng) -> np.random.Generator:
    return rng.child("step", step).numpy()


def _check_sizes(batch_size: int, dataset_size: int) -> None:
    if not 1 <= batch_size <= dataset_size:
        raise InputError("batch size", batch_size, f"a whole number from 1 to the data size {dataset_size}")
