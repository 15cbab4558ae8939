"""How released gradients become weights, as values: optimizer, learning-rate schedule, average of the weights.

All of it is post-processing of what the mechanism released, so none of it costs privacy.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal, TypeAlias

from pydantic import Field, model_validator

from dpaudit.errors import InputError
from dpaudit.recipes.schema import Section

__all__ = [
    "AdamW",
    "CappedCosine",
    "Constant",
    "Cosine",
    "Lars",
    "Optimizer",
    "Schedule",
    "Sgd",
    "Weights",
    "check_published_adamw",
]

_Rate: TypeAlias = Annotated[float, Field(gt=0, allow_inf_nan=False, description="the largest learning rate")]
_Momentum: TypeAlias = Annotated[float, Field(ge=0, lt=1)]
_Decay: TypeAlias = Annotated[float, Field(ge=0, allow_inf_nan=False, description="weight decay")]
_Warmup: TypeAlias = Annotated[int, Field(ge=0, description="steps of linear ramp, 0 = none")]
_Total: TypeAlias = Annotated[int | None, Field(ge=1, description="steps until the cosine is 0, null = all steps")]


class Constant(Section):
    """A linear ramp, then the full rate.

    >>> [Constant(warmup=4).factor(step, 10) for step in (0, 3, 9)]
    [0.25, 1.0, 1.0]
    """

    name: Literal["constant"] = "constant"
    warmup: _Warmup = 0

    def factor(self, step: int, steps: int) -> float:  # noqa: ARG002 (the arguments of every schedule)
        """Return what the rate of step 0, 1, ... of `steps` is multiplied by."""
        return _ramp(step, self.warmup)


class Cosine(Section):
    """A linear ramp, and after it a half-cosine to 0: the schedule of MAE, and of DP-Cap (arXiv 2403.02506).

    DP-Cap ramped for 2,000 steps, set the cosine for 10,000 and stopped after 5,708.

    >>> round(Cosine(warmup=2000, total=10_000).factor(5708, 5708), 3)
    0.557
    """

    name: Literal["cosine"] = "cosine"
    warmup: _Warmup = 0
    total: _Total = None

    def factor(self, step: int, steps: int) -> float:
        """Return what the rate of step 0, 1, ... of `steps` is multiplied by."""
        if step < self.warmup:
            return _ramp(step, self.warmup)
        return _half_cosine(step - self.warmup, (self.total or steps) - self.warmup)


class CappedCosine(Section):
    """The smaller of a linear ramp and a half-cosine over all steps: the schedule of ViP (arXiv 2306.08842).

    >>> CappedCosine(warmup=1000).factor(499, 10_000), round(CappedCosine(warmup=1000).factor(5000, 10_000), 3)
    (0.5, 0.5)
    """

    name: Literal["capped-cosine"] = "capped-cosine"
    warmup: _Warmup = 0
    total: _Total = None

    def factor(self, step: int, steps: int) -> float:
        """Return what the rate of step 0, 1, ... of `steps` is multiplied by."""
        return min(_ramp(step, self.warmup), _half_cosine(step, self.total or steps))


#: the closed set of learning-rate schedules
Schedule: TypeAlias = Annotated[Constant | Cosine | CappedCosine, Field(discriminator="name")]


class Sgd(Section):
    """Stochastic gradient descent, v <- momentum v + g + decay w, w <- w - rate v."""

    name: Literal["sgd"] = "sgd"
    learning_rate: _Rate
    momentum: _Momentum = 0.0
    weight_decay: _Decay = 0.0
    schedule: Schedule = Constant()


class AdamW(Section):
    """Adam with decoupled weight decay on every tensor (Loshchilov, Hutter 2019); defaults of ViP and DP-Cap."""

    name: Literal["adamw"] = "adamw"
    learning_rate: _Rate
    betas: tuple[_Momentum, _Momentum] = (0.9, 0.95)
    stability: float = Field(default=1e-8, gt=0, allow_inf_nan=False, description="epsilon of the paper")
    weight_decay: _Decay = 0.005
    schedule: Schedule = Constant()


class Lars(Section):
    """Layer-wise adaptive rates (You, Gitman, Ginsburg 2017, arXiv 1708.03888, algorithm 1)."""

    name: Literal["lars"] = "lars"
    learning_rate: _Rate
    momentum: _Momentum = 0.9
    weight_decay: _Decay = 0.0
    trust: float = Field(default=0.001, gt=0, allow_inf_nan=False, description="eta of the paper")
    schedule: Schedule = Constant()


#: the closed set of optimizers
Optimizer: TypeAlias = Annotated[Sgd | AdamW | Lars, Field(discriminator="name")]


class Weights(Section):
    """Which weights a run leaves behind beside its last ones, and which of the two are looked at."""

    ema_decay: float | None = Field(default=None, gt=0, lt=1, description="of a moving average; null = none is kept")
    evaluate: Literal["final", "ema"] = Field(default="final", description="the weights to attack, probe and paint")

    @model_validator(mode="after")
    def _average_is_kept(self) -> Weights:
        if self.evaluate == "ema" and self.ema_decay is None:
            raise InputError("weights.evaluate", self.evaluate, "final: weights.ema_decay is null, no average is kept")
        return self


def _ramp(step: int, warmup: int) -> float:
    """Return min(1, (step + 1) / warmup): the first step moves too, for it is paid for."""
    return min(1.0, (step + 1) / max(warmup, 1))


def _half_cosine(step: int, total: int) -> float:
    """Return (1 + cos(pi step / total)) / 2, and 0 from `total` on."""
    return (1 + math.cos(math.pi * min(step / max(total, 1), 1.0))) / 2


def check_published_adamw(
    peak_learning_rate: float, betas: tuple[float, float], weight_decay: float, warmup: int
) -> None:
    """Raise InputError naming the option unless AdamW can run with these settings of a trainer's own."""
    if not 0 < peak_learning_rate < math.inf:
        raise InputError("peak_learning_rate", peak_learning_rate, "a positive number")
    if not all(0 <= beta < 1 for beta in betas):
        raise InputError("betas", betas, "two numbers in [0, 1)")
    if not 0 <= weight_decay < math.inf:
        raise InputError("weight_decay", weight_decay, "a number that is not negative")
    if warmup < 0:
        raise InputError("warmup", warmup, "a number of steps, 0 or more")
