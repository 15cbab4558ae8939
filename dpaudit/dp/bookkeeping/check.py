"""The check of a model's first book-kept batch against one record at a time.

Book-keeping differentiates all records together, so it needs what other engines enforce: that the loss of a record
depends on that record alone, and that the first dimension of every activation is the record. Batch normalisation, a
loss over pairs or a tensor with tokens first would give gradients that no clipping makes private.

The comparison is made in float64 (`wide`), where an honest model's rounding is far below any fault; it takes 8 bytes
per parameter for the weights, 4 for one gradient, and activations of two records. A model that torch cannot compute in
float64 is compared in its own types, coarsely.
"""

from __future__ import annotations

import inspect
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import torch

from dpaudit.dp.bookkeeping.wide import in_float64, scope
from dpaudit.dp.clipping import record_norms
from dpaudit.dp.objective import Objective, batch_length
from dpaudit.dp.tensors import trainable
from dpaudit.errors import DpauditError

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

    from dpaudit.dp.bookkeeping.tape import Use
    from dpaudit.dp.bookkeeping.wide import Wide
    from dpaudit.dp.clipping import Clipped, Losses
    from dpaudit.dp.tensors import Batch, Gradients

__all__ = ["Uses", "check_once"]

#: how a forward pass used the parameters, in order
Uses: TypeAlias = "tuple[Use, ...]"
#: (batch, weights in float64 or None) -> the sum without clipping, in the model's types, and the uses
Together: TypeAlias = "Callable[[Batch, Wide | None], tuple[Clipped, Uses]]"


@dataclass(frozen=True)
class _Tolerance:
    """How far two gradients may be apart. part: of the larger gradient's norm; rounding: of the larger loss."""

    part: float
    rounding: float


_IN_FLOAT64 = _Tolerance(1e-6, 1e-8)
#: bfloat16 rounds by up to 0.01, a fault is no rounding
_IN_OWN_TYPES = _Tolerance(0.05, torch.finfo(torch.float32).eps)
#: model -> (losses, uses) that agreed with one record at a time
_agreed: weakref.WeakKeyDictionary[nn.Module, list[tuple[Any, Uses]]] = weakref.WeakKeyDictionary()


def check_once(model: nn.Module, losses: Losses, batch: Batch, uses: Uses, together: Together) -> None:
    """Raise unless two records of the batch give together what they give alone; once per model, losses and uses.

    What these two do not show, record and replay may (dpaudit.training.sensitivity); neither proves it for all.

    uses: of the whole batch. together: by book-keeping.
    """
    agreed = _agreed.setdefault(model, [])
    if any(known() == losses and seen == uses for known, seen in agreed):
        return
    pair = _two_unlike(batch)
    if pair is None:  # nobody to meet
        return
    objective, device = Objective(model, losses), next(iter(batch.values())).device
    before = _random_states(device)
    pair, weights = in_float64(objective, pair)
    sums, found = together(pair, weights)
    if any(not torch.equal(a, b) for a, b in zip(before, _random_states(device), strict=True)):
        raise DpauditError("the losses draw random numbers (dropout?): draw them in collate, keyed by step and record")
    _same_uses(found, uses, batch_length(batch))
    _compare(objective, pair, weights, sums)
    agreed.append((_reference(losses), uses))


def _same_uses(found: Uses, uses: Uses, records: int) -> None:
    if found != uses:
        odd = next((a or b for a, b in _unequal(found, uses)), None)
        raise DpauditError(
            f"the parameter {odd.name if odd else '?'} is used otherwise in a batch of 2 records than in one of "
            f"{records}; book-keeping expects records as the first dimension everywhere"
        )


def _two_unlike(batch: Batch) -> Batch | None:
    """Return the first record and the first that is not its copy, or None: two copies may meet without a trace."""
    unlike = [(tensor != tensor[:1]).reshape(len(tensor), tensor[0].numel()).any(1) for tensor in batch.values()]
    others = torch.stack(unlike).any(0).nonzero().flatten()[:1].tolist()
    return {name: tensor[[0, others[0]]] for name, tensor in batch.items()} if others else None


def _compare(objective: Objective, pair: Batch, weights: Wide | None, sums: Clipped) -> None:
    allowed = _IN_OWN_TYPES if weights is None else _IN_FLOAT64
    left = sums.gradients
    records = [{name: each[at : at + 1] for name, each in pair.items()} for at in range(2)]
    alone = torch.stack([_without(objective, record, weights, left) for record in records])
    rounding = allowed.rounding * float(sums.losses.abs().max())  # of the losses: less says nothing
    largest = float(alone.max())  # of the parts: two gradients may cancel
    worst = max(left, key=lambda name: _size(left[name]))
    equal = sums.norms is None or bool(((sums.norms - alone).abs() <= allowed.part * alone + rounding).all())
    if not (equal and _size(left[worst]) <= allowed.part * largest + rounding):
        raise DpauditError(
            f"the gradients of two records are not what each has alone (worst in {worst}: {_size(left[worst]):.3g} "
            f"off, the larger of the two has norm {largest:.3g}); a loss depends on its own record only, and records "
            "come first everywhere"
        )


def _without(objective: Objective, record: Batch, weights: Wide | None, left: Gradients) -> Tensor:
    """Take one record's gradient from what is `left`, a tensor at a time to spare memory, and return its norm, ()."""
    own = weights or trainable(objective.model)
    leaves = {name: own[name].detach().requires_grad_() for name in left}
    names = {leaf: name for name, leaf in leaves.items()}
    norms = [next(iter(left.values())).new_zeros(1)]

    def taken(leaf: Tensor) -> None:
        if leaf.grad is not None:
            norms.append(record_norms([leaf.grad.unsqueeze(0)]))
            left[names[leaf]] -= leaf.grad
            leaf.grad = None

    hooks = [leaf.register_post_accumulate_grad_hook(taken) for leaf in names]  # type: ignore[no-untyped-call]  # torch has no types here
    try:
        with torch.enable_grad(), scope(weights):
            loss = objective.at({**(weights or {}), **leaves}, record).sum()
            if loss.requires_grad:
                torch.autograd.backward(loss, inputs=list(names))
    finally:
        for hook in hooks:
            hook.remove()  # a leaf and its hook hold each other where Python's collector does not look
    norm: Tensor = torch.linalg.vector_norm(torch.cat(norms))
    return norm


def _size(error: Tensor) -> float:
    return float(error.abs().max()) if error.numel() else 0.0


def _unequal(one: Uses, other: Uses) -> list[tuple[Use | None, Use | None]]:
    width = max(len(one), len(other))
    padded = [[*uses, *[None] * (width - len(uses))] for uses in (one, other)]
    return [(a, b) for a, b in zip(*padded, strict=True) if a != b]


def _random_states(device: torch.device) -> list[Tensor]:
    states = [torch.get_rng_state()]
    if device.type == "cpu":
        return states
    module = torch.get_device_module(device.type)
    return [*states, module.get_rng_state() if device.type == "mps" else module.get_rng_state(device)]


def _reference(losses: Losses) -> Callable[[], Any]:
    """Return a reference that does not keep the losses alive: they may hold the model, the key they stand under."""
    return weakref.WeakMethod(losses) if inspect.ismethod(losses) else weakref.ref(losses)
