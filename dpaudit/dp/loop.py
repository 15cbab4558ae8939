"""The slow engine that is easy to believe, one record at a time; and the ordinary gradient where nothing is clipped."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from dpaudit.dp.clipping import Clipped, Flat, accumulator_dtype, record_norms, scaling, tensor_norms, zero_sums
from dpaudit.dp.objective import Objective, batch_length
from dpaudit.dp.tensors import trainable
from dpaudit.errors import DpauditError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from dpaudit.dp.clipping import ClippingRule, Losses
    from dpaudit.dp.tensors import Batch, Gradients

__all__ = ["loop_sum", "unclipped_sum"]


_FLAT = Flat()


def loop_sum(model: nn.Module, losses: Losses, batch: Batch, clip: float, rule: ClippingRule = _FLAT) -> Clipped:
    """Return the clipped sum, one backward pass per record: the oracle of the other engines."""
    objective = Objective(model, losses)
    total = zero_sums(model)
    norms, contributions, values = [], [], []
    for index in range(batch_length(batch)):
        gradient, value = _gradient(objective, {name: tensor[index : index + 1] for name, tensor in batch.items()})
        scaled = scaling(rule, {name: tensor_norms(tensor.unsqueeze(0)) for name, tensor in gradient.items()}, clip)
        for name, tensor in gradient.items():
            total[name] += scaled.factors[name].squeeze(0) * tensor.to(total[name].dtype)
        norms.append(scaled.norms)
        contributions.append(scaled.contributions)
        values.append(value)
    return Clipped(
        gradients=total, norms=torch.cat(norms), losses=torch.cat(values), contributions=torch.cat(contributions)
    )


def unclipped_sum(model: nn.Module, losses: Losses, batch: Batch) -> Clipped:
    """Return the ordinary gradient of the summed loss, in one backward pass; one that is not finite is an error."""
    gradient, values = _gradient(Objective(model, losses), batch)
    norm = _norm(gradient)
    if not torch.isfinite(norm).all():
        raise DpauditError(f"the norm of the gradient of {len(values)} records is {float(norm)}, expected a number")
    total = {name: tensor.to(accumulator_dtype(tensor.dtype)) for name, tensor in gradient.items()}
    return Clipped(gradients=total, norms=None, losses=values)


def _gradient(objective: Objective, batch: Batch) -> tuple[Gradients, Tensor]:
    parameters = trainable(objective.model)
    with torch.enable_grad():
        values = objective.at(parameters, batch)
        found = torch.autograd.grad(values.sum(), list(parameters.values()), allow_unused=True, materialize_grads=True)
    return dict(zip(parameters, found, strict=True)), values.detach()


def _norm(gradient: Gradients) -> Tensor:
    return record_norms(tensor.unsqueeze(0) for tensor in gradient.values())
