"""The record that a step's coin puts in: the worst that a trainer can make of its own bound, or a picture."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from dpaudit.dp.step_coins import Neighbours, StepCoins
from dpaudit.dp.tensors import Batch, Gradients, moved
from dpaudit.dp.views import viewed_batch
from dpaudit.dp.whole_batch import WholeBatch, checked_sums
from dpaudit.errors import DpauditError
from dpaudit.plugins import StepCanary
from dpaudit.training.sensitivity import extreme_records

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from torch import nn

    from dpaudit.data.examples import Examples
    from dpaudit.rng import Rng
    from dpaudit.seal import Seal
    from dpaudit.training.job import Job

__all__ = ["step_coins"]

_NOISE, _WHITE = 0, 2  # rows of `extreme_records`


def step_coins(job: Job, seal: Seal, augmentation: Rng, computed: Mapping[str, Any]) -> StepCoins | None:
    """Return what a run's coins put into its steps, None for a run without such a family.

    computed: how the step's sum is made (fields of `DpStep`). augmentation: the key of what the run's batches draw.
    """
    family = job.step_family()
    if family is None:
        return None
    neighbours = _worst_case(job) if family == "steps" else _pictures(job, augmentation, computed)
    return StepCoins(family=family, members=seal.coins.heads[family], neighbours=neighbours)


def _worst_case(job: Job) -> Neighbours:
    trainer, clip, adjacency = job.trainer, job.mechanism.clip_norm, job.mechanism.adjacency
    if not isinstance(trainer, StepCanary):
        raise DpauditError(f"{type(trainer).__name__} makes no worst case of its own")

    def neighbours(
        step: int,  # noqa: ARG001 (every step has the same worst case)
        model: nn.Module,
        batch: Batch | None,
        base: Gradients | None,  # noqa: ARG001 (the trainer bounds whole batches)
    ) -> tuple[Gradients, Gradients]:
        first, second = trainer.neighbouring_sums(model, batch, clip, adjacency)
        return checked_sums(model, first), checked_sums(model, second)

    return neighbours


def _pictures(job: Job, augmentation: Rng, computed: Mapping[str, Any]) -> Neighbours:
    """Return batches with and without one picture of pure noise; under replace-one with it and with a white one."""
    added = _added(job, computed)
    records, replaced = _records(job), job.mechanism.adjacency == "replace-one"

    def neighbours(
        step: int, model: nn.Module, batch: Batch | None, base: Gradients | None
    ) -> tuple[Gradients, Gradients]:
        def row(at: int) -> Batch:
            one, views = records.take(slice(at, at + 1)), job.recipe.privacy.augmentations
            made = viewed_batch(lambda key: job.trainer.collate(one, key), views, augmentation.child(step))
            return moved(made, job.device)

        first = added(model, batch, base, row(_WHITE) if replaced else None)
        return first, added(model, batch, base, row(_NOISE))

    return neighbours


def _added(
    job: Job, computed: Mapping[str, Any]
) -> Callable[[nn.Module, Batch | None, Gradients | None, Batch | None], Gradients]:
    """Return (model, batch, its sum, one record or None) -> the sum with that record, as this run's step makes it."""
    clip = job.mechanism.clip_norm
    if "whole" in computed:
        whole: WholeBatch = computed["whole"]
        return lambda model, batch, _, row: whole.sums(model, _joined(batch, row), clip)

    def clipped(model: nn.Module, _: Batch | None, base: Gradients | None, row: Batch | None) -> Gradients:
        if base is None:
            raise DpauditError("a trainer with one loss per record has a sum")
        if row is None:
            return base
        record = computed["engine"](model, computed["losses"], row, clip).gradients
        return {name: tensor + record[name] if name in record else tensor for name, tensor in base.items()}

    return clipped


def _joined(batch: Batch | None, row: Batch | None) -> Batch | None:
    if batch is None or row is None:
        return row if batch is None else batch
    return {name: torch.cat([tensor, row[name]]) for name, tensor in batch.items()}


def _records(job: Job) -> Examples:
    """Return extreme records that no data set holds; what is said of them is said of records nobody trains on, if any.

    Of these the captions and labels are the auditor's, like the pictures.
    """
    split = job.population.split
    told = split.probe_train if len(split.probe_train) >= 2 else job.population.universe
    made = extreme_records(job.population.data[told[:2]], job.public.child("step canary"))
    return replace(made, ids=np.array([f"step canary:{row}" for row in range(len(made))]))
