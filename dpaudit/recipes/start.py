"""What the weights of step 0 are, where they are not drawn from the recipe's seed: the recipe's section `start`."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, model_validator

from dpaudit.errors import InputError
from dpaudit.optimisation import Optimizer
from dpaudit.recipes.refusals import MISSING
from dpaudit.recipes.schema import PlugInEntry, Section

__all__ = ["OtherTrainer", "Pretrain", "PublicData", "Start"]


class OtherTrainer(PlugInEntry):
    """A trainer whose weights the recipe's own takes over as far as they fit: DP-Cap's encoder is ViP's."""

    by_name: ClassVar[bool] = False


class PublicData(PlugInEntry):
    """The data set that a public stage learns from. It costs no privacy, so nobody's secret may be in it."""

    by_name: ClassVar[bool] = False

    public: bool = Field(default=False, description="that these data are public; `procedural` is without saying so")


class Pretrain(Section):
    """An ordinary training on public data before the private one: no clipping, no noise, no budget."""

    data: PublicData
    batch_size: int = Field(ge=1, description="records per step, all of them drawn once before any comes again")
    steps: int = Field(ge=1, description="updates")
    optimizer: Optimizer | None = Field(default=None, description="null = the trainer's own, as it was published")
    frozen: tuple[str, ...] = Field(default=(), description="modules of the model that this stage leaves as drawn")


class Start(Section):
    """Weights from a file, or from a public stage of this recipe: one of the two.

    trainer: of the file, or of the stage; the recipe's own trainer goes on with what of that model fits its own.

    >>> Start(weights="vip.safetensors", parts=("encoder",)).parts
    ('encoder',)
    """

    weights: str | None = Field(default=None, min_length=1, description="a safetensors file of the trainer's model")
    parts: tuple[str, ...] = Field(default=(), description="modules to take from it, all else is drawn; [] = all")
    pretrain: Pretrain | None = None
    trainer: OtherTrainer | None = Field(default=None, description="whose weights these are; null = the recipe's")

    @model_validator(mode="after")
    def _one_source(self) -> Start:
        if self.weights is None and self.pretrain is None:
            raise InputError("start.weights", MISSING, "a file, or start.pretrain instead; or `start: null`")
        if self.weights is not None and self.pretrain is not None:
            raise InputError("start.weights", self.weights, "nothing: start.pretrain is given too")
        if self.parts and self.weights is None:
            raise InputError("start.parts", list(self.parts), "[]: it chooses from a file, and start.weights is null")
        if self.parts and self.trainer is not None:
            raise InputError("start.parts", list(self.parts), "[]: start.trainer is given, and what fits is taken")
        return self
