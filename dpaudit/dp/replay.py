"""Record and replay: the same step on neighbouring batches with the same randomness, its noise left out.

If the released sums of two neighbours differ by more than the declared sensitivity, the noise is too small for what it
must hide: two batches are a proof, with no statistics in it. That no pair does so proves nothing, it is a test passed.
"""

from __future__ import annotations

import itertools
import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch

from dpaudit.dp.tensors import Gradients, in_float64
from dpaudit.errors import DpauditError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from dpaudit.mechanism import Adjacency

__all__ = [
    "ROUNDING",
    "Difference",
    "KeptSums",
    "NoiselessSum",
    "Pair",
    "distance",
    "neighbours",
    "replay",
    "shared_noise",
    "worst",
]

#: ids of a batch of n >= 0 records -> what the step would release without noise, times its public divisor
NoiselessSum: TypeAlias = Callable[[tuple[str, ...]], Gradients]
Pair: TypeAlias = "tuple[Adjacency, tuple[str, ...], tuple[str, ...]]"

#: a difference up to (1 + ROUNDING) times the declared one is put down to float32: rows of n and of n + 1 records are
#: summed in another order, which moves a clipped gradient by 1e-6 to 1e-4 of C
ROUNDING = 1e-3
_KEPT_BYTES = 1 << 30
_PREFIX, _SAME = 8, 1 - 1e-6


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The released sums of two neighbouring batches: how far apart they are (L2), and how far they may be."""

    adjacency: Adjacency
    first: tuple[str, ...]
    second: tuple[str, ...]
    distance: float
    declared: float

    @property
    def ratio(self) -> float:
        """Return the distance in units of the declared sensitivity."""
        return self.distance / self.declared

    @property
    def violates(self) -> bool:
        """Return whether the difference is above the declared sensitivity by more than rounding."""
        return self.ratio > 1 + ROUNDING

    def __str__(self) -> str:
        batches = " and ".join("{" + ", ".join(ids) + "}" for ids in (self.first, self.second))
        return f"batches {batches} {self._found}"

    def without_ids(self) -> str:
        """Return the same, with the sizes of the batches in place of their records."""
        return f"batches of {len(self.first)} and {len(self.second)} records {self._found}"

    @property
    def _found(self) -> str:
        return (
            f"({self.adjacency}): released sums differ by {self.distance:.6g}, declared sensitivity {self.declared:.6g}"
        )


def replay(
    released: NoiselessSum, pairs: Sequence[Pair], declared: Callable[[Adjacency], float]
) -> tuple[Difference, ...]:
    """Return the difference of every pair of neighbouring batches, in order.

    declared: adjacency -> L2 sensitivity. Each batch is computed once, sums are kept up to 1 GiB. DpauditError if
    a sum is not finite.
    """
    sums = released if isinstance(released, KeptSums) else KeptSums(released)
    found = []
    for adjacency, first, second in pairs:
        apart = distance(sums(first), sums(second))
        if not math.isfinite(apart):
            raise DpauditError(f"a released sum of {first} or {second} is not finite, so nothing can be replayed")
        limit = declared(adjacency)
        found.append(Difference(adjacency=adjacency, first=first, second=second, distance=apart, declared=limit))
    return tuple(found)


def worst(differences: Sequence[Difference]) -> Difference:
    """Return the difference that comes nearest to its declared sensitivity, or exceeds it most."""
    return max(differences, key=lambda difference: difference.ratio)


def neighbours(ids: Sequence[str], adjacency: Adjacency) -> tuple[Pair, ...]:
    """Return the neighbours among: the empty batch, each record alone and with the next, all but one, and all records.

    add-remove and zero-out: one batch has a record more. replace-one: they are of one size and differ in one record.
    Records stand in the order of `ids`, as a step draws them; the last one's next is the first.

    >>> [pair[1:] for pair in neighbours(["a", "b"], "add-remove")]
    [((), ('a',)), ((), ('b',)), (('a',), ('a', 'b')), (('b',), ('a', 'b'))]
    >>> [pair[1:] for pair in neighbours(["a", "b"], "replace-one")]
    [(('a',), ('b',))]
    """
    every, count = tuple(ids), len(ids)
    rings = ({each, (each + 1) % count} for each in range(count))
    chosen = [set(), *({each} for each in range(count)), *rings]
    chosen += [set(range(count)) - {each} for each in range(count)] + [set(range(count))]
    batches = list(dict.fromkeys(tuple(every[each] for each in sorted(places)) for places in chosen))
    apart = (1, 1) if adjacency == "replace-one" else (0, 1)
    return tuple(
        (adjacency, first, second)
        for first, second in itertools.combinations(batches, 2)
        if (len(set(first) - set(second)), len(set(second) - set(first))) == apart
    )


def shared_noise(noise: Mapping[str, NDArray[np.floating]]) -> tuple[str, str] | None:
    """Return two names whose noise is the same up to scale and sign, or None; name -> values of one tensor and step.

    Of the first 8 values each; shorter tensors are left out. Independent noise looks like this with chance 1e-20 a
    pair: the angle between two random directions of 8 dimensions is below 1.4e-3.
    """
    names = [name for name, values in noise.items() if values.size >= _PREFIX and np.any(values)]
    if len(names) < 2:
        return None
    rows = np.stack([noise[name].reshape(-1)[:_PREFIX].astype(np.float64) for name in names])
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    alike = np.argwhere(np.triu(np.abs(rows @ rows.T) > _SAME, 1))
    return None if len(alike) == 0 else (names[alike[0][0]], names[alike[0][1]])


class KeptSums:
    """The sums of the batches that were used last, two at least, up to 1 GiB; each of them is computed once."""

    def __init__(self, released: NoiselessSum) -> None:
        self._released = released
        self._sums: OrderedDict[tuple[str, ...], Gradients] = OrderedDict()

    def __call__(self, ids: tuple[str, ...]) -> Gradients:
        """Return the sum of the records with these ids."""
        if ids not in self._sums:
            self._sums[ids] = self._released(ids)
        self._sums.move_to_end(ids)
        bytes_each = sum(tensor.nbytes for tensor in self._sums[ids].values())
        while len(self._sums) > max(2, _KEPT_BYTES // max(bytes_each, 1)):
            self._sums.popitem(last=False)
        return self._sums[ids]


def distance(first: Gradients, second: Gradients) -> float:
    """Return the L2 norm of the difference over all tensors; both have the same ones."""
    if first.keys() != second.keys():
        odd = ", ".join(sorted(first.keys() ^ second.keys()))
        raise DpauditError(f"neighbouring batches release different tensors: {odd} is in one of them only")
    squares = [float(torch.linalg.vector_norm(in_float64(first[name] - second[name]))) ** 2 for name in first]
    return math.sqrt(math.fsum(squares))
