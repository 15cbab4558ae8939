"""The optimizers of a recipe, made of torch's own and of LARS, and a moving average of the weights.

They see nothing but released gradients, so whatever they do is post-processing and costs no privacy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, assert_never, overload

import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer

from dpaudit.optimisation import AdamW as AdamWSettings
from dpaudit.optimisation import Lars as LarsSettings
from dpaudit.optimisation import Sgd as SgdSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dpaudit.optimisation import Optimizer as Settings

__all__ = ["Average", "Lars", "make_optimizer"]


def make_optimizer(settings: Settings, parameters: Sequence[nn.Parameter]) -> Optimizer:
    """Return the optimizer that a recipe names, at its largest learning rate."""
    rate, decay = settings.learning_rate, settings.weight_decay
    match settings:
        case SgdSettings():
            return SGD(parameters, lr=rate, momentum=settings.momentum, weight_decay=decay)
        case AdamWSettings():
            return AdamW(parameters, lr=rate, betas=settings.betas, eps=settings.stability, weight_decay=decay)
        case LarsSettings():
            return Lars(parameters, lr=rate, momentum=settings.momentum, weight_decay=decay, trust=settings.trust)
        case unknown:
            assert_never(unknown)


class Lars(Optimizer):
    """Layer-wise adaptive rate scaling (You, Gitman, Ginsburg 2017, arXiv 1708.03888, algorithm 1).

    Of every tensor w with gradient g: local = trust |w| / (|g| + decay |w|), v <- momentum v + lr local (g + decay w),
    w <- w - v. The rate stands inside v, as in the paper; torch's SGD has it outside, which differs where the rate
    changes. Biases and other tensors of fewer than two dimensions keep local = 1 and no decay (ViP's and MAE's probes
    do so), and so does a tensor that is all zero. The paper's global rate falls with the square of the steps left.

    Under DP most of |g| is noise, so every matrix moves by about trust * lr of its own norm, whatever the signal.

    >>> weight = nn.Parameter(torch.full((1, 4), 2.0))
    >>> weight.grad = torch.full((1, 4), 8.0)
    >>> Lars([weight], lr=1.0, trust=0.1).step()
    >>> weight.tolist()
    [[1.7999999523162842, 1.7999999523162842, 1.7999999523162842, 1.7999999523162842]]
    """

    def __init__(
        self,
        parameters: Sequence[nn.Parameter],
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust: float = 0.001,
    ) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "trust": trust})

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Take one step with the gradients that are set; the closure is torch's convention."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, parameter.grad, group)
        return loss

    def _move(self, weight: nn.Parameter, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[weight]
        velocity = state.setdefault("velocity", torch.zeros_like(weight))
        decay = group["weight_decay"] if weight.ndim > 1 else 0.0
        rate = group["lr"] * (_local_rate(weight, gradient, decay, group["trust"]) if weight.ndim > 1 else 1.0)
        velocity.mul_(group["momentum"]).add_(gradient.add(weight, alpha=decay) * rate)
        weight.sub_(velocity)


def _local_rate(weight: Tensor, gradient: Tensor, decay: float, trust: float) -> Tensor:
    """Return trust |w| / (|g| + decay |w|), a scalar; 1 where either norm is 0."""
    length, slope = torch.linalg.vector_norm(weight), torch.linalg.vector_norm(gradient)
    known = (length > 0) & (slope > 0)
    return torch.where(known, trust * length / (slope + decay * length), torch.ones_like(length))


class Average:
    """An exponential moving average of a model's weights: mean <- d mean + (1 - d) weights after every step.

    Of step t = 0, 1, ... d = min(decay, (1 + t) / (10 + t)), so that the first weights are soon forgotten (De et al.
    2022, arXiv 2204.13650, average so). Whatever is no floating-point number is copied.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.state = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}

    @torch.no_grad()
    def update(self, step: int, model: nn.Module) -> None:
        """Take the weights after step t = 0, 1, ... into the mean."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                self.state[name].lerp_(tensor, 1 - decay)
            else:
                self.state[name].copy_(tensor)
