"""In which precision losses are differentiated. Weights, norms, sums and noise are float32 or better in each."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor, nn

    from dpaudit.dp.clipping import Losses
    from dpaudit.dp.tensors import Batch

__all__ = ["InBfloat16", "Precision", "at_precision", "plain_float32"]

Precision: TypeAlias = Literal["float32", "bf16"]


@dataclass(frozen=True)
class InBfloat16:
    """Losses computed under bfloat16 autocast, (n,) in float32: layers multiply in 8 bits of mantissa, weights keep 24.

    >>> wide = InBfloat16(lambda model, batch: model(batch["x"]).squeeze(1))
    >>> wide(torch.nn.Linear(2, 1), {"x": torch.zeros(3, 2)}).dtype
    torch.float32
    """

    losses: Losses

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return each record's loss, (n,)."""
        device = next(iter(batch.values())).device
        with torch.autocast(device.type, torch.bfloat16, cache_enabled=False):
            values = self.losses(model, batch)
        return values.float()


def at_precision(losses: Losses, precision: Precision) -> Losses:
    """Return losses that are computed in this precision; in float32 they are the trainer's own."""
    return InBfloat16(losses) if precision == "bf16" else losses


@contextmanager
def plain_float32() -> Iterator[None]:
    """Compute float32 as such inside the block: torch lets a GPU's convolutions keep 10 bits of mantissa (TF32)."""
    convolutions, products = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = convolutions
        torch.set_float32_matmul_precision(products)
