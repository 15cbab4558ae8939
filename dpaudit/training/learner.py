"""A model with all that turns released gradients into its next weights: post-processing that costs no privacy."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from dpaudit.dp.step import assign
from dpaudit.dp.tensors import trainable
from dpaudit.errors import DpauditError
from dpaudit.training import checkpoint
from dpaudit.training.optimizers import Average, make_optimizer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import nn
    from torch.optim import Optimizer

    from dpaudit.dp.processes import Processes
    from dpaudit.dp.tensors import Gradients
    from dpaudit.plugins import Trainer
    from dpaudit.recipes.recipe import Recipe

__all__ = ["Learner"]


@dataclass(kw_only=True)
class Learner:
    """Model, optimizer, learning rate by step, and the average of the weights if one is kept."""

    model: nn.Module
    optimizer: Optimizer
    learning_rate: Callable[[int], float]
    average: Average | None

    @classmethod
    def of(cls, recipe: Recipe, trainer: Trainer, steps: int, model: nn.Module) -> Learner:
        """Return the learner at step 0: the recipe's optimizer, or the one that the trainer was published with."""
        parameters, settings, decay = list(trainable(model).values()), recipe.optimizer, recipe.weights.ema_decay
        average = None if decay is None else Average(model, decay)
        if settings is None:
            optimizer = trainer.optimizer(parameters, steps)
            return cls(
                model=model,
                optimizer=optimizer,
                learning_rate=lambda step: trainer.learning_rate(step, steps),
                average=average,
            )
        rate, schedule = settings.learning_rate, settings.schedule
        return cls(
            model=model,
            optimizer=make_optimizer(settings, parameters),
            learning_rate=lambda step: rate * schedule.factor(step, steps),
            average=average,
        )

    def learn(self, step: int, gradients: Gradients) -> None:
        """Take step 0, 1, ... with the gradients that it released."""
        assign(self.model, gradients)
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(step)
        self.optimizer.step()
        if self.average is not None:
            self.average.update(step, self.model)

    def save(self, path: Path, *, step: int, seconds: float) -> None:
        """Write all that a run needs to go on bit for bit after `step` steps."""
        averaged = {} if self.average is None else self.average.state
        checkpoint.save(path, self.model, self.optimizer, averaged, step=step, seconds=seconds)

    def restore(self, path: Path) -> tuple[int, float]:
        """Go to a checkpoint; return (steps done, seconds spent)."""
        averaged = {} if self.average is None else self.average.state
        return checkpoint.restore(path, self.model, self.optimizer, averaged)

    def agree(self, processes: Processes) -> None:
        """Raise DpauditError unless all processes hold the same weights, bit for bit."""
        if processes.size == 1:
            return
        digests = torch.zeros(processes.size, dtype=torch.int64)
        digests[processes.rank] = _digest(self.model)
        processes.add([digests])
        if len(set(digests.tolist())) != 1:
            raise DpauditError("the processes hold different weights: use one machine type and one version of torch")


def _digest(model: nn.Module) -> int:
    """Return 63 bits that are equal where all trained weights are."""
    digest = hashlib.blake2b(digest_size=8)
    for parameter in trainable(model).values():
        digest.update(parameter.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return int.from_bytes(digest.digest(), "little") >> 1
