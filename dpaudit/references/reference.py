"""One reference: what decides its training, how it is trained, and how it is found again."""

from __future__ import annotations

import hashlib
import inspect
import math
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dpaudit import __version__
from dpaudit.canaries import Coins
from dpaudit.errors import DamagedRunError
from dpaudit.references.masks import reference_mask
from dpaudit.runs import content_key, read_json
from dpaudit.seal import Seal, keep_seal
from dpaudit.training.job import drawn_model
from dpaudit.training.train import train

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

    from dpaudit.mechanism import Mechanism
    from dpaudit.progress import Progress
    from dpaudit.references.pool import Entry, Pool
    from dpaudit.training.job import Job

__all__ = ["Reference", "empty_model", "finish", "reference_of", "train_reference"]

#: settings of a recipe's privacy that decide how a step is computed, beside the mechanism
_COMPUTED_BY = {"clipping", "augmentations", "engine", "physical_batch_size", "secure"}
_WEIGHTS = {"final": "model.safetensors", "ema": "ema.safetensors"}


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A reference to be trained, or trained. `job.run` is its folder of work; `seal`: its mask and its streams."""

    key: str
    entry: Entry
    job: Job
    seal: Seal

    @property
    def name(self) -> str:
        """Return its name, for example reference-03."""
        return self.job.name

    def mask(self, family: str) -> NDArray[np.bool_]:
        """Return whom of a family of candidates it is trained on, (n,)."""
        return self.seal.coins.heads[family]


def reference_of(job: Job, index: int, pool: Pool) -> Reference:
    """Return reference 0, 1, ... of a recipe. job: of the role `reference`, by its name; its run folder is replaced.

    Mask, initial weights, sampling and noise follow from the recipe's seed: public, the same for whoever trains it, and
    independent of every target's coins. So a reference protects nobody: it is the auditor's own, as private as the
    data.
    """
    job = replace(job, mechanism=_mechanism(job))
    seal = _seal(job, index)
    key = _key(job, index, seal)
    entry = pool.entry(key)
    return Reference(key=key, entry=entry, job=replace(job, run=entry.work / job.name), seal=seal)


def _mechanism(job: Job) -> Mechanism:
    if job.recipe.references.privacy == "target":
        return job.mechanism
    return job.mechanism.model_copy(update={"noise_multiplier": 0.0, "clip_norm": math.inf})


def _seal(job: Job, index: int) -> Seal:
    masks, ids = job.public.child("references", "masks"), job.population.candidate_ids()
    heads = {family: reference_mask(names, index, masks.child(family)) for family, names in ids.items()}
    root = job.public.child("references", "run", index)
    return Seal(root=root, coins=Coins(ids=ids, heads=heads, salt=root.child("salt").key))


def _key(job: Job, index: int, seal: Seal) -> str:
    """Return the hash of all that decides the training of a reference: what is not in it must not matter."""
    recipe = job.recipe.model_dump(mode="json", include={"seed", "trainer", "optimizer", "weights"})
    data = job.recipe.data.model_dump(mode="json", exclude={"split", "limit", "expected_size"})
    members = job.population.members({family: seal.coins.members(family) for family in seal.coins.ids})
    who = hashlib.sha256(str(job.population.universe.tolist()).encode() + np.packbits(members).tobytes()).hexdigest()
    computed = job.recipe.privacy.model_dump(mode="json", include=_COMPUTED_BY)
    return content_key(
        *("reference", 1, __version__, index, recipe, data, computed, job.recipe.compute.precision),
        *(job.mechanism.model_dump(mode="json", exclude_none=True), job.population.data.fingerprint(), who),
        *(_source(job.trainer), None if job.start is None else hashlib.sha256(job.start.read_bytes()).hexdigest()),
    )


def _source(trainer: object) -> str:
    """Return a hash of the file in which a trainer is written: a changed one is another trainer."""
    file = inspect.getsourcefile(type(trainer))
    return "" if file is None else hashlib.sha256(Path(file).read_bytes()).hexdigest()


def train_reference(reference: Reference, progress: Progress) -> None:
    """Train a reference whose lock is held, going on where a killed worker stopped, and put it into the pool."""
    reference.entry.path.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        seconds = _trained(reference, progress)
    except DamagedRunError as error:
        progress.say(f"{reference.name}: {error}; it is trained again from the start")
        shutil.rmtree(reference.entry.work, ignore_errors=True)
        seconds = _trained(reference, progress)
    parameters = read_json(reference.job.run / "manifest.json")["parameters"]
    finish(reference, reference.job.run / _WEIGHTS[reference.job.recipe.weights.evaluate], seconds, parameters)


def _trained(reference: Reference, progress: Progress) -> float:
    keep_seal(reference.job.run, reference.seal)
    return train(reference.job, _Unsaid(progress))[1]


def finish(reference: Reference, weights: Path, seconds: float, parameters: int) -> None:
    """Put a trained reference into the pool; `weights`: the file to take, in its folder of work."""
    reference.entry.finish(
        weights,
        name=reference.name,
        mechanism=reference.job.mechanism.model_dump(mode="json"),
        parameters=parameters,
        steps=reference.job.mechanism.steps,
        seconds=round(seconds, 3),
        mask=reference.seal.coins.commitment(),
        candidates={family: len(ids) for family, ids in reference.seal.coins.ids.items()},
    )


def empty_model(reference: Reference) -> nn.Module:
    """Return the model of a reference, with weights that are about to be replaced."""
    return drawn_model(reference.job)


class _Unsaid:
    """Shows tasks; the commitment of a public mask means nothing, so it is not said."""

    def __init__(self, progress: Progress) -> None:
        self.task = progress.task

    def say(self, line: str) -> None:
        """Say nothing."""
        del line
