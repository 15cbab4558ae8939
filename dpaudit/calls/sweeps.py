"""Sweeps: one recipe at every point of a grid of overrides, each an audit in a folder of its own, then compared."""

from __future__ import annotations

import itertools
import re
import traceback
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dpaudit.errors import DpauditError, InputError
from dpaudit.executors import Executor
from dpaudit.pipeline.order import advance, open_audit, told
from dpaudit.progress import Silent
from dpaudit.recipes.located import parse_setting
from dpaudit.recipes.recipe import load_recipe
from dpaudit.runs import read_json, write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dpaudit.pipeline.forecasts import Forecast
    from dpaudit.progress import Progress

__all__ = ["Outcome", "Point", "Sweep", "grid", "look_ahead", "parse_axis", "sweep"]

_LONGEST = 40  # letters of one value in a folder's name
_OPEN, _CLOSE = "[{(", "]})"


@dataclass(frozen=True, kw_only=True)
class Point:
    """One point of a grid: `dpaudit run RECIPE --set SETTING... --out FOLDER`, and nothing else.

    name: of its folder, readable. settings: all overrides, those of the whole sweep first.
    """

    name: str
    folder: Path
    settings: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a point. verdict: of a point that is done; reason: why one failed, in one line.

    log: where the traceback of an error is that nobody foresaw.
    """

    point: Point
    status: Literal["done", "failed"]
    verdict: str = ""
    reason: str = ""
    log: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """What a sweep found. page: compare.html of all points that are done; None where none is."""

    outcomes: tuple[Outcome, ...]
    page: Path | None

    @property
    def done(self) -> tuple[Path, ...]:
        """Return the run folders that are finished, in the order of the grid."""
        return tuple(each.point.folder for each in self.outcomes if each.status == "done")


def sweep(
    recipe: str | Path,
    over: Mapping[str, Sequence[object]],
    *,
    out: str | Path | None = None,
    overrides: Sequence[str] = (),
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> Sweep:
    """Audit a recipe at every point of a grid, one run folder each, and compare those that finished.

    over: values by key, {"privacy.epsilon": [1, 8]}; overrides: the same at every point. out: where the run folders
    and compare.html go, by default sweeps/NAME. executor: where points are worked on, by default one after the
    other in this process; beside others a point has one thread. Called again it continues: what is finished is skipped.
    A point that fails stops no other. Raises InputError, before anything is trained, for a key or a value that the
    recipe refuses at any point.
    """
    progress, executor = progress or Silent(), executor or Executor(jobs=1)
    points = grid(recipe, over, out=out, overrides=overrides)
    _check(recipe, points, progress)
    together = executor.name == "local" and executor.jobs == 1
    work = partial(_work, str(recipe), progress if together else Silent(), None if together else Executor(jobs=1))
    found: dict[str, Outcome] = {}
    with progress.task(f"sweep of {len(points)} points", len(points)) as task:
        for outcome in _each(executor, work, points):
            found[outcome.point.name] = outcome
            progress.say(f"{outcome.point.name}: {outcome.verdict or 'failed: ' + outcome.reason}")
            task.advance(len(found))
    outcomes = tuple(found.get(point.name, _killed(point)) for point in points)
    done = Sweep(outcomes=outcomes, page=None).done
    return Sweep(outcomes=outcomes, page=_compared(done, points[0].folder.parent))


def grid(
    recipe: str | Path,
    over: Mapping[str, Sequence[object]],
    *,
    out: str | Path | None = None,
    overrides: Sequence[str] = (),
) -> tuple[Point, ...]:
    """Return the points of a grid, the last key's values changing fastest. InputError for a value that no recipe has.

    >>> [point.name for point in grid("quickstart", {"privacy.epsilon": [1, 8], "trainer.size": ["micro", "nano"]})]
    ['epsilon-1_size-micro', 'epsilon-1_size-nano', 'epsilon-8_size-micro', 'epsilon-8_size-nano']
    """
    if not over:
        raise InputError("--over", "", "at least one KEY=VALUE,VALUE, for example privacy.epsilon=1,8")
    root = Path(out) if out else Path("sweeps") / load_recipe(recipe, overrides).recipe.name
    names = _short([_key(key) for key in over])
    axes = [_axis(key, name, values) for (key, values), name in zip(over.items(), names, strict=True)]
    points = []
    for chosen in itertools.product(*axes):
        name = "_".join(part for part, _ in chosen)
        settings = (*overrides, *(setting for _, setting in chosen))
        load_recipe(recipe, settings)  # refuses what no recipe may hold
        points.append(Point(name=name, folder=root / name, settings=settings))
    return tuple(points)


def look_ahead(
    recipe: str | Path, points: Sequence[Point], progress: Progress, *, measure: bool = False
) -> Iterator[tuple[Point, Forecast]]:
    """Yield what every point would cost and promise; nothing is trained or written."""
    from dpaudit.calls.verbs import forecast  # noqa: PLC0415 (imports torch)

    for point in points:
        yield (
            point,
            forecast(recipe, out=point.folder, overrides=point.settings, measure=measure, progress=progress),
        )


def parse_axis(text: str) -> tuple[str, tuple[object, ...]]:
    """Return key and values of KEY=VALUE,VALUE; a comma inside brackets, braces or quotes separates nothing.

    >>> parse_axis("privacy.epsilon=1,8,inf")
    ('privacy.epsilon', (1, 8, inf))
    >>> parse_axis("trainer={name: vip, size: micro},{name: dp-cap, size: micro}")[1][1]
    {'name': 'dp-cap', 'size': 'micro'}
    """
    key, equals, listed = text.partition("=")
    values = _split(listed)
    if not equals or not key.strip() or "" in values:
        raise InputError("--over", text, "KEY=VALUE,VALUE, for example privacy.epsilon=1,8")
    return key.strip(), tuple(parse_setting(f"{key.strip()}={value}")[1] for value in values)


def _split(listed: str) -> list[str]:
    parts, depth, quote = [""], 0, ""
    for letter in listed:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        else:
            depth += (letter in _OPEN) - (letter in _CLOSE)
        if letter == "," and not depth and not quote:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]


def _key(key: str) -> tuple[str, ...]:
    return parse_setting(f"{key}=null")[0]


def _short(keys: Sequence[tuple[str, ...]]) -> list[str]:
    """Return the shortest tails of the keys that tell them apart."""
    for length in range(1, max(map(len, keys)) + 1):
        names = ["-".join(key[-length:]).replace("_", "-") for key in keys]
        if len(set(names)) == len(names):
            return names
    raise InputError("--over", ".".join(keys[0]), "every key once")


def _axis(key: str, name: str, values: Sequence[object]) -> list[tuple[str, str]]:
    """Return (part of a folder's name, override) of every value of a key."""
    if not values:
        raise InputError(f"--over {key}", "", "at least one value")
    slugs = [_slug(value) for value in values]
    if len(set(slugs)) < len(slugs):
        doubled = next(value for value, slug in zip(values, slugs, strict=True) if slugs.count(slug) > 1)
        raise InputError(f"--over {key}", doubled, "values that differ, in what a folder may be named after as well")
    return [(f"{name}-{slug}", f"{key}={_flow(value)}") for value, slug in zip(values, slugs, strict=True)]


def _slug(value: object) -> str:
    """Return a value as part of a folder's name.

    >>> _slug(0.5), _slug({"name": "vip", "size": "micro"}), _slug(float("inf")), _slug(None), _slug(-1e-05)
    ('0.5', 'vip-micro', 'inf', 'null', '-1e-05')
    """
    if isinstance(value, dict):
        parts = [_slug(part) for part in value.values()]
    elif isinstance(value, list | tuple):
        parts = [_slug(part) for part in value]
    else:
        parts = [_scalar(value)]
    return re.sub(r"[^A-Za-z0-9.+-]+", "-", "-".join(parts)).strip(".")[:_LONGEST] or "empty"


def _flow(value: object) -> str:
    """Return a value as YAML of one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(part)}" for key, part in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, str):
        import json  # noqa: PLC0415 (a string in JSON is one in YAML)

        return json.dumps(value, ensure_ascii=False)
    return _scalar(value)


def _scalar(value: object) -> str:
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _check(recipe: str | Path, points: Sequence[Point], progress: Progress) -> None:
    """Refuse, before anything is trained, what the first training of any point would refuse."""
    audits = [open_audit(recipe, out=point.folder, overrides=point.settings) for point in points]
    new = [audit for audit in audits if not (audit.path / "audit.json").exists()]
    if not new:
        return
    from dpaudit.pipeline.stages.plan import preflight  # noqa: PLC0415 (imports torch; a finished sweep does without)

    with progress.task(f"check {len(new)} points", len(new)) as task:
        for index, audit in enumerate(new):
            preflight(audit)
            task.advance(index + 1)


def _each(executor: Executor, work: Any, points: Sequence[Point]) -> Iterator[Outcome]:
    try:
        yield from executor.each(work, points)
    except BrokenExecutor:  # a process was killed; what it and those behind it had to do is told as failed
        return


def _work(recipe: str, progress: Progress, references: Executor | None, point: Point) -> Outcome:
    """Audit one point, or go on with it."""
    from dpaudit.results import AuditResult  # noqa: PLC0415 (in a process of its own)

    try:
        audit = open_audit(recipe, out=point.folder, overrides=point.settings)
        audit = audit if references is None else audit.with_executor(references)
        advance(audit, "report", progress=progress)
        found = AuditResult.model_validate(read_json(audit.path / "results.json"))
    except DpauditError as error:
        return Outcome(point=point, status="failed", reason=told(error))
    except Exception as error:  # a stranger's plug-in may raise anything, and must not stop the other points
        return Outcome(point=point, status="failed", reason=told(error), log=_logged(point))
    _log_of(point).unlink(missing_ok=True)
    return Outcome(point=point, status="done", verdict=found.verdict.word)


def _log_of(point: Point) -> Path:
    """Return the file beside a point's folder: within it, it would make an empty folder one that is not ours."""
    return point.folder.with_name(f"{point.folder.name}.log")


def _logged(point: Point) -> Path:
    """Write the traceback of the error that is being handled; return the file, readable to its owner alone."""
    path = _log_of(point)
    write_atomically(path, traceback.format_exc().encode(), mode=0o600)
    return path


def _killed(point: Point) -> Outcome:
    reason = "its process was killed, perhaps for its memory; fewer --jobs need less, and the same command continues"
    return Outcome(point=point, status="failed", reason=reason)


def _compared(done: Sequence[Path], out: Path) -> Path | None:
    if not done:
        return None
    from dpaudit.calls.verbs import compare  # noqa: PLC0415 (imports matplotlib)

    compare(done, out=out)
    return out / "compare.html"
