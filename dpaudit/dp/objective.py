"""The losses of a batch as a function of the parameters: what every engine differentiates."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.func import functional_call

from dpaudit.errors import DpauditError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dpaudit.dp.clipping import Losses
    from dpaudit.dp.tensors import Batch

__all__ = ["Objective", "batch_length"]


class Objective(nn.Module):
    """A model whose forward pass is its trainer's losses, so that parameters can be passed in.

    Buffers are passed as copies: whatever the forward pass writes to them is gone after the call, for a buffer that
    collects statistics of private records would leave the step without noise.
    """

    def __init__(self, model: nn.Module, losses: Losses) -> None:
        super().__init__()
        self.model = model
        self.losses = losses

    def forward(self, batch: Batch) -> Tensor:
        """Return one loss per record, (n,); a mean or a sum over the batch is an error."""
        values, count = self.losses(self.model, batch), batch_length(batch)
        if values.shape != (count,):
            raise DpauditError(f"losses of {count} records have shape {tuple(values.shape)}, expected ({count},)")
        return values

    def at(self, parameters: Mapping[str, Tensor], batch: Batch) -> Tensor:
        """Return the losses at these parameters, named as in the model, (n,)."""
        replaced = {name: buffer.clone() for name, buffer in self.model.named_buffers()} | dict(parameters)
        values: Tensor = functional_call(self, {f"model.{name}": value for name, value in replaced.items()}, (batch,))
        return values


def batch_length(batch: Batch) -> int:
    """Return the number of records of a batch."""
    lengths = {len(tensor) for tensor in batch.values()}
    if len(lengths) != 1:
        raise DpauditError(f"the tensors of a batch have first dimensions {sorted(lengths)}, expected one for all")
    return lengths.pop()
