"""How long one run takes: by timing a few of its steps, or by what an earlier run of the same size took."""

from __future__ import annotations

import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from dpaudit.errors import InputError
from dpaudit.recipes.recipe import Recipe
from dpaudit.runs import read_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dpaudit.mechanism import Mechanism
    from dpaudit.pipeline.audit import Audit
    from dpaudit.progress import Progress, Task
    from dpaudit.recipes.recipe import Pretrain

__all__ = ["Pace", "earlier_pace", "measured_pace", "measured_public_pace"]

#: steps that are timed after one that warms up
_STEPS = 4
#: settings of a recipe's privacy that make no step longer
_NO_MATTER = {
    *("epsilon", "noise_multiplier", "delta", "clip_norm", "steps"),
    *("claimed_epsilon", "claimed_delta", "tuning_runs"),
}


@dataclass(frozen=True, kw_only=True)
class Pace:
    """The hours of training one run, and where they come from, in words."""

    hours: float
    source: str


def measured_pace(audit: Audit, mechanism: Mechanism, progress: Progress) -> Pace:
    """Return the pace of a recipe from a few real steps of its own size, in a folder that is deleted afterwards."""
    from dpaudit.training.train import train  # noqa: PLC0415 (imports torch)

    clock, steps = _Clock(progress), min(mechanism.steps, _STEPS + 1)
    with tempfile.TemporaryDirectory(prefix="dpaudit-") as folder:
        job = audit.job("target-00", mechanism.model_copy(update={"steps": steps}))
        train(replace(job, run=Path(folder) / "target-00", start=None), clock)
    timed = clock.spans()
    seconds = median(timed)
    source = f"measured: {len(timed)} steps of {seconds:.3g} s"
    return Pace(hours=seconds * mechanism.steps / 3600, source=source)


def measured_public_pace(audit: Audit, settings: Pretrain, progress: Progress) -> Pace:
    """Return the pace of a recipe's public stage from a few real steps of it."""
    from dpaudit.pipeline.stages.start import public_stage  # noqa: PLC0415
    from dpaudit.training.pretraining import pretrain  # noqa: PLC0415 (imports torch)

    clock, steps = _Clock(progress), min(settings.steps, _STEPS + 1)
    with tempfile.TemporaryDirectory(prefix="dpaudit-") as folder:
        few = settings.model_copy(update={"steps": steps})
        pretrain(public_stage(audit, few, Path(folder)), clock)
    timed = clock.spans()
    seconds = median(timed)
    return Pace(hours=seconds * settings.steps / 3600, source=f"measured: {len(timed)} steps of {seconds:.3g} s")


def earlier_pace(audit: Audit, mechanism: Mechanism) -> Pace | None:
    """Return the pace of the runs that lie in the audit's folder, if they did steps of the same size on this device."""
    index = audit.path / "audit.json"
    records = sorted((audit.path / "stages").glob("train-target-*.json"))
    if not index.is_file() or not records:
        return None
    before = Recipe.model_validate(read_json(index)["recipe"])
    if _size(before) != _size(audit.recipe) or not _computed_here(audit, records):
        return None
    seconds = median(read_json(record)["seconds"] for record in records) / max(1, before.privacy.steps)
    source = f"{audit.path}: {before.privacy.steps} steps of {seconds:.3g} s"
    return Pace(hours=seconds * mechanism.steps / 3600, source=source)


def _computed_here(audit: Audit, records: Sequence[Path]) -> bool:
    """Return whether all runs of these records were made on the device that this call would compute on, alone."""
    from dpaudit.dp.devices import in_words  # noqa: PLC0415 (imports torch)

    runs = [record.stem.removeprefix("train-") for record in records]
    found = [read_json(audit.path / run / "manifest.json").get("compute", {}).get("devices", []) for run in runs]
    try:
        here = in_words(audit.device)
    except InputError:  # a forecast needs no device
        return False
    return all([each["device"] for each in devices] == [here] for devices in found)


def _size(recipe: Recipe) -> list[object]:
    """Return what decides how long a step takes."""
    step = recipe.privacy.model_dump(exclude=_NO_MATTER)
    return [recipe.data, recipe.trainer, recipe.canaries, recipe.runs.trace, recipe.compute.precision, step]


class _Clock:
    """Notes when each step ends, and passes everything on."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._ends = [time.perf_counter()]

    @contextmanager
    def task(self, title: str, total: int) -> Iterator[Task]:
        """Open a task whose steps are timed."""
        with self._progress.task(title.replace("train", "time a few steps of"), total) as task:
            self._shown = task
            self._ends = [time.perf_counter()]
            yield self

    def advance(self, done: int, note: str = "") -> None:
        """Note the end of a step."""
        self._ends.append(time.perf_counter())
        self._shown.advance(done, note)

    def say(self, line: str) -> None:
        """Say nothing: the commitment of a run that is thrown away means nothing."""

    def spans(self) -> list[float]:
        """Return the seconds of every step; without the first, if there are others."""
        spans = [end - begun for begun, end in zip(self._ends, self._ends[1:], strict=False)]
        return spans[1:] or spans
