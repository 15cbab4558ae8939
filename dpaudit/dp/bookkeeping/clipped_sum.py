"""The engine that needs one backward pass and keeps no gradient per record: book-keeping (Bu et al. 2023)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from dpaudit.dp.bookkeeping.check import check_once
from dpaudit.dp.bookkeeping.routes import stand_ins
from dpaudit.dp.bookkeeping.tape import Tape
from dpaudit.dp.bookkeeping.wide import scope
from dpaudit.dp.clipping import Clipped, Flat, accumulator_dtype, scaling
from dpaudit.dp.objective import Objective, batch_length
from dpaudit.dp.tensors import trainable

if TYPE_CHECKING:
    from torch import Tensor, nn

    from dpaudit.dp.bookkeeping.check import Uses
    from dpaudit.dp.bookkeeping.wide import Wide
    from dpaudit.dp.clipping import ClippingRule, Losses
    from dpaudit.dp.tensors import Batch

__all__ = ["bookkeeping_sum", "differentiated"]

_FLAT = Flat()


def bookkeeping_sum(model: nn.Module, losses: Losses, batch: Batch, clip: float, rule: ClippingRule = _FLAT) -> Clipped:
    """Return the clipped sum from what every layer saw and what came back to it.

    The first batch of a model is checked against one record at a time, on two of its records.
    """
    found, uses = _clipped(model, losses, batch, clip, rule)

    def together(pair: Batch, weights: Wide | None) -> tuple[Clipped, Uses]:
        return _clipped(model, losses, pair, math.inf, _FLAT, weights)

    check_once(model, losses, batch, uses, together)
    return found


def _clipped(
    model: nn.Module, losses: Losses, batch: Batch, clip: float, rule: ClippingRule, weights: Wide | None = None
) -> tuple[Clipped, Uses]:
    """Return the clipped sum, in the parameters' types, and how the forward pass used the parameters."""
    tape, values = differentiated(model, losses, batch, weights)
    parameters = trainable(model)
    with torch.autocast(values.device.type, enabled=False), torch.no_grad():
        zero = torch.zeros(len(values), device=values.device)  # the norms of what had no part in the losses
        scaled = scaling(rule, {name: tape.norms.get(name, zero) for name in parameters}, clip)
        sums = {name: _of_parameter(parameters[name], each) for name, each in tape.weighted(scaled.factors)}
        gradients = {name: sums[name] if name in sums else _zeros(each) for name, each in parameters.items()}
    found = Clipped(gradients=gradients, norms=scaled.norms, losses=values, contributions=scaled.contributions)
    return found, tuple(tape.uses)


def differentiated(model: nn.Module, losses: Losses, batch: Batch, weights: Wide | None = None) -> tuple[Tape, Tensor]:
    """Return the tape of one backward pass and the losses, (n,).

    weights: all parameters and buffers in float64, in which everything is then computed; None: the model's own.
    """
    tape, parameters, given = Tape(batch_length(batch)), trainable(model), weights or {}
    replaced = stand_ins({name: given.get(name, each) for name, each in parameters.items()}, tape)
    with torch.enable_grad(), scope(weights):
        values = Objective(model, losses).at({**given, **replaced}, batch)
        if values.requires_grad:
            with torch.autocast(values.device.type, enabled=False):
                tape.differentiate(values.sum(), replaced, parameters)
    return tape, values.detach()


def _of_parameter(parameter: Tensor, gradient: Tensor) -> Tensor:
    return gradient.to(accumulator_dtype(parameter.dtype))


def _zeros(parameter: Tensor) -> Tensor:
    return torch.zeros_like(parameter, dtype=accumulator_dtype(parameter.dtype))
