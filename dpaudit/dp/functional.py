"""The engine that differentiates all records at once: torch.func's vmap over grad. Keeps n gradients in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.func import grad_and_value, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from dpaudit.dp.clipping import Clipped, Flat, accumulator_dtype, scaling, tensor_norms
from dpaudit.dp.objective import Objective, batch_length
from dpaudit.dp.tensors import trainable

if TYPE_CHECKING:
    from torch import Tensor, nn

    from dpaudit.dp.clipping import ClippingRule, Losses
    from dpaudit.dp.tensors import Batch, Gradients

__all__ = ["functional_sum", "gradients_by_record"]

_FLAT = Flat()


def functional_sum(model: nn.Module, losses: Losses, batch: Batch, clip: float, rule: ClippingRule = _FLAT) -> Clipped:
    """Return the clipped sum from n gradients that are computed together."""
    batch_length(batch)
    gradients, values = gradients_by_record(Objective(model, losses), batch)
    scaled = scaling(rule, {name: tensor_norms(gradient) for name, gradient in gradients.items()}, clip)
    total = {name: _weighted_sum(scaled.factors[name], gradient) for name, gradient in gradients.items()}
    return Clipped(gradients=total, norms=scaled.norms, losses=values, contributions=scaled.contributions)


def gradients_by_record(objective: Objective, batch: Batch) -> tuple[Gradients, Tensor]:
    """Return the gradient of each record, name -> (n, ...), and the losses, (n,)."""

    def loss(parameters: Gradients, record: Batch) -> Tensor:
        return objective.at(parameters, {name: tensor.unsqueeze(0) for name, tensor in record.items()}).squeeze(0)

    parameters = {name: parameter.detach() for name, parameter in trainable(objective.model).items()}
    # The fused attention kernels have no batching rule: vmap would run them one record at a time and warn.
    with sdpa_kernel(SDPBackend.MATH):
        gradients, values = vmap(grad_and_value(loss), in_dims=(None, 0), randomness="error")(parameters, batch)
    return gradients, values.detach()


def _weighted_sum(factors: Tensor, gradients: Tensor) -> Tensor:
    """Return sum_i factors_i gradients_i, (n,) and (n, ...) -> (...).

    Multiplied and added, not a matrix product: those may run in TF32 or bfloat16 when a user has allowed it or inside
    autocast, and a factor that loses 13 bits lets a record contribute 0.1 % more than C.
    """
    weights = factors.reshape(-1, *[1] * (gradients.dim() - 1))
    return (weights * gradients.to(accumulator_dtype(gradients.dtype))).sum(0)
