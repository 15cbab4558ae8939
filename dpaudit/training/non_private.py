"""The twin of a run without clip and noise: what epsilon infinity would have bought, for probes alone.

It is as private as the data: nothing of it is released but its scores, in a report that is private as well.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from dpaudit.dp.tensors import beside
from dpaudit.errors import DpauditError
from dpaudit.training.checkpoint import load_model, save_model
from dpaudit.training.job import initial_model
from dpaudit.training.learner import Learner
from dpaudit.training.pretraining import Epochs, mean_gradients

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from torch import nn

    from dpaudit.progress import Progress
    from dpaudit.training.job import Job

__all__ = ["non_private_twin"]


def non_private_twin(job: Job, folder: Path, progress: Progress) -> nn.Module:
    """Return a model of the run's start, optimizer, batch size and number of steps, trained without clip and noise.

    It learns in ordinary mini-batches from the records that are in whatever the coins say. It is kept in the folder,
    readable to its owner alone.
    """
    path, model = folder / f"{job.name}.safetensors", initial_model(job)
    if path.exists():
        load_model(path, model)
        return model.eval()
    learner = Learner.of(job.recipe, job.trainer, job.mechanism.steps, model)
    with progress.task(f"train the non-private twin of {job.name}", job.mechanism.steps) as task:
        for step, loss in enumerate(_losses(job, learner), start=1):
            task.advance(step, f"loss {loss:.3f}")
    folder.mkdir(parents=True, exist_ok=True)
    save_model(path, learner.model.state_dict())
    path.chmod(0o600)
    return learner.model.eval()


def _losses(job: Job, learner: Learner) -> Iterator[float]:
    """Yield the mean loss of each step, taken."""
    rng, ids, privacy = job.public.child("non-private", job.name), job.population.split.train, job.recipe.privacy
    epochs, size = Epochs(ids, rng.child("order")), min(job.mechanism.batch_size, len(ids))
    for step in range(job.mechanism.steps):
        records = job.population.data[epochs.batch(step, size)]
        batch = beside(learner.model, job.trainer.collate(records, rng.child("collate", step)))
        loss, gradients = mean_gradients(learner.model, job.trainer, batch, privacy.physical_batch_size)
        if not math.isfinite(loss):
            raise DpauditError(f"non-private twin: the loss of step {step} is {loss}; runs.non_private: false skips it")
        learner.learn(step, gradients)
        yield loss
