"""The engine that needs one backward pass and keeps no gradient per record: book-keeping (Bu et al. 2023)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from dpaudit.dp.bookkeeping.check import check_once
from dpaudit.dp.bookkeeping.routes import stand_ins
from dpaudit.dp.bookkeeping.tape import Tape
from dpaudit.dp.clipping import Clipped, Flat, accumulator_dtype, scaling
from dpaudit.dp.loop import loop_sum
from dpaudit.dp.objective import Objective, batch_length
from dpaudit.dp.tensors import trainable

if TYPE_CHECKING:
    from torch import Tensor, nn

    from dpaudit.dp.bookkeeping.check import Uses
    from dpaudit.dp.clipping import ClippingRule, Losses
    from dpaudit.dp.tensors import Batch

__all__ = ["bookkeeping_sum"]

_FLAT = Flat()


def bookkeeping_sum(model: nn.Module, losses: Losses, batch: Batch, clip: float, rule: ClippingRule = _FLAT) -> Clipped:
    """Return the clipped sum from what every layer saw and what came back to it.

    The first batch of a model is checked against one record at a time, on two of its records.
    """
    found, uses = _clipped(model, losses, batch, clip, rule)

    def together(pair: Batch) -> tuple[Clipped, Uses]:
        return _clipped(model, losses, pair, math.inf, _FLAT)

    def alone(pair: Batch) -> Clipped:
        return loop_sum(model, losses, pair, math.inf)

    check_once(model, losses, batch, uses, (together, alone))
    return found


def _clipped(model: nn.Module, losses: Losses, batch: Batch, clip: float, rule: ClippingRule) -> tuple[Clipped, Uses]:
    """Return the clipped sum, and how the forward pass used the parameters."""
    tape, values = _differentiated(model, losses, batch)
    parameters = trainable(model)
    with torch.autocast(values.device.type, enabled=False), torch.no_grad():
        scaled = scaling(rule, _norms(parameters, tape, values), clip)
        sums = tape.weighted(scaled.factors)
        gradients = {name: _of_parameter(parameter, sums.get(name)) for name, parameter in parameters.items()}
    found = Clipped(gradients=gradients, norms=scaled.norms, losses=values, contributions=scaled.contributions)
    return found, tuple(tape.uses)


def _differentiated(model: nn.Module, losses: Losses, batch: Batch) -> tuple[Tape, Tensor]:
    """Return the tape of one backward pass and the losses, (n,)."""
    tape = Tape(batch_length(batch))
    replaced = stand_ins(model, tape)
    with torch.enable_grad():
        values = Objective(model, losses).at(replaced, batch)
    if values.requires_grad:
        with torch.autocast(values.device.type, enabled=False):
            tape.differentiate(values.sum(), replaced, trainable(model))
    return tape, values.detach()


def _norms(parameters: dict[str, nn.Parameter], tape: Tape, values: Tensor) -> dict[str, Tensor]:
    """Return each parameter's norms, name -> (n,), in one type; 0 for a parameter that had no part in the losses."""
    types = {accumulator_dtype(norms.dtype) for norms in tape.norms.values()}
    dtype = torch.float64 if torch.float64 in types else torch.float32
    zero = torch.zeros(len(values), dtype=dtype, device=values.device)
    return {name: tape.norms[name].to(dtype) if name in tape.norms else zero for name in parameters}


def _of_parameter(parameter: nn.Parameter, gradient: Tensor | None) -> Tensor:
    dtype = accumulator_dtype(parameter.dtype)
    return torch.zeros_like(parameter, dtype=dtype) if gradient is None else gradient.to(dtype)
