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
    """Epochs through a fresh order of all records: every record is in exactly one step of each epoch.

    An epoch has ceil(dataset_size / batch_size) steps; the last holds what is left over. The order is uniform, or that
    of a stream: records leave a shuffle buffer of so many, which is filled in the order in which they stand. Over
    another count each step takes the same share of the order, and the buffer holds the same share of the records.

    >>> from dpaudit.rng import Rng
    >>> Shuffle(batch_size=2, dataset_size=6, buffer=1).draw(1, 6, Rng.from_seed(1)).nonzero()[0].tolist()
    [2, 3]
    """

    batch_size: int
    dataset_size: int
    buffer: int | None = None

    def __post_init__(self) -> None:
        _check_sizes(self.batch_size, self.dataset_size)
        if self.buffer is not None and self.buffer < 1:
            raise InputError("shuffle buffer", self.buffer, "a whole number of at least 1")

    @property
    def steps_per_epoch(self) -> int:
        """Return the number of steps in which every record is drawn once."""
        return -(-self.dataset_size // self.batch_size)

    def draw(self, step: int, count: int, rng: Rng) -> NDArray[np.bool_]:
        """Return who is in the step, (count,)."""
        epoch, index = divmod(step, self.steps_per_epoch)
        order = self._order(count, rng.child("epoch", epoch).numpy())
        mask = np.zeros(count, dtype=np.bool_)
        mask[order[self._edge(index, count) : self._edge(index + 1, count)]] = True
        return mask

    def _order(self, count: int, generator: np.random.Generator) -> NDArray[np.int64]:
        if self.buffer is None or self.buffer >= self.dataset_size:
            return generator.permutation(count)
        return _streamed(count, -(-self.buffer * count // self.dataset_size), generator)

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
            return Shuffle(mechanism.batch_size, mechanism.dataset_size, mechanism.shuffle_buffer)
        case "full":
            return Full()
        case unknown:
            assert_never(unknown)


def _streamed(count: int, size: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Return the order in which `count` records leave a shuffle buffer of `size` slots, (count,).

    The first `size` records fill it. Then a uniform slot is emptied and the next record put there, until the stream
    ends; what is left leaves in a uniform order. All slots are drawn at once, so nothing is simulated record by record.
    """
    slots = np.concatenate([np.arange(size), generator.integers(max(1, size), size=count - size)])  # of each record
    by_slot = np.argsort(slots.astype(np.min_scalar_type(size)), kind="stable")  # two bytes are sorted in linear time
    earlier, later = by_slot[:-1], by_slot[1:]
    pushed = slots[earlier] == slots[later]  # `earlier` leaves when `later` comes
    order = np.empty(count, dtype=np.int64)
    order[later[pushed] - size] = earlier[pushed]
    order[count - size :] = generator.permutation(np.delete(np.arange(count), earlier[pushed]))
    return order


def _step_generator(step: int, rng: Rng) -> np.random.Generator:
    return rng.child("step", step).numpy()


def _check_sizes(batch_size: int, dataset_size: int) -> None:
    if not 1 <= batch_size <= dataset_size:
        raise InputError("batch size", batch_size, f"a whole number from 1 to the data size {dataset_size}")
