"""Measure utility: one probe of one run, beside its start, the untrained encoder and raw pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dpaudit.discovery import configure
from dpaudit.plugins import Classifies, ProbeData, ReadsLogits
from dpaudit.runs import write_atomically
from dpaudit.training.attach import classifier, embedder, released_model
from dpaudit.training.train import drawn_model, initial_model

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from dpaudit.data.examples import Examples
    from dpaudit.pipeline.audit import Audit
    from dpaudit.plugins import Features, Probe
    from dpaudit.progress import Progress
    from dpaudit.training.train import Job

__all__ = ["probe_data", "probe_run"]


def probe_run(audit: Audit, name: str, index: int, progress: Progress) -> list[Path]:
    """Write the result of the recipe's probe number `index` on one run; return the file."""
    entry = audit.recipe.probes[index]
    probe = configure("probes", entry, audit.loaded.where.at(f"probes.{index}"))
    job, data = audit.job(name), probe_data(audit)
    features = _features(probe, job)
    with progress.task(f"probe {name} with {entry.label}", 1) as task:
        result = probe.measure(features, data, audit.public.child("probe", entry.label))
        task.advance(1)
    path = audit.path / "probes" / f"{name}-{entry.label}.json"
    text = result.model_copy(update={"run": name, "probe": entry.label}).model_dump_json(indent=1)
    write_atomically(path, text.encode())
    return [path]


def _features(probe: Probe, job: Job) -> dict[str, Features]:
    """Return what a probe reads of each model: features, beside those of raw pixels, or logits."""
    models = {"trained": released_model(job)}
    if job.start is not None:
        models["pre-trained"] = initial_model(job).eval()
    models["untrained"] = drawn_model(job).eval()
    if isinstance(probe, ReadsLogits) and probe.reads_logits and isinstance(job.trainer, Classifies):
        return {name: classifier(job.trainer, model) for name, model in models.items()}
    return {name: embedder(job.trainer, model) for name, model in models.items()} | {"raw pixels": raw_pixels}


def probe_data(audit: Audit) -> ProbeData:
    """Return labelled records that no run was trained on; a data set without labels cannot be probed."""
    population = audit.population
    if population.classes is None:
        raise audit.loaded.where.refusal("probes", audit.recipe.probes[0].name, "a data set with labels")
    if not len(population.split.probe_train) or not len(population.split.probe_test):
        expected = "records in data.split.probe_train and data.split.probe_test"
        raise audit.loaded.where.refusal("probes", audit.recipe.probes[0].name, expected)
    return ProbeData(
        train=population.data[population.split.probe_train],
        test=population.data[population.split.probe_test],
        classes=population.classes,
    )


def raw_pixels(examples: Examples) -> NDArray[np.float32]:
    """Return the pixels of images as features, (n, 3 S S) in [0, 1]."""
    return (examples.images.reshape(len(examples), -1) / np.float32(255)).astype(np.float32)
