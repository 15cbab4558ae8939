"""The check of a model's first book-kept batch against one record at a time.

Book-keeping differentiates all records together, so it needs what other engines enforce: that the loss of a record
depends on that record alone, and that the first dimension of every activation is the record. Batch normalisation, a
loss over pairs or a tensor with tokens first would give gradients that no clipping makes private.
"""

from __future__ import annotations

import inspect
import weakref
from typing import TYPE_CHECKING, Any, TypeAlias

import torch

from dpaudit.dp.objective import batch_length
from dpaudit.errors import DpauditError

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

    from dpaudit.dp.bookkeeping.tape import Use
    from dpaudit.dp.clipping import Clipped, Losses
    from dpaudit.dp.tensors import Batch

__all__ = ["Uses", "check_once"]

#: how a forward pass used the parameters, in order
Uses: TypeAlias = "tuple[Use, ...]"

#: part of the larger gradient's norm; bfloat16 rounds by up to 0.01, a fault is no rounding
_TOLERANCE = 0.05
#: model -> (losses, uses) that agreed with one record at a time
_agreed: weakref.WeakKeyDictionary[nn.Module, list[tuple[Any, Uses]]] = weakref.WeakKeyDictionary()


def check_once(
    model: nn.Module,
    losses: Losses,
    batch: Batch,
    uses: Uses,
    sums: tuple[Callable[[Batch], tuple[Clipped, Uses]], Callable[[Batch], Clipped]],
) -> None:
    """Raise unless two records of the batch give together what they give alone; once per model, losses and uses.

    What these two do not show, record and replay may (dpaudit.training.sensitivity); neither proves it for all.

    uses: of the whole batch. sums: the sum without clipping of a batch, by book-keeping and one record at a time.
    """
    agreed = _agreed.setdefault(model, [])
    if any(known() == losses and seen == uses for known, seen in agreed):
        return
    pair = _two_unlike(batch)
    if pair is None:  # nobody to meet
        return
    device = next(iter(batch.values())).device
    before = _random_states(device)
    together, found = sums[0](pair)
    if any(not torch.equal(a, b) for a, b in zip(before, _random_states(device), strict=True)):
        raise DpauditError("the losses draw random numbers (dropout?): draw them in collate, keyed by step and record")
    if found != uses:
        odd = next((a or b for a, b in _unequal(found, uses)), None)
        raise DpauditError(
            f"the parameter {odd.name if odd else '?'} is used otherwise in a batch of 2 records than in one of "
            f"{batch_length(batch)}; book-keeping expects records as the first dimension everywhere"
        )
    _compare(together, sums[1](pair))
    agreed.append((_reference(losses), uses))


def _two_unlike(batch: Batch) -> Batch | None:
    """Return the first record and the first that is not its copy, or None: two copies may meet without a trace."""
    unlike = [(tensor != tensor[:1]).reshape(len(tensor), tensor[0].numel()).any(1) for tensor in batch.values()]
    others = torch.stack(unlike).any(0).nonzero().flatten()[:1].tolist()
    return {name: tensor[[0, others[0]]] for name, tensor in batch.items()} if others else None


def _compare(together: Clipped, alone: Clipped) -> None:
    worst = max(alone.gradients, key=lambda name: _error(together.gradients[name], alone.gradients[name]))
    error = _error(together.gradients[worst], alone.gradients[worst])
    if together.norms is None or alone.norms is None:
        return
    largest = float(alone.norms.max())  # of the parts: two gradients may cancel, and leave little but rounding
    rounding = torch.finfo(torch.float32).eps * float(alone.losses.abs().max())  # of the losses: less says nothing
    unequal = (together.norms - alone.norms).abs() > _TOLERANCE * alone.norms + rounding
    if error > _TOLERANCE * largest + rounding or bool(unequal.any()):
        raise DpauditError(
            f"the gradients of two records are not what each has alone (worst in {worst}: {error:.3g} off, the "
            f"larger of the two has norm {largest:.3g}); a loss depends on its own record only, and records come first "
            "everywhere"
        )


def _error(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max()) if found.numel() else 0.0


def _unequal(one: Uses, other: Uses) -> list[tuple[Use | None, Use | None]]:
    width = max(len(one), len(other))
    padded = [[*uses, *[None] * (width - len(uses))] for uses in (one, other)]
    return [(a, b) for a, b in zip(*padded, strict=True) if a != b]


def _random_states(device: torch.device) -> list[Tensor]:
    states = [torch.get_rng_state()]
    return states if device.type == "cpu" else [*states, torch.get_device_module(device.type).get_rng_state(device)]


def _reference(losses: Losses) -> Callable[[], Any]:
    """Return a reference that does not keep the losses alive: they may hold the model, the key they stand under."""
    return weakref.WeakMethod(losses) if inspect.ismethod(losses) else weakref.ref(losses)
