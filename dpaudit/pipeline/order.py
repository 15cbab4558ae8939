"""The order of stages: which are done and which are to do.

A stage's key is the hash of what it depends on. The same command run again continues where it stopped, and decides
that nothing is to do without importing torch.
"""

from __future__ import annotations

import errno
import shutil
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from dpaudit import __version__
from dpaudit.errors import DpauditError, InputError
from dpaudit.pipeline.audit import Audit, NamedAttack, Planned
from dpaudit.progress import Silent
from dpaudit.recipes.recipe import AttackEntry, completed, differences, load_recipe, resolved
from dpaudit.runs import RunFolder, content_key, read_json, write_atomically, write_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from dpaudit.progress import Progress

__all__ = ["Goal", "advance", "explore", "open_audit", "open_run", "told"]

Goal = Literal["plan", "train", "attack", "bound", "account", "probe", "report"]
_ORDER: tuple[Goal, ...] = ("plan", "train", "attack", "bound", "account", "probe", "report")
_INDEX, _SCHEMA = "audit.json", 2
Work: TypeAlias = tuple[list[Path], dict[str, Any]]  #: output files, and facts for the record


@dataclass(frozen=True)
class Stage:
    """A piece of work with a key. The record is written when `work` returns."""

    goal: Goal
    name: str
    key: str
    work: Callable[[Progress], Work]


def open_audit(
    recipe: str | Path,
    *,
    out: str | Path | None = None,
    overrides: Sequence[str] = (),
    attacks: Sequence[str] = (),
    device: str | None = None,
) -> Audit:
    """Return the audit of a recipe, or of a run folder that was begun; nothing is written.

    attacks: names to append to the recipe's; a finished folder is attacked by `explore`. device: where to compute, in
    place of the recipe's; a run folder keeps the recipe's.
    """
    source = Path(recipe)
    if (source / _INDEX).is_file():
        if attacks:
            expected = f"no run folder, whose attacks are fixed: dpaudit attack {source} --attack {attacks[0]}"
            raise InputError("--attack", attacks[0], expected)
        if overrides or out:
            raise InputError("--set, --out", str(recipe), "a recipe: a run folder keeps the recipe it was begun with")
        return Audit(RunFolder(source), load_recipe(source / "recipe.yaml"), device)
    loaded = load_recipe(recipe, overrides, attacks)
    return Audit(RunFolder(Path(out) if out else Path("runs") / loaded.recipe.name), loaded, device)


def open_run(folder: str | Path, *, device: str | None = None) -> Audit:
    """Return the audit of a run folder; InputError when it is none."""
    if not (Path(folder) / _INDEX).is_file():
        raise InputError("run", str(folder), "a folder that `dpaudit run` or `dpaudit train` has begun")
    return open_audit(folder, device=device)


def explore(audit: Audit, name: str, options: dict[str, object]) -> Audit:
    """Return the audit with one more attack, which was not in the recipe: exploratory, so it never decides."""
    path = audit.path / "exploratory.json"
    entries = read_json(path) if path.exists() else []
    entry = AttackEntry.model_validate({"name": name, **options})
    dumped = entry.model_dump(mode="json")
    if dumped in entries:
        return audit
    if entry.label in {named.label for named in audit.attacks}:
        raise InputError("--attack", entry.label, "a label that no attack of this run has (--set label=...)")
    from dpaudit.pipeline.stages.plan import check_attack  # noqa: PLC0415 (a finished folder does without)

    check_attack(audit, NamedAttack(entry=entry, field="--attack", exploratory=True))
    with audit.folder.lock():
        write_json(path, [*entries, dumped])
    return replace(audit)  # anew: what it has read of its attacks is outdated


def advance(audit: Audit, goal: Goal, *, fresh: bool = False, progress: Progress | None = None) -> None:
    """Do all that is not done, up to and including `goal`. Bad input is refused before anything is written.

    Where a stage before the report fails, what does not wait for it is done, a partial report says what is missing, and
    its error is raised. No coin is opened for that.
    """
    progress, planned = progress or Silent(), None
    if fresh or not (audit.path / _INDEX).exists():
        _check_place(audit.folder, fresh=fresh)
        planned = _preflight(audit, progress)
    try:
        with audit.folder.lock():
            _begin(audit, fresh=fresh)
            _work(audit, goal, planned, progress)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DpauditError(f"no space left on the disk under {audit.path}; the previous state is whole") from error


def _preflight(audit: Audit, progress: Progress) -> Planned:
    with progress.task("check and plan", 1) as task:
        from dpaudit.pipeline.stages.plan import preflight  # noqa: PLC0415 (imports torch; a finished folder does without)

        planned = preflight(audit)
        task.advance(1)
    if planned.promise.note:
        progress.say(f"{audit.recipe.name}: {planned.promise.note}")
    return planned


def _work(audit: Audit, goal: Goal, planned: Planned | None, progress: Progress) -> None:
    ran: set[Goal] = set()
    failed: dict[str, Exception] = {}
    for stage in _stages(audit, planned):
        if _ORDER.index(stage.goal) > _ORDER.index(goal) or (failed and _waits(stage, failed)):
            continue
        outdated = (
            (stage.goal == "bound" and "attack" in ran)
            or (stage.name == "pictures" and "bound" in ran)
            or (stage.name == "report" and bool(ran))
        )
        if not outdated and audit.folder.done(stage.name, stage.key):
            continue
        try:
            outputs, facts = stage.work(progress)
        except (InputError, OSError):
            raise
        except Exception as error:
            if goal != "report" or stage.name in ("plan", "report"):
                raise
            failed[stage.name] = error
            progress.say(f"{stage.name} failed: {told(error)}")
            continue
        audit.folder.finish(stage.name, stage.key, outputs, **facts)
        ran.add(stage.goal)
    if failed:
        _partial(audit, failed, progress)
        raise next(iter(failed.values()))


def _waits(stage: Stage, failed: dict[str, Exception]) -> bool:
    """Return whether a stage has nothing to do after these failures: no coin is opened while a score is missing."""
    names = tuple(failed)
    if stage.name == "report" or any(name == "start" or name.startswith(("train-", "references")) for name in names):
        return True
    scores_lack = any(name.startswith("attack-") for name in names)
    return stage.name in ("forget-references", "bound") and scores_lack


def _partial(audit: Audit, failed: dict[str, Exception], progress: Progress) -> None:
    from dpaudit.pipeline.stages.report import report_partial  # noqa: PLC0415 (imports torch)

    audit.folder.forget("report")
    report_partial(audit, {name: told(error) for name, error in failed.items()})
    progress.say(f"partial report: {audit.path / 'report.html'}; the same command tries again")


def told(error: Exception) -> str:
    r"""Return an error in one line; the kind of one that is not dpaudit's own is named.

    >>> told(ValueError("3 scores\nfor 4 records")), told(KeyError())
    ('ValueError: 3 scores for 4 records', 'KeyError')
    """
    text = " ".join(str(error).split())
    if isinstance(error, DpauditError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _begin(audit: Audit, *, fresh: bool) -> None:
    index = audit.path / _INDEX
    earlier = _trainings(audit) if index.exists() else 0
    if fresh:
        _clear(audit.path)
    now = {
        "schema_version": _SCHEMA,
        "recipe": audit.recipe.model_dump(mode="json"),
        "data fingerprint": audit.fingerprint,
        "start fingerprint": audit.start_fingerprint,
    }
    if not index.exists():
        write_atomically(audit.path / "recipe.yaml", resolved(audit.recipe).encode())
        write_json(index, {**now, "earlier trainings": earlier})
        return
    begun = read_json(index)
    begun["recipe"] = completed(begun.get("recipe"))
    changes = differences({key: begun.get(key) for key in now}, now)
    changes = [change for change in changes if not change.startswith(("recipe.report.", "recipe.compute.device:"))]
    if changes:
        expected = "the recipe and data it was begun with; --fresh starts over, another --out keeps both"
        raise InputError(f"{audit.path}", "; ".join(changes[:5]), expected)


def _trainings(audit: Audit) -> int:
    """Return how many targets have been trained in this folder on these data, those that were deleted included."""
    begun = read_json(audit.path / _INDEX)
    if begun.get("data fingerprint") != audit.fingerprint:
        return 0
    finished = list((audit.path / "stages").glob("train-target-*.json"))
    return int(begun.get("earlier trainings", 0)) + len(finished)


def _check_place(folder: RunFolder, *, fresh: bool) -> None:
    if not folder.path.exists():
        return
    if not folder.path.is_dir():
        raise InputError("--out", str(folder.path), "a folder")
    names = {path.name for path in folder.path.iterdir()} - {".lock"}
    if names and _INDEX not in names:
        expected = "a folder that dpaudit wrote: --fresh deletes no other" if fresh else "an empty or new folder"
        raise InputError("--out", str(folder.path), expected)


def _clear(path: Path) -> None:
    for entry in path.iterdir():
        if entry.name == ".lock":
            continue
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _stages(audit: Audit, planned: Planned | None) -> Iterator[Stage]:
    """Yield every stage in order. What a stage imports, it imports when it works."""
    key, entries = audit.key, [named.entry.model_dump(mode="json") for named in audit.attacks]
    yield Stage("plan", "plan", content_key(key, "plan"), lambda _: _plan(audit, planned))
    if audit.recipe.start is not None:
        yield Stage("train", "start", audit.start_key, partial(_start, audit))
    for name in audit.targets:
        yield Stage("train", f"train-{name}", content_key(key, "train", name), partial(_train, audit, name))
    if audit.references:
        yield Stage("train", "references", content_key(key, "references"), partial(_references, audit))
    for name in audit.targets:
        for named, entry in zip(audit.attacks, entries, strict=True):
            stage_key = content_key(key, "attack", name, entry)
            yield Stage("attack", f"attack-{name}-{named.label}", stage_key, partial(_attack, audit, name, named))
    if audit.references and not audit.recipe.references.keep_weights:
        yield Stage("attack", "forget-references", content_key(key, "forget", entries), lambda _: _forget(audit))
    bound_key = content_key(key, "bound", entries)
    yield Stage("bound", "bound", bound_key, partial(_bound, audit))
    yield Stage("account", "account", content_key(key, "account", "spent"), lambda _: _account(audit))
    for name in audit.targets:
        for index, probe in enumerate(audit.recipe.probes):
            stage_key = content_key(key, "probe", name, index)
            yield Stage("probe", f"probe-{name}-{probe.label}", stage_key, partial(_probe, audit, name, index))
    shown = audit.recipe.report.model_dump(mode="json")
    yield Stage("report", "pictures", content_key(key, "pictures", shown), lambda _: _paint(audit))
    report_key = content_key(bound_key, "report", shown, __version__)
    yield Stage("report", "report", report_key, lambda _: _report(audit))


def _plan(audit: Audit, planned: Planned | None) -> Work:
    from dpaudit.pipeline.stages.plan import plan_audit, preflight  # noqa: PLC0415 (imports torch)

    return plan_audit(audit, planned or preflight(audit)), {}


def _start(audit: Audit, progress: Progress) -> Work:
    from dpaudit.pipeline.stages.start import make_start  # noqa: PLC0415 (imports torch)

    return make_start(audit, progress), {}


def _train(audit: Audit, name: str, progress: Progress) -> Work:
    from dpaudit.pipeline.stages.train import train_run  # noqa: PLC0415 (imports torch)

    return train_run(audit, name, progress)


def _references(audit: Audit, progress: Progress) -> Work:
    from dpaudit.pipeline.stages.references import train_references  # noqa: PLC0415 (imports torch)

    return train_references(audit, progress), {}


def _forget(audit: Audit) -> Work:
    from dpaudit.pipeline.stages.references import forget_weights  # noqa: PLC0415 (imports torch)

    return forget_weights(audit), {}


def _attack(audit: Audit, name: str, named: NamedAttack, progress: Progress) -> Work:
    from dpaudit.pipeline.stages.attack import score_run  # noqa: PLC0415 (imports torch)

    return score_run(audit, name, named, progress), {}


def _bound(audit: Audit, progress: Progress) -> Work:
    from dpaudit.pipeline.stages.bound import bound_audit  # noqa: PLC0415 (imports torch)

    return bound_audit(audit, progress), {}


def _account(audit: Audit) -> Work:
    from dpaudit.pipeline.stages.account import account_audit  # noqa: PLC0415 (imports torch)

    return account_audit(audit), {}


def _probe(audit: Audit, name: str, index: int, progress: Progress) -> Work:
    from dpaudit.pipeline.stages.probe import probe_run  # noqa: PLC0415 (imports torch)

    return probe_run(audit, name, index, progress), {}


def _paint(audit: Audit) -> Work:
    from dpaudit.pipeline.stages.report import paint_audit  # noqa: PLC0415 (imports torch)

    return paint_audit(audit), {}


def _report(audit: Audit) -> Work:
    from dpaudit.pipeline.stages.report import report_audit  # noqa: PLC0415 (imports torch)

    return report_audit(audit), {}
