"""Measure utility: one probe of one run, beside its start, the untrained encoder and raw pixels."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from dpaudit.discovery import configure
from dpaudit.plugins import Classifies, EmbedsText, ProbeData, ReadsEncoders, ReadsLogits, ReadsSpeech, ReadsText
from dpaudit.runs import content_key, write_atomically
from dpaudit.training.attach import released_model
from dpaudit.training.encoders import ModelEncoder, PixelEncoder
from dpaudit.training.job import drawn_model, initial_model
from dpaudit.training.kept_features import KeptFeatures, model_digest
from dpaudit.training.non_private import non_private_twin
from dpaudit.training.public_data import made_by_program
from dpaudit.training.shared_space import TwoTowers
from dpaudit.training.speech import Speaker
from dpaudit.training.targets import classifier, embedder

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import nn

    from dpaudit.data.examples import Examples
    from dpaudit.pipeline.audit import Audit
    from dpaudit.plugins import Features, Probe
    from dpaudit.progress import Progress
    from dpaudit.training.job import Job

__all__ = ["probe_data", "probe_run"]


def probe_run(audit: Audit, name: str, index: int, progress: Progress) -> list[Path]:
    """Write the result of the recipe's probe number `index` on one run; return the file."""
    entry = audit.recipe.probes[index]
    probe = configure("probes", entry, audit.loaded.where.at(f"probes.{index}"))
    job, data = audit.job(name), probe_data(audit)
    models = _models(audit, job, progress)
    features = _features(probe, job, models, audit.path / "probes" / "features")
    with progress.task(f"probe {name} with {entry.label}", 1) as task:
        result = probe.measure(features, data, audit.public.child("probe", entry.label))
        task.advance(1)
    path = audit.path / "probes" / f"{name}-{entry.label}.json"
    known = {"run": name, "probe": entry.label, "private": not made_by_program(audit.dataset)}
    text = result.model_copy(update=known).model_dump_json(indent=1)
    write_atomically(path, text.encode())
    return [path]


def _models(audit: Audit, job: Job, progress: Progress) -> dict[str, nn.Module]:
    """Return the models that a probe compares: the released one, its non-private twin if asked for, and its start."""
    models = {"trained": released_model(job)}
    if audit.recipe.runs.non_private and job.mechanism.is_clipped:
        models["non-private"] = non_private_twin(job, audit.path / "non-private", progress)
    if job.start is not None:
        models["pre-trained"] = initial_model(job).eval()
    return models | {"untrained": drawn_model(job).eval()}


def _features(probe: Probe, job: Job, models: dict[str, nn.Module], kept: Path) -> dict[str, Features]:
    """Return what a probe reads of each model: features, beside those of raw pixels; or logits; or captions as well.

    kept: the folder where features and logits are looked up, and kept.
    """
    trainer = job.trainer
    if isinstance(probe, ReadsEncoders) and probe.reads_encoders:
        return {name: ModelEncoder(trainer, model) for name, model in models.items()} | {"raw pixels": PixelEncoder()}
    if isinstance(probe, ReadsText) and probe.reads_text and isinstance(trainer, EmbedsText):
        spaces = {name: TwoTowers(trainer, model) for name, model in models.items()}
        vectors = _kept("image vectors", job, models, {**spaces}, kept)
        return {name: replace(space, kept=vectors[name]) for name, space in spaces.items()}
    if isinstance(probe, ReadsLogits) and probe.reads_logits and isinstance(trainer, Classifies):
        logits = {name: classifier(trainer, model) for name, model in models.items()}
        return _kept("logits", job, models, logits, kept)
    features = {name: embedder(trainer, model) for name, model in models.items()}
    read = _kept("features", job, models, features, kept)
    if isinstance(probe, ReadsSpeech) and probe.reads_speech:
        return {name: Speaker(trainer, model, read[name]) for name, model in models.items()}
    return read | {"raw pixels": raw_pixels}


def _kept(
    what: str, job: Job, models: dict[str, nn.Module], computed: dict[str, Features], folder: Path
) -> dict[str, Features]:
    """Return what is computed from models, each told from others by its weights and the trainer's options."""
    known = (what, 1, repr(job.trainer), str(job.device))
    return {
        name: KeptFeatures(computed[name], folder, content_key(*known, model_digest(model)))
        for name, model in models.items()
    }


def probe_data(audit: Audit) -> ProbeData:
    """Return records that no run was trained on, with their labels where there are any."""
    population = audit.population
    if not len(population.split.probe_train) or not len(population.split.probe_test):
        expected = "records in data.split.probe_train and data.split.probe_test"
        raise audit.loaded.where.refusal("probes", audit.recipe.probes[0].name, expected)
    return ProbeData(
        train=population.data[population.split.probe_train],
        test=population.data[population.split.probe_test],
        classes=population.classes or (),
        source=audit.dataset,
    )


def raw_pixels(examples: Examples) -> NDArray[np.float32]:
    """Return the pixels of images, of pairs those of the first, as features, (n, 3 S S) in [0, 1]."""
    return (examples.images[:, :3].reshape(len(examples), -1) / np.float32(255)).astype(np.float32)
