"""The sum over a logical batch: the same bits however its micro-batches are ordered and shared out.

A sum of floats depends on the order of its terms, and with it a run would depend on the number of its processes. So
the sums of micro-batches are rounded to multiples of a tiny unit and added as whole numbers, which is exact. (Order is
also how sums of floats exceed their sensitivity: Casacuberta et al. 2022, arXiv 2207.10635.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from dpaudit.dp.clipping import zero_sums
from dpaudit.dp.processes import Alone
from dpaudit.dp.tensors import in_float64
from dpaudit.errors import DpauditError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from dpaudit.dp.clipping import Clipped
    from dpaudit.dp.processes import Processes
    from dpaudit.dp.tensors import Gradients
    from dpaudit.mechanism import Mechanism

__all__ = ["ExactSum", "Measured", "Total"]

_MOST_BITS = 48
_BLOCK, _GPU_BLOCK = 1 << 16, 1 << 24
_RECORDS, _LOSS, _CLIPPED, _LARGEST = range(4)


class ExactSum:
    """A sum of gradients over `parts` micro-batches, name -> tensor.

    Clipped: in whole multiples of a unit of at most 2^-34 C for 10^8 records, 2^-48 C for up to 16,000, far below
    float32's own rounding; no sum can overflow, for a record adds at most C. One part alone is kept as it is, and
    without a clip norm, which bounds nothing, parts are added in float64.
    """

    def __init__(self, model: nn.Module, mechanism: Mechanism, parts: int) -> None:
        self._like = {name: (tensor.device, tensor.dtype) for name, tensor in zero_sums(model).items()}
        self._unit: float | None = None
        self._sums = zero_sums(model)
        if parts > 1:
            whole = mechanism.is_clipped
            self._unit = _unit(mechanism) if whole else None
            kind = torch.int64 if whole else torch.float64
            self._sums = {name: in_float64(tensor).to(kind) for name, tensor in self._sums.items()}

    def add(self, gradients: Gradients) -> None:
        """Add the sum of one micro-batch."""
        for name, tensor in gradients.items():
            if self._unit is None:
                self._sums[name] += tensor.to(self._sums[name].device)
            else:
                _add_whole(self._sums[name], tensor, self._unit)

    def over(self, processes: Processes) -> Gradients:
        """Return the sum over all processes; this object is then used up."""
        processes.add(self._sums.values())
        return {name: _returned(self._read(tensor), *self._like[name]) for name, tensor in self._sums.items()}

    def _read(self, total: Tensor) -> Tensor:
        return total if self._unit is None else total.double() * self._unit


def _add_whole(total: Tensor, tensor: Tensor, unit: float) -> None:
    """Add a tensor to a contiguous total of whole units; a unit is a power of two, so only the last place is rounded.

    In blocks that stay in the processor's cache, which takes a quarter of the time; a GPU would wait for each.
    """
    size = _BLOCK if total.device.type == "cpu" else _GPU_BLOCK
    blocks = torch.split(total.view(-1), size)
    for block, part in zip(blocks, torch.split(tensor.reshape(-1), size), strict=True):
        block.add_((in_float64(part) * (1 / unit)).round_().to(torch.int64))


def _returned(total: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    return total.to(dtype).to(device)  # one after the other: not every device has float64


def _unit(mechanism: Mechanism) -> float:
    """Return a power of two, public like all it is made of: 2^62 units are more than all records together can add."""
    bits = min(_MOST_BITS, 62 - mechanism.dataset_size.bit_length())
    return math.ldexp(1.0, math.frexp(mechanism.clip_norm)[1] - bits)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What the ledger says of a batch.

    loss: mean over its records, None without any. clipped: records whose norm was above C, None where records have no
    norm of their own. largest: norm that entered the sum, None if none was clipped.
    """

    records: int
    loss: float | None
    clipped: int | None
    largest: float | None


class Total:
    """Gradients and measurements of the `parts` micro-batches of a step, of which this process has some."""

    def __init__(self, model: nn.Module, mechanism: Mechanism, step: int, parts: int) -> None:
        self._clip, self._step = mechanism.clip_norm, step
        self._sum = ExactSum(model, mechanism, parts)
        self._table = torch.zeros(parts, 4, dtype=torch.float64)

    def add(self, part: int, clipped: Clipped) -> None:
        """Add micro-batch number `part`; DpauditError if its loss is no number."""
        loss = float(in_float64(clipped.losses).sum())
        if not math.isfinite(loss):
            raise DpauditError(f"step {self._step}: the loss is {loss}")
        self._sum.add(clipped.gradients)
        self._table[part, _RECORDS] = len(clipped.losses)
        self._table[part, _LOSS] = loss
        if clipped.norms is not None and clipped.contributions is not None:
            self._table[part, _CLIPPED] = int((clipped.norms > self._clip).sum())
            self._table[part, _LARGEST] = float(clipped.contributions.max())

    def over(self, processes: Processes) -> tuple[Gradients, Measured]:
        """Return the sum and the measurements over all processes; this object is then used up."""
        if not len(self._table):
            return self._sum.over(Alone()), Measured(records=0, loss=None, clipped=0, largest=None)
        processes.add([self._table])
        records = int(self._table[:, _RECORDS].sum())
        return self._sum.over(processes), Measured(
            records=records,
            loss=math.fsum(self._table[:, _LOSS].tolist()) / records,
            clipped=int(self._table[:, _CLIPPED].sum()),
            largest=float(self._table[:, _LARGEST].max()) if math.isfinite(self._clip) else None,
        )
