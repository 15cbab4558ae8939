"""Flat clipping: each record's whole gradient is scaled to L2 norm at most C; and what an engine returns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

import torch
from torch import Tensor, nn

from dpaudit.dp.tensors import Batch, Gradients, trainable
from dpaudit.errors import DpauditError, InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Clipped", "ClippedSum", "Losses", "accumulator_dtype", "clip_factors", "record_norms", "zero_sums"]

#: (model, batch of n records) -> one loss per record, (n,)
Losses: TypeAlias = Callable[[nn.Module, Batch], Tensor]

_CHUNK = 4096


@dataclass(frozen=True, kw_only=True)
class Clipped:
    """What a batch of n records contributes.

    gradients: sum over records of the clipped gradient, at least float32. norms: (n,) before clipping, or None when
    nothing was clipped (C = infinity needs no norms). losses: (n,).
    """

    gradients: Gradients
    norms: Tensor | None
    losses: Tensor


class ClippedSum(Protocol):
    """An engine: computes a batch's clipped gradient sum over the parameters that require_grad."""

    def __call__(self, model: nn.Module, losses: Losses, batch: Batch, clip: float) -> Clipped:
        """Return the clipped sum of a batch of n >= 1 records; neither parameters, buffers nor .grad change."""


def clip_factors(norms: Tensor, clip: float) -> Tensor:
    """Return min(1, clip / norm) per record, (n,), at least float32; ones when clip is infinite.

    Raises DpauditError when a norm is NaN or infinite: skipping the record would depend on private data, and keeping
    it would break the sensitivity.

    >>> clip_factors(torch.tensor([0.0, 1.0, 4.0]), 2.0)
    tensor([1.0000, 1.0000, 0.5000])
    """
    if not clip > 0:
        raise InputError("clip norm", clip, "a number above 0, or infinity")
    _check_finite(norms)
    return torch.clamp(clip / norms.to(accumulator_dtype(norms.dtype)), max=1.0)


def record_norms(gradients: Iterable[Tensor]) -> Tensor:
    """Return each record's L2 norm over all tensors together, (n,); the tensors are (n, ...).

    In float32 or better, added up in short runs: one long float32 sum loses what is small beside it, which on a tensor
    of 4e7 numbers makes the norm 0.2 % too small and the clipped gradient as much too long.
    """
    norms: Tensor = torch.linalg.vector_norm(torch.stack([_tensor_norms(part) for part in gradients]), dim=0)
    return norms


def accumulator_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the type in which norms and sums of such numbers are formed: float32 or better."""
    return torch.promote_types(dtype, torch.float32)


def zero_sums(model: nn.Module) -> Gradients:
    """Return name -> zeros of every trained parameter's shape, contiguous, at least float32: where gradients add up."""
    return {
        name: torch.zeros(parameter.shape, dtype=accumulator_dtype(parameter.dtype), device=parameter.device)
        for name, parameter in trainable(model).items()
    }


def _tensor_norms(gradient: Tensor) -> Tensor:
    flat = gradient.reshape(len(gradient), gradient.numel() // len(gradient))
    flat = flat.to(accumulator_dtype(flat.dtype))
    runs = flat.shape[1] // _CHUNK
    body = flat[:, : runs * _CHUNK].reshape(len(flat), runs, _CHUNK)
    rest = flat[:, runs * _CHUNK :].unsqueeze(1)
    parts = [torch.linalg.vector_norm(part, dim=2) for part in (body, rest)]
    norms: Tensor = torch.linalg.vector_norm(torch.cat(parts, dim=1), dim=1)
    return norms


def _check_finite(norms: Tensor) -> None:
    bad = ~torch.isfinite(norms)
    if bad.any():
        first = int(bad.nonzero()[0])
        raise DpauditError(
            f"{int(bad.sum())} of {len(norms)} gradient norms are not finite (record {first} of its micro-batch: "
            f"{float(norms[first])}); lower the learning rate or look for a division by zero in the loss"
        )
