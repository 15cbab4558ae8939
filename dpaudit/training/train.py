"""One run, from secrets to weights: the only place where a DP step becomes a trained model."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dpaudit.dp.audit_block import (
    GradientCanaries,
    Placement,
    block_placement,
    coordinate_placement,
    hadamard_placement,
    sparse_sign_placement,
)
from dpaudit.dp.clipping import clipping_rule
from dpaudit.dp.engines import engine
from dpaudit.dp.noise import Noise
from dpaudit.dp.precision import at_precision, plain_float32
from dpaudit.dp.processes import Alone, current
from dpaudit.dp.step import DpStep
from dpaudit.dp.step_coins import step_ids
from dpaudit.dp.tensors import moved, trainable
from dpaudit.dp.trace import AccumulatedTraceWriter, StoredTraceWriter, TraceWriter, trace_writer
from dpaudit.dp.views import viewed, viewed_batch
from dpaudit.dp.whole_batch import WholeBatch
from dpaudit.environment import environment
from dpaudit.errors import DamagedRunError, InputError
from dpaudit.plugins import PerExampleTrainer, RecordLosses
from dpaudit.runs import read_json, write_json
from dpaudit.seal import Seal, load_seal, make_seal
from dpaudit.training.declared import declared_noise_unit, declared_sensitivities
from dpaudit.training.job import drawn_model, initial_model
from dpaudit.training.learner import Learner
from dpaudit.training.place import note_device, where_computed
from dpaudit.training.recorder import Recorder, checkpoint_file
from dpaudit.training.rehearsal import Rehearsal
from dpaudit.training.sensitivity import premises_before_training
from dpaudit.training.step_canaries import step_coins

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

    from dpaudit.canaries import Family
    from dpaudit.dp.processes import Processes
    from dpaudit.dp.step import Release
    from dpaudit.dp.tensors import Batch
    from dpaudit.mechanism import Adjacency
    from dpaudit.progress import Progress
    from dpaudit.recipes.recipe import Canaries
    from dpaudit.rng import Rng
    from dpaudit.training.job import Job

__all__ = [
    "candidate_ids",
    "follow",
    "reference_batch",
    "reference_step",
    "train",
]

_REPLAYED = 2  # records of the data that are replayed, beside extreme ones


def train(job: Job, progress: Progress) -> tuple[list[Path], float]:
    """Train a run, or go on where it was stopped; return its files and the seconds spent on it.

    Before step one the secrets are drawn, the coins committed to and the manifest written. A run that goes on gives
    the same bits as one that was never stopped. Processes that were joined share the work; this one leads, and writes.
    """
    _check_processes(job)
    model = initial_model(job)
    placements = _placements(job, model)
    seal = _sealed(job, model, placements, progress)
    session = _Session.start(job, model, placements, seal)
    recorder = Recorder(run=job.run, traces=_traces(job, placements))
    recorder.forget_after(session.steps_done)
    note_device(job, session.steps_done, progress)
    steps = job.mechanism.steps
    _say_who_idles(job, progress)
    with _processes(job).together(str(job.run.resolve())), progress.task(f"train {job.name}", steps) as task:
        for step in range(session.steps_done, steps):
            release = session.advance(step)
            recorder.record(release)
            if session.at_checkpoint:
                recorder.checkpoint(session.learner, step=session.steps_done, seconds=session.seconds)
            task.advance(step + 1, "" if release.row.loss is None else f"loss {release.row.loss:.3f}")
    return recorder.finish(session.learner), session.seconds


def _check_processes(job: Job) -> None:
    if _processes(job).size > 1 and not isinstance(job.trainer, PerExampleTrainer):
        expected = "1: this trainer sees each batch as a whole, so there is no work to share"
        raise InputError("processes of torchrun", current().size, expected)


def _say_who_idles(job: Job, progress: Progress) -> None:
    processes, batch, size = _processes(job).size, job.mechanism.batch_size, job.recipe.privacy.physical_batch_size
    parts = -(-batch // size)
    if processes > parts:
        enough = f"privacy.physical_batch_size={max(1, batch // processes)}"
        progress.say(f"{job.name}: {processes} processes share {parts} micro-batches a step; {enough} occupies more")


def follow(job: Job) -> None:
    """Share the work of a run that another process leads; nothing is written."""
    model, seal = initial_model(job), load_seal(job.run)
    if seal is None:
        raise DamagedRunError(str(job.run / "sealed"), "missing", "the secrets that the first process wrote")
    session = _Session.start(job, model, _placements(job, model), seal)
    for step in range(session.steps_done, job.mechanism.steps):
        session.advance(step)


def _placements(job: Job, model: nn.Module) -> tuple[Placement, ...]:
    asked, rng = job.recipe.canaries, job.public.child("coordinates")
    made = {
        "block": lambda: _block(asked, job.public.child("block")),
        "coordinates": lambda: coordinate_placement(model, asked.coordinates, rng),
    }
    return tuple(made[family]() for family in job.virtual_families())


def _block(asked: Canaries, rng: Rng) -> Placement:
    match asked.directions:
        case "dirac":
            return block_placement(asked.block, asked.per_coordinate)
        case "hadamard":
            return hadamard_placement(asked.block, asked.spread)
        case "sparse-sign":
            return sparse_sign_placement(asked.block, asked.spread, rng, asked.per_coordinate)


def candidate_ids(job: Job, family: Family) -> NDArray[np.str_]:
    """Return the ids of a family that is not of records, (m,), without knowing who is in."""
    if family == job.step_family():
        return step_ids(family, job.mechanism.steps)
    return next(placement.ids for placement in _placements(job, drawn_model(job)) if placement.family == family)


def _sealed(job: Job, model: nn.Module, placements: tuple[Placement, ...], progress: Progress) -> Seal:
    seal, manifest = load_seal(job.run), job.run / "manifest.json"
    if seal is None:
        ids = job.population.candidate_ids() | {placement.family: placement.ids for placement in placements}
        family = job.step_family()
        ids |= {} if family is None else {family: step_ids(family, job.mechanism.steps)}
        open_root = job.public.child("not secret", job.name) if job.recipe.reproducible else None
        seal = make_seal(job.run, ids, open_root)
    if manifest.exists():
        seal.coins.check(read_json(manifest)["commitment"])
        return seal
    write_json(manifest, _manifest(job, model, seal) | {"replayed": _replayed(job, progress)})
    progress.say(f"{job.name}: coins committed before step one, SHA-256 {seal.coins.commitment()}")
    return seal


def _manifest(job: Job, model: nn.Module, seal: Seal) -> dict[str, object]:
    return {
        "schema_version": 1,
        "run": job.name,
        "role": job.role,
        "recipe": job.recipe.model_dump(mode="json"),
        "mechanism": job.mechanism.model_dump(mode="json"),
        "simulation": job.recipe.privacy.simulate_batch is not None,
        "private": job.mechanism.is_private and job.recipe.privacy.simulate_batch is None,
        "sensitivity": _sensitivity(job),
        "noise": _noise(job),
        "parameters": sum(parameter.numel() for parameter in trainable(model).values()),
        "candidates": {family: len(ids) for family, ids in seal.coins.ids.items()},
        "commitment": seal.coins.commitment(),
        "start": None if job.start is None else read_json(job.start.with_name("manifest.json")),
        "compute": where_computed(job),
        "environment": environment(),
    }


def _noise(job: Job) -> dict[str, str]:
    """Return how the noise is made, and what that means for a run that is resumed."""
    noise = Noise(std=0.0, secure=job.recipe.privacy.secure)
    resumed = "bit-identical: the key in sealed/ opens the same streams; whoever has it can subtract the noise"
    return {"generator": noise.generator, "resume": resumed}


def _replayed(job: Job, progress: Progress) -> list[dict[str, Any]]:
    """Return what record and replay says of the step of a target, as premises; a proof against it is said aloud."""
    if job.role == "reference" or not job.mechanism.is_clipped:
        return []
    privacy = job.recipe.privacy
    rehearsal = Rehearsal(
        trainer=job.trainer,
        clip_norm=job.mechanism.clip_norm,
        batch_size=job.mechanism.batch_size,
        engine=engine(privacy.engine, privacy.clipping),
        rule=clipping_rule(privacy.clipping),
        micro_batch=privacy.physical_batch_size,
        augmentations=privacy.augmentations,
        secure=privacy.secure,
        precision=job.recipe.compute.precision,
        rng=job.public.child("replay", job.name),
    )
    records = job.population.data[job.population.universe[:_REPLAYED]]
    premises = premises_before_training(rehearsal, records, job.mechanism.adjacency, initial_model(job))
    for premise in premises:
        if premise.status == "violated":
            progress.say(f"{job.name}: VIOLATED before step one: {premise.name}: {premise.evidence}")
    return [premise.model_dump() for premise in premises]


def _sensitivity(job: Job) -> dict[Adjacency, float | str]:
    """Return the declared L2 sensitivity of a step's sum by adjacency, as JSON can say it."""
    rule = clipping_rule(job.recipe.privacy.clipping)
    found = declared_sensitivities(job.trainer, job.mechanism.clip_norm, rule)
    return {adjacency: "Infinity" if math.isinf(value) else value for adjacency, value in found.items()}


@dataclass(kw_only=True)
class _Session:
    """A run in memory. Every process that shares its work has one, and all take the same steps."""

    learner: Learner
    step: DpStep
    load: Callable[[int], Callable[[NDArray[np.int64]], Batch]]
    checkpoint_every: int
    steps_done: int = 0
    seconds: float = 0.0

    @classmethod
    def start(cls, job: Job, model: nn.Module, placements: tuple[Placement, ...], seal: Seal) -> _Session:
        """Return a session at the last checkpoint."""
        session = cls(
            learner=Learner.of(job.recipe, job.trainer, job.mechanism.steps, model),
            step=_dp_step(job, placements, seal),
            load=_loader(job, seal),
            checkpoint_every=job.recipe.runs.checkpoint_every,
        )
        if checkpoint_file(job.run).exists():
            session.steps_done, session.seconds = session.learner.restore(checkpoint_file(job.run))
        return session

    def advance(self, step: int) -> Release:
        """Take one step; return what it released."""
        begun = time.monotonic()
        with plain_float32():
            release = self.step(step, self.learner.model, self.load(step))
            self.learner.learn(step, release.gradients)
        self.steps_done = step + 1
        self.seconds += time.monotonic() - begun
        if self.at_checkpoint:
            self.learner.agree(self.step.processes)
        return release

    @property
    def at_checkpoint(self) -> bool:
        """Return whether the steps so far are to be kept: every so often, and after the last."""
        return self.steps_done % self.checkpoint_every == 0 or self.steps_done == self.step.mechanism.steps


def _traces(job: Job, placements: tuple[Placement, ...]) -> dict[Family, TraceWriter]:
    traces, family = {each.family: _trace(job, each) for each in placements}, job.step_family()
    if family is not None:
        traces[family] = StoredTraceWriter(job.run / "trace" / family, 2)  # of each step what `seen` returns
    return traces


def _trace(job: Job, placement: Placement) -> TraceWriter:
    folder, count = job.run / "trace" / placement.family, len(placement)
    match job.recipe.runs.trace:
        case "full":
            return StoredTraceWriter(folder, count)
        case "accumulated":
            return AccumulatedTraceWriter(folder, count, job.mechanism)
        case "auto":
            return trace_writer(folder, job.mechanism, count)


def _dp_step(job: Job, placements: tuple[Placement, ...], seal: Seal) -> DpStep:
    coins = {family: seal.coins.members(family) for family in job.population.candidate_ids()}
    computed = _computed_by(job)
    return DpStep(
        mechanism=job.mechanism,
        **computed,
        inserted=step_coins(job, seal, _augmentation(job, seal), computed),
        members=job.population.members(coins),
        places=job.population.places() if job.mechanism.is_streamed else None,
        sampling=seal.root.child("sampling"),
        noise=seal.root.child("noise"),
        canaries=tuple(
            GradientCanaries(placement, seal.coins.heads[placement.family], job.recipe.canaries.raw_norm)
            for placement in placements
        ),
        secure=job.recipe.privacy.secure,
        processes=_processes(job),
    )


def _processes(job: Job) -> Processes:
    """Return who shares the work of a run: a reference is trained by one process, others train other references."""
    return Alone() if job.role == "reference" else current()


def reference_step(job: Job, seal: Seal) -> DpStep:
    """Return the step of a reference, for who trains several of them at once."""
    return _dp_step(job, (), seal)


def _augmentation(job: Job, seal: Seal) -> Rng:
    """Return the key of what a run draws for its batches; all references see a record in the same way at a step."""
    return job.public.child("references", "collate") if job.role == "reference" else seal.root.child("collate")


def reference_batch(job: Job, positions: NDArray[np.int64], step: int) -> Batch:
    """Return the batch of these positions in the universe as any reference would see them at a step."""
    key = job.public.child("references", "collate").child(step)
    return moved(job.trainer.collate(job.population.data[job.population.universe[positions]], key), job.device)


def _computed_by(job: Job) -> dict[str, Any]:
    """Return the fields of a step that say how its sum is made and how large its noise is."""
    privacy, rule = job.recipe.privacy, clipping_rule(job.recipe.privacy.clipping)
    unit = {"noise_unit": declared_noise_unit(job.trainer, job.mechanism, rule)}
    if isinstance(job.trainer, PerExampleTrainer):
        return unit | {
            "losses": viewed(at_precision(job.trainer.losses, job.recipe.compute.precision), privacy.augmentations),
            "engine": engine(privacy.engine, privacy.clipping),
            "micro_batch": privacy.physical_batch_size,
        }
    losses = job.trainer.record_losses if isinstance(job.trainer, RecordLosses) else None
    return unit | {"whole": WholeBatch(bounded_sum=job.trainer.bounded_sum, record_losses=losses)}


def _loader(job: Job, seal: Seal) -> Callable[[int], Callable[[NDArray[np.int64]], Batch]]:
    universe, augmentation = job.population.universe, _augmentation(job, seal)
    views = job.recipe.privacy.augmentations

    def loaded(positions: NDArray[np.int64], step: int) -> Batch:
        records = job.population.data[universe[positions]]
        batch = viewed_batch(lambda rng: job.trainer.collate(records, rng), views, augmentation.child(step))
        return moved(batch, job.device)

    return lambda step: lambda positions: loaded(positions, step)
