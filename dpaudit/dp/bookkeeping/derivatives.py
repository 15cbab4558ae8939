"""The derivatives of n records' embeddings by all parameters: one forward pass, one backward pass per coordinate."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import torch

from dpaudit.dp.bookkeeping.routes import stand_ins
from dpaudit.dp.bookkeeping.tape import Tape
from dpaudit.dp.clipping import accumulator_dtype
from dpaudit.dp.objective import Objective, batch_length
from dpaudit.dp.tensors import trainable

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

    from dpaudit.dp.tensors import Batch

__all__ = ["Embedded", "derivatives"]

#: (model, batch of n records) -> their embeddings, (n, e); row i depends on record i alone
Embedded: TypeAlias = "Callable[[nn.Module, Batch], Tensor]"


class _Embedding(Objective):
    """A model whose forward pass is the embedding of a batch, (n, e)."""

    def forward(self, batch: Batch) -> Tensor:
        """Return (n, e)."""
        return self.losses(self.model, batch)


def derivatives(model: nn.Module, embedded: Embedded, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
    """Return embeddings (n, e), and their derivatives by every parameter they depend on, name -> (n, e, numbers)."""
    tape, parameters = Tape(batch_length(batch), again=True), trainable(model)
    replaced, columns = stand_ins(parameters, tape), []
    with torch.enable_grad():
        vectors = _Embedding(model, embedded).at(replaced, batch)
    with torch.autocast(vectors.device.type, enabled=False):
        for at in range(vectors.shape[1] if vectors.requires_grad else 0):
            tape.differentiate(vectors[:, at].sum(), replaced, parameters)
            columns.append({name: each.flatten(1) for name, each in tape.dense().items()})
    names = columns[0] if columns else {}
    rows = {name: torch.stack([column[name] for column in columns], dim=1) for name in names}
    return vectors.detach().to(accumulator_dtype(vectors.dtype)), rows
