"""One run, from secrets to weights: the only place where a DP step becomes a trained model."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from dpaudit import checkpoint
from dpaudit.dp.audit_block import GradientCanaries, Placement, block_placement, coordinate_placement
from dpaudit.dp.engines import engine
from dpaudit.dp.ledger import LedgerRow, append_ledger, truncate_ledger
from dpaudit.dp.step import DpStep, assign
from dpaudit.dp.tensors import trainable
from dpaudit.dp.trace import AccumulatedTraceWriter, StoredTraceWriter, TraceWriter, trace_writer
from dpaudit.environment import environment
from dpaudit.errors import InputError
from dpaudit.plugins import PerExampleTrainer
from dpaudit.runs import read_json, write_json
from dpaudit.seal import Seal, load_seal, make_seal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray
    from torch import nn
    from torch.optim import Optimizer

    from dpaudit.canaries import Family
    from dpaudit.dp.tensors import Batch
    from dpaudit.mechanism import Mechanism
    from dpaudit.population import Population
    from dpaudit.progress import Progress
    from dpaudit.recipe import Recipe
    from dpaudit.rng import Rng

__all__ = ["Job", "candidate_ids", "initial_model", "train"]


@dataclass(frozen=True, kw_only=True)
class Job:
    """What one run is made of. `run`: its folder, named as the run; a reference has no gradient canaries."""

    run: Path
    role: Literal["target", "reference"]
    recipe: Recipe
    mechanism: Mechanism
    trainer: PerExampleTrainer
    population: Population
    public: Rng

    @property
    def name(self) -> str:
        """Return the run's name, for example target-00."""
        return self.run.name

    def placed_families(self) -> tuple[Family, ...]:
        """Return the families of gradient canaries that this run carries."""
        asked = self.recipe.canaries
        if self.role == "reference" or not self.mechanism.is_clipped:
            return ()
        block: tuple[Family, ...] = ("block",) if asked.block else ()
        return (*block, "coordinates") if asked.coordinates else block


def initial_model(job: Job) -> nn.Module:
    """Return the model at step 0; anyone who knows the recipe can build it."""
    return job.trainer.build(job.public.child("model", job.name))


def train(job: Job, progress: Progress) -> tuple[list[Path], float]:
    """Train a run, or go on where it was stopped; return its files and the seconds spent on it.

    Before step one the secrets are drawn, the coins committed to and the manifest written. A run that goes on gives
    the same bits as one that was never stopped.
    """
    if not isinstance(job.trainer, PerExampleTrainer):
        raise InputError("trainer.name", job.recipe.trainer.name, "a trainer with one loss per record")
    model = initial_model(job)
    placements = _placements(job, model)
    seal = _sealed(job, model, placements, progress)
    session = _Session.start(job, model, placements, seal)
    with progress.task(f"train {job.name}", job.mechanism.steps) as task:
        for step in range(session.steps_done, job.mechanism.steps):
            note = session.advance(step)
            task.advance(step + 1, note)
    return session.finish(), session.seconds


def _placements(job: Job, model: nn.Module) -> tuple[Placement, ...]:
    asked, rng = job.recipe.canaries, job.public.child("coordinates")
    made = {
        "block": lambda: block_placement(asked.block),
        "coordinates": lambda: coordinate_placement(model, asked.coordinates, rng),
    }
    return tuple(made[family]() for family in job.placed_families())


def candidate_ids(job: Job, family: Family) -> NDArray[np.str_]:
    """Return the ids of a family of gradient canaries, (m,), without knowing who is in."""
    return next(placement.ids for placement in _placements(job, initial_model(job)) if placement.family == family)


def _sealed(job: Job, model: nn.Module, placements: tuple[Placement, ...], progress: Progress) -> Seal:
    seal, manifest = load_seal(job.run), job.run / "manifest.json"
    if seal is None:
        ids = job.population.candidate_ids() | {placement.family: placement.ids for placement in placements}
        open_root = job.public.child("not secret", job.name) if job.recipe.reproducible else None
        seal = make_seal(job.run, ids, open_root)
    if manifest.exists():
        seal.coins.check(read_json(manifest)["commitment"])
        return seal
    write_json(manifest, _manifest(job, model, seal))
    progress.say(f"{job.name}: coins committed before step one, SHA-256 {seal.coins.commitment()}")
    return seal


def _manifest(job: Job, model: nn.Module, seal: Seal) -> dict[str, object]:
    return {
        "schema_version": 1,
        "run": job.name,
        "role": job.role,
        "recipe": job.recipe.model_dump(mode="json"),
        "mechanism": job.mechanism.model_dump(mode="json"),
        "sensitivity": {"adjacency": "add-remove", "value": job.mechanism.model_dump(mode="json")["clip_norm"]},
        "parameters": sum(parameter.numel() for parameter in trainable(model).values()),
        "candidates": {family: len(ids) for family, ids in seal.coins.ids.items()},
        "commitment": seal.coins.commitment(),
        "environment": environment(),
    }


@dataclass(kw_only=True)
class _Session:
    """A run in memory, with what it writes at every checkpoint."""

    job: Job
    model: nn.Module
    optimizer: Optimizer
    step: DpStep
    load: Callable[[int], Callable[[NDArray[np.int64]], Batch]]
    traces: dict[Family, TraceWriter]
    rows: list[LedgerRow]
    steps_done: int
    seconds: float

    @classmethod
    def start(cls, job: Job, model: nn.Module, placements: tuple[Placement, ...], seal: Seal) -> _Session:
        """Return a session at the last checkpoint, everything after it forgotten."""
        optimizer = job.trainer.optimizer(list(trainable(model).values()), job.mechanism.steps)
        steps_done, seconds = 0, 0.0
        if _checkpoint(job).exists():
            steps_done, seconds = checkpoint.restore(_checkpoint(job), model, optimizer)
        traces: dict[Family, TraceWriter] = {placement.family: _trace(job, placement) for placement in placements}
        for trace in traces.values():
            trace.truncate(steps_done)
        if steps_done or (job.run / "ledger.jsonl").exists():
            truncate_ledger(job.run / "ledger.jsonl", steps_done)
        return cls(
            job=job,
            model=model,
            optimizer=optimizer,
            step=_dp_step(job, placements, seal),
            load=_loader(job, seal),
            traces=traces,
            rows=[],
            steps_done=steps_done,
            seconds=seconds,
        )

    def advance(self, step: int) -> str:
        """Take one step; return a note for the progress line."""
        begun = time.monotonic()
        release = self.step(step, self.model, self.load(step))
        assign(self.model, release.gradients)
        for group in self.optimizer.param_groups:
            group["lr"] = self.job.trainer.learning_rate(step, self.job.mechanism.steps)
        self.optimizer.step()
        self.rows.append(release.row)
        for family, trace in self.traces.items():
            trace.record(release.canaries[family])
        self.steps_done = step + 1
        self.seconds += time.monotonic() - begun
        if self.steps_done % self.job.recipe.runs.checkpoint_every == 0:
            self.checkpoint()
        return "" if release.row.loss is None else f"loss {release.row.loss:.3f}"

    def checkpoint(self) -> None:
        """Write what an interrupted run needs: trace, ledger, and last of all the state that says how far they go."""
        for trace in self.traces.values():
            trace.checkpoint()
        append_ledger(self.job.run / "ledger.jsonl", self.rows)
        self.rows = []
        _checkpoint(self.job).parent.mkdir(exist_ok=True)
        checkpoint.save(_checkpoint(self.job), self.model, self.optimizer, step=self.steps_done, seconds=self.seconds)

    def finish(self) -> list[Path]:
        """Write weights and the whole trace; return the run's files."""
        self.checkpoint()
        run = self.job.run
        for trace in self.traces.values():
            trace.compact()
        checkpoint.save_model(run / "model.safetensors", self.model)
        traced = [
            path for family in self.traces for path in sorted((run / "trace" / family).iterdir()) if path.is_file()
        ]
        return [run / "manifest.json", run / "model.safetensors", run / "ledger.jsonl", *traced]


def _checkpoint(job: Job) -> Path:
    return job.run / "checkpoint" / "state.safetensors"


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
        losses=job.trainer.losses,
        members=job.population.members(coins),
        sampling=seal.root.child("sampling"),
        noise=seal.root.child("noise"),
        engine=engine(job.recipe.privacy.engine),
        micro_batch=job.recipe.privacy.physical_batch_size,
        canaries=tuple(GradientCanaries(placement, seal.coins.heads[placement.family]) for placement in placements),
    )


def _loader(job: Job, seal: Seal) -> Callable[[int], Callable[[NDArray[np.int64]], Batch]]:
    universe, augmentation = job.population.universe, seal.root.child("collate")

    def at_step(step: int) -> Callable[[NDArray[np.int64]], Batch]:
        rng = augmentation.child(step)
        return lambda positions: job.trainer.collate(job.population.data[universe[positions]], rng)

    return at_step
