"""A trained run as its attacker sees it: signals and traces, but no path, no seed and no coins."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from dpaudit.dp.trace import open_trace
from dpaudit.errors import DpauditError
from dpaudit.plugins import AttackView, Candidates
from dpaudit.training.checkpoint import load_model
from dpaudit.training.job import Job, initial_model
from dpaudit.training.targets import ModelTarget

if TYPE_CHECKING:
    from torch import nn

    from dpaudit.plugins import Needs, Target
    from dpaudit.rng import Rng
    from dpaudit.scores import Access

__all__ = ["as_target", "attack_view", "control_view", "released_model"]

_WEIGHTS = {"final": "model.safetensors", "ema": "ema.safetensors"}


def released_model(job: Job) -> nn.Module:
    """Return the trained model of a finished run: its last weights, or their average where the recipe says so."""
    model = initial_model(job)
    load_model(job.run / _WEIGHTS[job.recipe.weights.evaluate], model)
    return model.eval()


def attack_view(job: Job, model: nn.Module, needs: Needs, candidates: Candidates, rng: Rng) -> AttackView:
    """Return all that an attack without references gets of a run, whose model is the trained or the untrained one."""
    population = job.population.data[job.population.split.probe_train]
    target = as_target(job, model, needs.access)
    return AttackView(target=target, candidates=candidates, population=population, rng=rng)


def control_view(job: Job, candidates: Candidates, rng: Rng) -> AttackView:
    """Return what a control gets: records and no model."""
    population = job.population.data[job.population.split.probe_train]
    return AttackView(target=cast("Target", _Unseen()), candidates=candidates, population=population, rng=rng)


class _Unseen:
    """What a control may ask of the model: nothing."""

    def __getattr__(self, name: str) -> object:
        raise DpauditError(f"a control asked for {name} of a model: its needs say that it sees none")


def as_target(job: Job, model: nn.Module, access: Access) -> Target:
    """Return a run as an attacker with this access sees it: weights and traces only where that includes them."""
    families = job.placed_families() if access == "all steps" else ()
    return ModelTarget(
        trainer=job.trainer,
        model=model,
        untrained=lambda: initial_model(job).eval(),
        mechanism=job.mechanism,
        access=access,
        traces={family: open_trace(job.run / "trace" / family) for family in families},
    )
