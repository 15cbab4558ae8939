"""The steps that are compared: the ordinary gradient, ours, and Opacus' two. Each returns a batch's gradient sum.

No step adds noise or moves the model.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch

from dpaudit.bench.opacus_steps import ghost_step, hooks_step
from dpaudit.dp.engines import engine
from dpaudit.dp.tensors import trainable

if TYPE_CHECKING:
    from torch import Tensor

    from dpaudit.bench.engine_cases import Problem, Step
    from dpaudit.dp.tensors import Gradients

__all__ = ["CLIP", "GHOST", "HOOKS", "ORDINARY", "OURS", "VARIANTS", "largest_error", "step_of"]

ORDINARY, OURS, HOOKS, GHOST = "ordinary", "dpaudit", "Opacus hooks", "Opacus ghost"
VARIANTS = (ORDINARY, OURS, HOOKS, GHOST)
CLIP = 1.0


def step_of(variant: str, engine_name: str, problem: Problem) -> Step:
    """Return one variant's step on a copy of the model. Raises opacus_steps.Refusal, here or at its first call."""
    model, losses, batch = problem
    own = (copy.deepcopy(model), losses, batch)
    if variant == HOOKS:
        return hooks_step(own, CLIP)
    if variant == GHOST:
        return ghost_step(own, CLIP)
    if variant == ORDINARY:
        return _ordinary(own)
    chosen = engine(engine_name)
    return lambda: chosen(*own, CLIP).gradients


def _ordinary(problem: Problem) -> Step:
    model, losses, batch = problem

    def run() -> Gradients:
        model.zero_grad()
        torch.autograd.backward(losses(model, batch).sum())
        return {name: torch.zeros_like(p) if p.grad is None else p.grad for name, p in trainable(model).items()}

    return run


def largest_error(found: Gradients, expected: Gradients) -> float:
    """Return the largest error of any entry, in units of the largest entry.

    >>> largest_error({"w": torch.tensor([1.0, 2.5])}, {"w": torch.tensor([1.0, 2.0])})
    0.25
    """
    worst = max(_largest(found[name] - expected[name]) for name in expected)
    return worst / max(_largest(tensor) for tensor in expected.values())


def _largest(tensor: Tensor) -> float:
    return float(tensor.abs().max())
