"""What one run is made of, and the model it begins with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from dpaudit.dp.devices import CPU
from dpaudit.plugins import PerExampleTrainer
from dpaudit.training.checkpoint import load_model

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from torch import nn

    from dpaudit.canaries import Family
    from dpaudit.mechanism import Mechanism
    from dpaudit.recipes.recipe import Recipe
    from dpaudit.rng import Rng
    from dpaudit.training.declared import AnyTrainer
    from dpaudit.training.population import Population

__all__ = ["Job", "drawn_model", "initial_model"]


@dataclass(frozen=True, kw_only=True)
class Job:
    """What one run is made of. `run`: its folder, named as the run; a reference has no gradient canaries.

    start: the weights of step 0 that all runs share, None where each run draws its own. device: where the model is,
    and everything that meets it.
    """

    run: Path
    role: Literal["target", "reference"]
    recipe: Recipe
    mechanism: Mechanism
    trainer: AnyTrainer
    population: Population
    public: Rng
    start: Path | None = None
    device: torch.device = CPU

    @property
    def name(self) -> str:
        """Return the run's name, for example target-00."""
        return self.run.name

    def placed_families(self) -> tuple[Family, ...]:
        """Return the families that this run carries beside records of the data."""
        virtual, step = self.virtual_families(), self.step_family()
        return virtual if step is None else (*virtual, step)

    def virtual_families(self) -> tuple[Literal["block", "coordinates"], ...]:
        """Return the families of gradient canaries; a trainer of whole batches has no bound that they went through."""
        if self.role == "reference" or not self.mechanism.is_clipped or not isinstance(self.trainer, PerExampleTrainer):
            return ()
        return self.recipe.canaries.gradient_families()

    def step_family(self) -> Literal["steps", "step_records"] | None:
        """Return the family whose coins are one per step, or None."""
        if self.role == "reference" or not self.mechanism.is_clipped:
            return None
        return self.recipe.canaries.step_family()


def initial_model(job: Job) -> nn.Module:
    """Return the model at step 0; anyone who knows the recipe, and the file it may start from, can build it."""
    model = drawn_model(job)
    if job.start is not None:
        load_model(job.start, model)
    return model


def drawn_model(job: Job) -> nn.Module:
    """Return the model with weights drawn from the seed, wherever the run starts."""
    return job.trainer.build(job.public.child("model", job.name)).to(job.device)
