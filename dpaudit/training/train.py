"""One run, from secrets to weights: the only place where a DP step becomes a trained model."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from dpaudit.dp.audit_block import GradientCanaries, Placement, block_placement, coordinate_placement
from dpaudit.dp.clipping import clipping_rule
from dpaudit.dp.engines import engine
from dpaudit.dp.noise import Noise
from dpaudit.dp.processes import current
from dpaudit.dp.step import DpStep
from dpaudit.dp.tensors import trainable
from dpaudit.dp.trace import AccumulatedTraceWriter, StoredTraceWriter, TraceWriter, trace_writer
from dpaudit.dp.views import viewed, viewed_batch
from dpaudit.environment import environment
from dpaudit.errors import DamagedRunError, InputError
from dpaudit.plugins import PerExampleTrainer
from dpaudit.runs import read_json, write_json
from dpaudit.seal import Seal, load_seal, make_seal
from dpaudit.training.checkpoint import load_model
from dpaudit.training.learner import Learner
from dpaudit.training.recorder import Recorder, checkpoint_file
from dpaudit.training.rehearsal import Rehearsal
from dpaudit.training.sensitivity import premises_before_training

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

    from dpaudit.canaries import Family
    from dpaudit.dp.clipping import ClippingRule
    from dpaudit.dp.step import Release
    from dpaudit.dp.tensors import Batch
    from dpaudit.mechanism import Mechanism
    from dpaudit.progress import Progress
    from dpaudit.recipes.recipe import Recipe
    from dpaudit.rng import Rng
    from dpaudit.training.population import Population

__all__ = ["Job", "candidate_ids", "drawn_model", "follow", "initial_model", "train"]

_REPLAYED = 2  # records of the data that are replayed, beside extreme ones


@dataclass(frozen=True, kw_only=True)
class Job:
    """What one run is made of. `run`: its folder, named as the run; a reference has no gradient canaries.

    start: the weights of step 0 that all runs share, None where each run draws its own.
    """

    run: Path
    role: Literal["target", "reference"]
    recipe: Recipe
    mechanism: Mechanism
    trainer: PerExampleTrainer
    population: Population
    public: Rng
    start: Path | None = None

    @property
    def name(self) -> str:
        """Return the run's name, for example target-00."""
        return self.run.name

    def placed_families(self) -> tuple[Family, ...]:
        """Return the families of gradient canaries that this run carries."""
        if self.role == "reference" or not self.mechanism.is_clipped:
            return ()
        return self.recipe.canaries.gradient_families()


def initial_model(job: Job) -> nn.Module:
    """Return the model at step 0; anyone who knows the recipe, and the file it may start from, can build it."""
    model = drawn_model(job)
    if job.start is not None:
        load_model(job.start, model)
    return model


def drawn_model(job: Job) -> nn.Module:
    """Return the model with weights drawn from the seed, wherever the run starts."""
    return job.trainer.build(job.public.child("model", job.name))


def train(job: Job, progress: Progress) -> tuple[list[Path], float]:
    """Train a run, or go on where it was stopped; return its files and the seconds spent on it.

    Before step one the secrets are drawn, the coins committed to and the manifest written. A run that goes on gives
    the same bits as one that was never stopped. Processes that were joined share the work; this one leads, and writes.
    """
    if not isinstance(job.trainer, PerExampleTrainer):
        raise InputError("trainer.name", job.recipe.trainer.name, "a trainer with one loss per record")
    model = initial_model(job)
    placements = _placements(job, model)
    seal = _sealed(job, model, placements, progress)
    session = _Session.start(job, model, placements, seal)
    recorder = Recorder(run=job.run, traces={each.family: _trace(job, each) for each in placements})
    recorder.forget_after(session.steps_done)
    steps = job.mechanism.steps
    _say_who_idles(job, progress)
    with current().together(str(job.run.resolve())), progress.task(f"train {job.name}", steps) as task:
        for step in range(session.steps_done, steps):
            release = session.advance(step)
            recorder.record(release)
            if session.at_checkpoint:
                recorder.checkpoint(session.learner, step=session.steps_done, seconds=session.seconds)
            task.advance(step + 1, "" if release.row.loss is None else f"loss {release.row.loss:.3f}")
    return recorder.finish(session.learner), session.seconds


def _say_who_idles(job: Job, progress: Progress) -> None:
    processes, batch, size = current().size, job.mechanism.batch_size, job.recipe.privacy.physical_batch_size
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
        "block": lambda: block_placement(asked.block),
        "coordinates": lambda: coordinate_placement(model, asked.coordinates, rng),
    }
    return tuple(made[family]() for family in job.placed_families())


def candidate_ids(job: Job, family: Family) -> NDArray[np.str_]:
    """Return the ids of a family of gradient canaries, (m,), without knowing who is in."""
    return next(placement.ids for placement in _placements(job, drawn_model(job)) if placement.family == family)


def _sealed(job: Job, model: nn.Module, placements: tuple[Placement, ...], progress: Progress) -> Seal:
    seal, manifest = load_seal(job.run), job.run / "manifest.json"
    if seal is None:
        ids = job.population.candidate_ids() | {placement.family: placement.ids for placement in placements}
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
        "sensitivity": _sensitivity(job.mechanism, clipping_rule(job.recipe.privacy.clipping)),
        "noise": _noise(job),
        "parameters": sum(parameter.numel() for parameter in trainable(model).values()),
        "candidates": {family: len(ids) for family, ids in seal.coins.ids.items()},
        "commitment": seal.coins.commitment(),
        "start": None if job.start is None else read_json(job.start.with_name("manifest.json")),
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
        micro_batch=privacy.physical_batch_size,
        augmentations=privacy.augmentations,
        secure=privacy.secure,
        rng=job.public.child("replay", job.name),
    )
    records = job.population.data[job.population.universe[:_REPLAYED]]
    premises = premises_before_training(rehearsal, records, job.mechanism.adjacency, initial_model(job))
    for premise in premises:
        if premise.status == "violated":
            progress.say(f"{job.name}: VIOLATED before step one: {premise.name}: {premise.evidence}")
    return [premise.model_dump() for premise in premises]


def _sensitivity(mechanism: Mechanism, rule: ClippingRule) -> dict[str, float | str]:
    """Return the L2 sensitivity of the clipped sum by adjacency: one record comes, goes, or makes room for another."""
    clip = rule.sensitivity(mechanism.clip_norm)
    if not mechanism.is_clipped:
        return dict.fromkeys(("add-remove", "zero-out", "replace-one"), "Infinity")
    return {"add-remove": clip, "zero-out": clip, "replace-one": 2 * clip}


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
    return DpStep(
        mechanism=job.mechanism,
        losses=viewed(job.trainer.losses, job.recipe.privacy.augmentations),
        members=job.population.members(coins),
        sampling=seal.root.child("sampling"),
        noise=seal.root.child("noise"),
        engine=engine(job.recipe.privacy.engine, job.recipe.privacy.clipping),
        micro_batch=job.recipe.privacy.physical_batch_size,
        canaries=tuple(GradientCanaries(placement, seal.coins.heads[placement.family]) for placement in placements),
        secure=job.recipe.privacy.secure,
        processes=current(),
    )


def _loader(job: Job, seal: Seal) -> Callable[[int], Callable[[NDArray[np.int64]], Batch]]:
    universe, augmentation = job.population.universe, seal.root.child("collate")
    views = job.recipe.privacy.augmentations

    def loaded(positions: NDArray[np.int64], step: int) -> Batch:
        records = job.population.data[universe[positions]]
        return viewed_batch(lambda rng: job.trainer.collate(records, rng), views, augmentation.child(step))

    return lambda step: lambda positions: loaded(positions, step)
