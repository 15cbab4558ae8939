"""Opacus' two ways to a clipped gradient sum, as its documentation has them, on the same model and batch.

Its hooks refuse modules whose input is not a tensor, so a `Learned` is put behind one that takes a tensor, with the
sampler that its kind allows: Opacus loses no time by it.
"""

from __future__ import annotations

import contextlib
import warnings
from typing import TYPE_CHECKING

import torch
from opacus.grad_sample import GradSampleModule, GradSampleModuleFastGradientClipping
from opacus.grad_sample.utils import register_grad_sampler, register_norm_sampler
from torch import Tensor, nn

from dpaudit.dp.tensors import trainable
from dpaudit.models.vit import Learned

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dpaudit.bench.engine_cases import Problem, Step
    from dpaudit.dp.tensors import Gradients

__all__ = ["Refusal", "ghost_step", "hooks_step"]

_REFUSALS = (NotImplementedError, TypeError, AttributeError, RuntimeError, ValueError)
_STABILITY = 1e-6  # Opacus' own
_PREFIX, _INNER = "_module.", ".copies"


class Refusal(Exception):  # noqa: N818 (it is no failure: the other tool's answer)
    """Opacus cannot take this model; the message says why, in its words."""


def hooks_step(problem: Problem, clip: float) -> Step:
    """Return the step that keeps every record's gradient. Raises Refusal, here or at the first call."""
    model, losses, batch = problem
    _make_ready(model)
    with _answered():
        wrapped = GradSampleModule(model, loss_reduction="sum")

    def run() -> Gradients:
        with _answered():
            wrapped.zero_grad()
            torch.autograd.backward(losses(wrapped, batch).sum())
            return _clipped_samples(wrapped, clip)

    return run


def ghost_step(problem: Problem, clip: float) -> Step:
    """Return the step of two backward passes, norms and sum. Raises Refusal, here or at the first call."""
    model, losses, batch = problem
    _make_ready(model)
    with _answered():
        wrapped = GradSampleModuleFastGradientClipping(model, loss_reduction="sum", max_grad_norm=clip)

    def run() -> Gradients:
        with _answered():
            wrapped.zero_grad()
            wrapped.enable_hooks()
            values = losses(wrapped, batch)
            torch.autograd.backward(values.sum(), retain_graph=True)
            wrapped.zero_grad()
            weighted = wrapped.get_clipping_coef() * values
            wrapped.disable_hooks()
            torch.autograd.backward(weighted.sum())
            return {_name(name): _gradient(p) for name, p in trainable(wrapped).items()}

    return run


def _clipped_samples(wrapped: nn.Module, clip: float) -> Gradients:
    samples: Gradients = {_name(name): vars(p)["grad_sample"] for name, p in trainable(wrapped).items()}
    norms = torch.stack([sample.flatten(1).norm(2, dim=1) for sample in samples.values()]).norm(2, dim=0)
    factors = (clip / (norms + _STABILITY)).clamp(max=1)
    return {name: torch.einsum("i,i...", factors, sample) for name, sample in samples.items()}


def _gradient(parameter: nn.Parameter) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def _name(name: str) -> str:
    return name.removeprefix(_PREFIX).replace(_INNER, "")


@contextlib.contextmanager
def _answered() -> Iterator[None]:
    """Turn what Opacus raises into its answer, and keep its warnings of its own deprecated calls to itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except _REFUSALS as error:
            line = (str(error).strip() or "no reason given").splitlines()[0]
            raise Refusal(f"{type(error).__name__}: {line}") from error


class _Copies(nn.Module):
    """Holds a raw parameter; its input says only for how many records."""

    def __init__(self, weight: nn.Parameter) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, rows: Tensor) -> Tensor:
        return self.weight.expand(len(rows), *self.weight.shape)


class _Tamed(nn.Module):
    """A `Learned` without a parameter of its own."""

    def __init__(self, learned: Learned) -> None:
        super().__init__()
        self.copies = _Copies(learned.weight)

    def forward(self, count: int) -> Tensor:
        copies: Tensor = self.copies(torch.empty(count, 0, device=self.copies.weight.device))
        return copies


@register_grad_sampler(_Copies)  # type: ignore[untyped-decorator]  # Opacus has no types
def _gradients(layer: _Copies, _activations: list[Tensor], backprops: Tensor) -> dict[nn.Parameter, Tensor]:
    return {layer.weight: backprops}


@register_norm_sampler(_Copies)  # type: ignore[untyped-decorator]  # Opacus has no types
def _norms(layer: _Copies, _activations: list[Tensor], backprops: Tensor) -> dict[nn.Parameter, Tensor]:
    return {layer.weight: backprops.flatten(1).norm(2, dim=1)}


def _make_ready(model: nn.Module) -> None:
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, Learned):
                setattr(parent, name, _Tamed(child))
