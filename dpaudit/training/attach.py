"""A trained run as its attacker sees it: signals and traces, but no path, no seed and no coins."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from dpaudit.dp.trace import open_trace
from dpaudit.errors import DpauditError
from dpaudit.plugins import AttackView, Candidates
from dpaudit.training.checkpoint import load_model
from dpaudit.training.train import Job, initial_model

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import Tensor, nn

    from dpaudit.canaries import Family
    from dpaudit.data.examples import Examples
    from dpaudit.mechanism import Mechanism
    from dpaudit.plugins import Classifies, Features, Needs, PerExampleTrainer, Target, Trace
    from dpaudit.rng import Rng

__all__ = ["attack_view", "classifier", "embedder", "released_model"]

_BATCH = 256
_WEIGHTS = {"final": "model.safetensors", "ema": "ema.safetensors"}


def released_model(job: Job) -> nn.Module:
    """Return the trained model of a finished run: its last weights, or their average where the recipe says so."""
    model = initial_model(job)
    load_model(job.run / _WEIGHTS[job.recipe.weights.evaluate], model)
    return model.eval()


def embedder(trainer: PerExampleTrainer, model: nn.Module) -> Features:
    """Return a function from records to features (n, d), in batches, without gradients."""
    return partial(_in_batches, partial(trainer.embed, model))


def classifier(trainer: Classifies, model: nn.Module) -> Features:
    """Return a function from records to logits (n, classes), in batches, without gradients."""
    return partial(_in_batches, partial(trainer.logits, model))


def _in_batches(read: Callable[[Tensor], Tensor], examples: Examples, /) -> NDArray[np.float32]:
    with torch.no_grad():
        parts = [read(torch.tensor(part.images)) for part in _batches(examples)]  # copies: it may be read-only
    return np.asarray(torch.cat(parts).numpy(), dtype=np.float32)


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
