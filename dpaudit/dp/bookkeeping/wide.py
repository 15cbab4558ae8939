"""Losses computed in float64, whatever types a model names itself: for a comparison that is not about rounding."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch.utils._python_dispatch import TorchDispatchMode

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from contextlib import AbstractContextManager

    from torch import Tensor

    from dpaudit.dp.objective import Objective
    from dpaudit.dp.tensors import Batch

__all__ = ["Wide", "in_float64", "scope"]

#: all parameters and buffers of a model by name, in float64
Wide: TypeAlias = "dict[str, Tensor]"

_NARROW = {torch.float32, torch.float16, torch.bfloat16}


class _Widening(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch has no types there
    """Makes float64 of whatever is asked for in a narrower floating type: `x.float()`, `zeros(3, dtype=...)`."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Say no: to skip its compiler, torch would import it, two seconds for what nobody compiles."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if kwargs.get("dtype") in _NARROW:
            kwargs = kwargs | {"dtype": torch.float64}
        return func(*args, **kwargs)


def scope(weights: Wide | None) -> AbstractContextManager[None]:
    """Return where these weights are computed with: in float64, or, where there are none, as ever."""
    return nullcontext() if weights is None else _widened()


@contextmanager
def _widened() -> Iterator[None]:
    """Make conversions and new tensors float64 inside the block; autocast leaves that type alone."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with _Widening():  # type: ignore[no-untyped-call]  # torch has no types there
            yield
    finally:
        torch.set_default_dtype(before)


def in_float64(objective: Objective, batch: Batch) -> tuple[Batch, Wide | None]:
    """Return the batch, and the parameters and buffers of the model, in float64.

    The batch as it is, and None, where torch refuses to compute the losses so: a device without float64, an operation
    that has none, a product with a float32 tensor that is neither parameter nor buffer.
    """
    model = objective.model
    try:
        weights = _wide([*model.named_parameters(), *model.named_buffers()])
        wide = _wide(batch.items())
        with torch.no_grad(), scope(weights):
            objective.at(weights, wide)
    except (RuntimeError, TypeError):
        return batch, None
    return wide, weights


def _wide(named: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
    return {name: each.detach().double() if each.is_floating_point() else each for name, each in named}
