"""The sum of a trainer that couples records: it sees the whole logical batch and bounds its own sum.

There is no norm per record, no engine and no micro-batch here: what a record can change is what the trainer declares,
and record and replay (`dpaudit.dp.replay`) is what tests it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import torch

from dpaudit.dp.clipping import zero_sums
from dpaudit.dp.tensors import in_float64
from dpaudit.dp.total import Measured
from dpaudit.errors import DpauditError

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from dpaudit.dp.clipping import Losses
    from dpaudit.dp.tensors import Batch, Gradients

__all__ = ["BoundedSum", "WholeBatch", "checked_sums"]

#: (model, batch of n >= 1 records, clip) -> the bounded sum of the whole batch; clip infinity: nothing is bounded
BoundedSum: TypeAlias = "Callable[[nn.Module, Batch, float], Gradients]"


@dataclass(frozen=True, kw_only=True)
class WholeBatch:
    """What such a trainer brings to a step. record_losses: (n,) for the ledger, None = it knows no loss per record."""

    bounded_sum: BoundedSum
    record_losses: Losses | None = None

    def sums(self, model: nn.Module, batch: Batch | None, clip: float) -> Gradients:
        """Return the bounded sum of a batch, zeros for None; DpauditError unless it is finite and complete."""
        return zero_sums(model) if batch is None else checked_sums(model, self.bounded_sum(model, batch, clip))

    def unmeasured(self, records: int) -> Measured:
        """Return what the ledger says of so many records where their loss is not asked for: it would say nothing."""
        return Measured(records=records, loss=None, clipped=None, largest=None)

    def measured(self, model: nn.Module, batch: Batch | None, records: int) -> Measured:
        """Return what the ledger says of a batch: its mean loss, where there is one; nothing is known of norms."""
        if batch is None or self.record_losses is None:
            return self.unmeasured(records)
        with torch.no_grad():
            losses = self.record_losses(model, batch)
        if losses.shape != (records,):
            raise DpauditError(f"losses of {records} records have shape {tuple(losses.shape)}, expected ({records},)")
        loss = float(in_float64(losses).mean())
        if not math.isfinite(loss):
            raise DpauditError(f"the loss is {loss}")
        return Measured(records=records, loss=loss, clipped=None, largest=None)


def checked_sums(model: nn.Module, sums: Gradients) -> Gradients:
    """Return a trainer's sums in the model's order, in float32 or wider; DpauditError names what is wrong with them."""
    like = zero_sums(model)
    if sums.keys() != like.keys():
        odd = ", ".join(sorted(sums.keys() ^ like.keys()))
        raise DpauditError(f"the bounded sum and the trained parameters differ in: {odd}")
    for name, zeros in like.items():
        if sums[name].shape != zeros.shape:
            raise DpauditError(f"the bounded sum of {name} has shape {tuple(sums[name].shape)}, its parameter another")
        if not torch.isfinite(sums[name]).all():
            raise DpauditError(f"the bounded sum of {name} is not finite")
    wide = {name: torch.promote_types(zeros.dtype, sums[name].dtype) for name, zeros in like.items()}
    return {name: sums[name].detach().to(dtype) for name, dtype in wide.items()}
