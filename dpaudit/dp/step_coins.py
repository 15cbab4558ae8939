"""One inserted record that a fair coin of its own puts into each step or leaves out, and what the step shows of it.

Coin t enters step t alone. All that comes later follows from what the steps released, so it says no more of coin t than
release t did: T steps are T independent tests of what one step gives away (docs/statistics/bounds.md).

The record is the auditor's own. It enters neither the divisor nor the sizes, and no other record's promise changes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch

from dpaudit.dp.tensors import in_float64
from dpaudit.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import nn

    from dpaudit.canaries import Family
    from dpaudit.dp.tensors import Batch, Gradients

__all__ = ["Neighbours", "StepCoins", "seen", "step_ids"]

#: (step, model, drawn batch, its sum) -> the sums of the neighbour whose coin says out, and of the one that says in.
#: A trainer of whole batches is given the batch, None where no record was drawn; any other the sum.
Neighbours: TypeAlias = "Callable[[int, nn.Module, Batch | None, Gradients | None], tuple[Gradients, Gradients]]"


@dataclass(frozen=True, kw_only=True)
class StepCoins:
    """The coins of all steps, (T,), and what they choose between."""

    family: Family
    members: NDArray[np.bool_]
    neighbours: Neighbours

    def __post_init__(self) -> None:
        if self.members.ndim != 1 or self.members.dtype != np.bool_:
            raise InputError(f"coins of family {self.family}", str(self.members.dtype), "one boolean per step")

    def chosen(self, step: int, pair: tuple[Gradients, Gradients]) -> Gradients:
        """Return the sum of the neighbour that the step's coin says."""
        return dict(pair[int(self.members[step])])


def seen(pair: tuple[Gradients, Gradients], released: Gradients, divisor: int) -> NDArray[np.float32]:
    """Return (y, d), (2,), of the neighbours' sums f and s and the released sum r: what says all of the coin.

    d = |s - f|; y = (r - f) . (s - f) / d, which is N(0, std^2) if the coin said out and N(d, std^2) if it said in, for
    noise of this std on every coordinate. released: divided. Neighbours that are the same show (0, 0).
    """
    first, second = pair
    squares = products = 0.0
    for name, low in first.items():
        apart = in_float64(second[name]) - in_float64(low)
        squares += float(torch.sum(apart * apart))
        products += float(torch.sum(apart * (in_float64(released[name]) * divisor - in_float64(low))))
    distance = math.sqrt(squares)
    return np.array([products / distance if distance else 0.0, distance], dtype=np.float32)


def step_ids(family: Family, steps: int) -> NDArray[np.str_]:
    """Return the candidates of a run of so many steps: one coin each.

    >>> step_ids("steps", 2).tolist()
    ['steps:0', 'steps:1']
    """
    return np.array([f"{family}:{step}" for step in range(steps)], dtype=np.str_)
