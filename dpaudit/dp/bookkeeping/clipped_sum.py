"""The engine that needs one backward pass and keeps no gradient per record: book-keeping (Bu et al. 2023)."""

from __future__ import annotations

import itertools
import math
from contextlib import suppress
from typing import TYPE_CHECKING

import torch

from dpaudit.dp.bookkeeping.check import check_once
from dpaudit.dp.bookkeeping.halves import at_once, halves, in_one_piece, twin
from dpaudit.dp.bookkeeping.routes import stand_ins
from dpaudit.dp.bookkeeping.tape import Tape, full_precision
from dpaudit.dp.bookkeeping.wide import scope
from dpaudit.dp.clipping import Clipped, Flat, accumulator_dtype, scaling
from dpaudit.dp.objective import Objective, batch_length
from dpaudit.dp.tensors import trainable
from dpaudit.errors import DpauditError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor, nn

    from dpaudit.dp.bookkeeping.check import Uses
    from dpaudit.dp.bookkeeping.halves import Each
    from dpaudit.dp.bookkeeping.wide import Wide
    from dpaudit.dp.clipping import ClippingRule, Losses, Scaling
    from dpaudit.dp.tensors import Batch, Gradients

__all__ = ["bookkeeping_sum", "differentiated"]

_FLAT = Flat()
#: what is raised by a half of which the whole may know better: a record's number, or a layer that a twin cannot hold
_OF_HALVES = (DpauditError, RuntimeError, TypeError, AttributeError)


def bookkeeping_sum(model: nn.Module, losses: Losses, batch: Batch, clip: float, rule: ClippingRule = _FLAT) -> Clipped:
    """Return the clipped sum from what every layer saw and what came back to it.

    The first batch of a model is checked against one record at a time, on two of its records. On several threads a
    batch that is large enough is computed in two halves at once.
    """
    found, uses = _clipped(model, losses, batch, clip, rule)

    def together(pair: Batch, weights: Wide | None) -> tuple[Clipped, Uses]:
        return _of_parts(model, losses, [pair], math.inf, _FLAT, weights)

    check_once(model, losses, batch, uses, together)
    return found


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


def _clipped(model: nn.Module, losses: Losses, batch: Batch, clip: float, rule: ClippingRule) -> tuple[Clipped, Uses]:
    """Return the clipped sum, computed in halves where that is faster, and how the parameters were used."""
    parts = halves(model, batch)
    if len(parts) == 1:
        return _of_parts(model, losses, parts, clip, rule)
    with suppress(*_OF_HALVES):
        return _of_parts(model, losses, parts, clip, rule)
    found = _of_parts(model, losses, [batch], clip, rule)  # raises it again, unless it is cured
    in_one_piece(model)
    return found


def _of_parts(
    model: nn.Module,
    losses: Losses,
    parts: Sequence[Batch],
    clip: float,
    rule: ClippingRule,
    weights: Wide | None = None,
) -> tuple[Clipped, Uses]:
    """Return the clipped sum of a batch in parts, and how the forward pass used the parameters."""

    def passed(part: Batch) -> tuple[Tape, Tensor]:
        return differentiated(twin(model) if len(parts) > 1 else model, losses, part, weights)

    with at_once(len(parts)) as each:
        passes = list(each(passed, parts))
        tapes, values = [tape for tape, _ in passes], torch.cat([found for _, found in passes])
        with torch.no_grad(), torch.autocast(values.device.type, enabled=False):
            scaled = scaling(rule, _norms(trainable(model), tapes, values), clip)
            gradients = _weighted(trainable(model), tapes, scaled, each)
    if any(tape.uses != tapes[0].uses for tape in tapes):
        raise DpauditError("the halves of a batch use the parameters in different ways")
    found = Clipped(gradients=gradients, norms=scaled.norms, losses=values, contributions=scaled.contributions)
    return found, tuple(tapes[0].uses)


def _norms(parameters: Mapping[str, Tensor], tapes: Sequence[Tape], values: Tensor) -> dict[str, Tensor]:
    """Return every parameter's norms, name -> (n,): zeros of what had no part in the losses, (n,)."""
    zeros = [torch.zeros(tape.records, device=values.device) for tape in tapes]
    pairs = list(zip(tapes, zeros, strict=True))
    return {name: torch.cat([tape.norms.get(name, zero) for tape, zero in pairs]) for name in parameters}


def _weighted(parameters: Mapping[str, Tensor], tapes: Sequence[Tape], scaled: Scaling, each: Each) -> Gradients:
    """Return the sums of all tapes' gradients, each times its factor, in the parameters' types; the tapes are empty."""
    ends = [0, *itertools.accumulate(tape.records for tape in tapes)]
    factors = [{name: every[a:b] for name, every in scaled.factors.items()} for a, b in itertools.pairwise(ends)]
    device = scaled.norms.device.type
    sums: Gradients = {}

    def add_up(name: str) -> None:
        with torch.no_grad(), torch.autocast(device, enabled=False):
            for tape, weights in zip(tapes, factors, strict=True):
                form = tape.take(name)
                if form is not None:
                    sums[name] = form.weighted(weights[name], sums.get(name))

    with full_precision():
        kept = {name for tape in tapes for name in tape.kept()}
        for _ in each(add_up, sorted(kept, key=lambda name: (-parameters[name].numel(), name))):
            pass
        for tape, weights in zip(tapes, factors, strict=True):
            for name, part in tape.weighted_small(weights).items():
                sums[name] = sums[name].add_(part) if name in sums else part
    return {name: _of_parameter(parameter, sums.get(name)) for name, parameter in parameters.items()}


def _of_parameter(parameter: Tensor, gradient: Tensor | None) -> Tensor:
    dtype = accumulator_dtype(parameter.dtype)
    return torch.zeros_like(parameter, dtype=dtype) if gradient is None else gradient.to(dtype)
