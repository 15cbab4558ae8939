"""A trained run as its attacker sees it: signals and traces, but no path, no seed and no coins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from dpaudit.checkpoint import load_model
from dpaudit.dp.trace import open_trace
from dpaudit.errors import DpauditError
from dpaudit.plugins import AttackView, Candidates
from dpaudit.training import Job, initial_model

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

    from dpaudit.canaries import Family
    from dpaudit.data.examples import Examples
    from dpaudit.mechanism import Mechanism
    from dpaudit.plugins import Features, Needs, PerExampleTrainer, Target, Trace
    from dpaudit.rng import Rng

__all__ = ["attack_view", "embedder", "released_model"]

_BATCH = 256


def released_model(job: Job) -> nn.Module:
    """Return the trained model of a finished run."""
    model = initial_model(job)
    load_model(job.run / "model.safetensors", model)
    return model.eval()


def embedder(trainer: PerExampleTrainer, model: nn.Module) -> Features:
    """Return a function from records to features (n, d), in batches, without gradients."""

    def embed(examples: Examples) -> NDArray[np.float32]:
        with torch.no_grad():
            parts = [trainer.embed(model, torch.from_numpy(part.images)) for part in _batches(examples)]
        return np.asarray(torch.cat(parts).numpy(), dtype=np.float32)

    return embed


def attack_view(job: Job, model: nn.Module, needs: Needs, candidates: Candidates, rng: Rng) -> AttackView:
    """Return all that an attack gets. Traces are there only for attacks that say they need all steps."""
    families = job.placed_families() if needs.access == "all steps" else ()
    traces: dict[Family, Trace] = {family: open_trace(job.run / "trace" / family) for family in families}
    target: Target = _Loaded(mechanism=job.mechanism, trainer=job.trainer, model=model, traces=traces)
    population = job.population.data[job.population.split.probe_train]
    return AttackView(target=target, candidates=candidates, population=population, rng=rng)


@dataclass(frozen=True, kw_only=True, repr=False)
class _Loaded:
    """A model in memory. Its fields are not part of the contract of a target."""

    mechanism: Mechanism
    trainer: PerExampleTrainer
    model: nn.Module
    traces: dict[Family, Trace]

    def signal(self, name: str, examples: Examples, rng: Rng) -> NDArray[np.float64]:
        if name != "loss":
            raise DpauditError(f"signal {name!r} is not known to this target; it has: loss")
        with torch.no_grad():
            parts = [self.trainer.losses(self.model, self.trainer.collate(part, rng)) for part in _batches(examples)]
        return np.asarray(torch.cat(parts).double().numpy())

    def embed(self, examples: Examples) -> NDArray[np.float32]:
        return embedder(self.trainer, self.model)(examples)

    def trace(self, family: Family) -> Trace:
        if family not in self.traces:
            raise DpauditError(f"this attacker has no trace of the family {family!r}")
        return self.traces[family]


def _batches(examples: Examples) -> list[Examples]:
    return [examples.take(slice(start, start + _BATCH)) for start in range(0, max(len(examples), 1), _BATCH)]
