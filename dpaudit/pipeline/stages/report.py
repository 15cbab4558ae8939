"""Report: everything that was found in results.json, and the page and files made from it."""

from __future__ import annotations

import math
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from dpaudit import __version__
from dpaudit.dp.ledger import read_ledger
from dpaudit.pipeline.stages.account import Accounted, read_account
from dpaudit.pipeline.stages.bound import Bounded, read_bounds
from dpaudit.pipeline.stages.references import summaries
from dpaudit.pipeline.stages.start import read_beginning
from dpaudit.reports.files import write_report
from dpaudit.results import AuditResult, Picture, ProbeResult, RunSummary, Series, Value, Verdict
from dpaudit.runs import read_json, write_atomically
from dpaudit.seal import openings
from dpaudit.training.attach import released_model
from dpaudit.training.pictures import captioned, reconstructions, thumbnails
from dpaudit.verdict import decide

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from dpaudit.dp.ledger import LedgerRow
    from dpaudit.pipeline.audit import Audit
    from dpaudit.recipes.recipe import Recipe
    from dpaudit.results import Plan

__all__ = ["paint_audit", "read_results", "report_audit", "report_partial"]

_POINTS = 400


class Painted(Value):
    """pictures.json: the pictures there are."""

    pictures: tuple[Picture, ...]


def paint_audit(audit: Audit) -> list[Path]:
    """Write the pictures of the first target and pictures.json; return the files."""
    folder, population = audit.path / "pictures", audit.population
    held_out = population.split.probe_test if len(population.split.probe_test) else population.split.probe_train
    examples = population.data[held_out[: audit.recipe.report.pictures]]
    model = released_model(audit.job(audit.targets[0]))
    made = reconstructions(folder, audit.trainer, model, examples, audit.public.child("pictures"))
    made += captioned(folder, audit.trainer, model, examples)
    exposed = _bounded(audit).exposed
    if audit.recipe.report.thumbnails and exposed is not None:
        made += thumbnails(folder, population.data[np.array([each.record for each in exposed.records])])
    index = audit.path / "pictures.json"
    write_atomically(index, (Painted(pictures=tuple(made)).model_dump_json(indent=1) + "\n").encode())
    return [index, *(folder / picture.file for picture in made)]


def report_audit(audit: Audit) -> list[Path]:
    """Write results.json, report.html, model_card.md, summary.md and tables/; return the files."""
    return _write(audit, _result(audit, _absent(audit)))


def report_partial(audit: Audit, failed: Mapping[str, str]) -> list[Path]:
    """Write the same of what there is, after stages failed: their names, each with its error in one line."""
    lines = tuple(f"{_in_words(name)} failed: {error}" for name, error in failed.items())
    return _write(audit, _result(audit, (*lines, *_not_done(audit, failed)), partial=True))


def _write(audit: Audit, result: AuditResult) -> list[Path]:
    write_atomically(audit.path / "results.json", (result.model_dump_json(indent=1) + "\n").encode())
    written = write_report(result, audit.path / "pictures", audit.path, audit.recipe.report.public)
    return [audit.path / "results.json", *written]


def read_results(audit: Audit) -> AuditResult:
    """Return what the last report was made from."""
    return AuditResult.model_validate(read_json(audit.path / "results.json"))


def _result(audit: Audit, missing: tuple[str, ...], *, partial: bool = False) -> AuditResult:
    recipe, planned, trained = audit.recipe, audit.planned, _trained(audit)
    bounded, accounted = _bounded(audit), _accounted(audit)
    runs = (*(_summary(audit, name) for name in trained), *_references(audit))
    manifest = read_json(audit.path / trained[0] / "manifest.json") if trained else None
    environment = manifest["environment"] if manifest else {}
    return AuditResult(
        name=recipe.name,
        title=_title(recipe),
        dpaudit_version=environment.get("dpaudit", __version__),
        recipe=recipe.model_dump(mode="json"),
        environment=environment,
        system=f"{recipe.trainer.name}, {manifest['parameters']:,} parameters" if manifest else recipe.trainer.name,
        promise=planned.promise,
        guarantees=accounted.guarantees,
        with_tuning=accounted.with_tuning,
        with_pretraining=accounted.with_pretraining,
        central_limit=accounted.central_limit,
        spent=accounted.spent,
        assumptions=accounted.assumptions,
        beginning=read_beginning(audit) if trained else None,
        runs=runs,
        attacks=bounded.attacks,
        exposed=bounded.exposed,
        bounds=bounded.bounds,
        plans=_costed(planned.plans, runs),
        more_runs=_costed(planned.more_runs, runs),
        probes=_probes(audit),
        pictures=_pictures(audit),
        verdict=_verdict(audit, bounded, accounted),
        commands=("dpaudit run recipe.yaml --out another-folder   # recipe.yaml lies in this run's folder",),
        missing=missing,
        partial=partial,
    )


def _verdict(audit: Audit, bounded: Bounded, accounted: Accounted) -> Verdict:
    """Return the verdict; what was not bounded or not accounted for is never CONSISTENT."""
    planned = audit.planned
    found = decide(planned.promise, bounded.bounds, accounted.assumptions, planned.plans, audit.recipe.bounds.power)
    done = {name: (audit.path / f"{name}.json").exists() for name in ("bounds", "account")}
    if all(done.values()) or found.word in ("VIOLATED", "UNSOUND"):
        return found
    lacks = "no attack has been judged" if not done["bounds"] else "the premises have not been checked"
    sentence = f"This audit is not finished: {lacks}, so nothing can be said of the promise yet."
    return Verdict(word="INCONCLUSIVE", sentence=sentence)


def _trained(audit: Audit) -> tuple[str, ...]:
    return tuple(name for name in audit.targets if (audit.path / "stages" / f"train-{name}.json").exists())


def _bounded(audit: Audit) -> Bounded:
    """Return what the coins said; nothing before they were opened."""
    return read_bounds(audit) if (audit.path / "bounds.json").exists() else Bounded(attacks=(), bounds=())


def _accounted(audit: Audit) -> Accounted:
    if (audit.path / "account.json").exists():
        return read_account(audit)
    return Accounted(guarantees=(), with_tuning=(), central_limit=None, assumptions=())


def _references(audit: Audit) -> tuple[RunSummary, ...]:
    return summaries(audit) if (audit.path / "references.json").exists() else ()


def _pictures(audit: Audit) -> tuple[Picture, ...]:
    path = audit.path / "pictures.json"
    return Painted.model_validate(read_json(path)).pictures if path.exists() else ()


def _absent(audit: Audit) -> tuple[str, ...]:
    """Return the attacks of a finished audit that could not be made."""
    judged = {result.attack for result in _bounded(audit).attacks}
    absent = [named.label for named in audit.attacks if named.label not in judged]
    return tuple(f"Attack {label}: not applicable to this run." for label in absent)


def _not_done(audit: Audit, failed: Mapping[str, str]) -> tuple[str, ...]:
    """Return what was not begun because of what failed."""
    if not any(name.startswith("attack-") for name in failed):
        return ()
    scored = [
        named.label
        for named in audit.attacks
        if all((audit.path / "scores" / name / f"{named.label}.parquet").exists() for name in audit.targets)
    ]
    kept = f" Scores are kept of: {', '.join(scored)}." if scored else ""
    again = "as they were before" if (audit.path / "bounds.json").exists() else "not computed"
    return (f"Attack results and bounds: {again}. The coins are opened once, when every attack has scored.{kept}",)


def _in_words(stage: str) -> str:
    """Return a stage's name as a reader knows it.

    >>> _in_words("attack-target-00-loss"), _in_words("train-target-01"), _in_words("pictures")
    ('Attack loss on target-00', 'Training of target-01', 'Pictures')
    """
    kind, _, rest = stage.partition("-")
    if kind in ("attack", "probe"):
        first, number, label = rest.split("-", 2)
        return f"{kind.title()} {label} on {first}-{number}"
    return f"Training of {rest}" if kind == "train" else stage.capitalize()


def _costed(plans: Sequence[Plan], runs: Sequence[RunSummary]) -> tuple[Plan, ...]:
    """Return the plans with the hours that the runs took, or would have taken had there been more targets."""
    seconds = [run.seconds for run in runs if run.role == "target"]
    if not seconds:
        return tuple(plans)
    target = median(seconds)
    references = math.fsum(run.seconds for run in runs if run.role == "reference")
    return tuple(plan.model_copy(update={"hours": (plan.runs * target + references) / 3600}) for plan in plans)


def _title(recipe: Recipe) -> str:
    title = recipe.title or recipe.name
    return title if recipe.privacy.simulate_batch is None else f"SIMULATION, NOT PRIVATE: {title}"


def _probes(audit: Audit) -> tuple[ProbeResult, ...]:
    paths = [
        audit.path / "probes" / f"{name}-{entry.label}.json" for name in audit.targets for entry in audit.recipe.probes
    ]
    return tuple(ProbeResult.model_validate(read_json(path)) for path in paths if path.exists())


def _summary(audit: Audit, name: str) -> RunSummary:
    run = audit.path / name
    manifest, rows = read_json(run / "manifest.json"), read_ledger(run / "ledger.jsonl")
    return RunSummary(
        name=name,
        role=manifest["role"],
        parameters=manifest["parameters"],
        steps=len(rows),
        seconds=audit.folder.facts(f"train-{name}")["seconds"],
        commitment=manifest["commitment"],
        openings=len(openings(run)),
        curves=_curves(rows),
        facts={f"candidates of {family}": count for family, count in manifest["candidates"].items()}
        | _computed(manifest),
    )


def _computed(manifest: dict[str, Any]) -> dict[str, str]:
    """Return where and in which precision a run was computed; nothing for runs of before that was written down."""
    if "compute" not in manifest:
        return {}
    compute = manifest["compute"]
    devices = [
        each["device"] if each["from_step"] == 0 else f"{each['device']} from step {each['from_step']}"
        for each in compute["devices"]
    ]
    return {"device": ", then ".join(devices), "precision": compute["precision"]}


def _curves(rows: Sequence[LedgerRow]) -> tuple[Series, ...]:
    kept = rows[:: max(1, -(-len(rows) // _POINTS))]
    with_loss = [row for row in kept if row.loss is not None]
    with_norms = [row for row in kept if row.clipped_fraction is not None]
    steps = tuple(float(row.step) for row in kept)
    return (
        Series(name="loss", x=tuple(row.step for row in with_loss), y=tuple(row.loss or 0.0 for row in with_loss)),
        Series(name="drawn batch size", x=steps, y=tuple(row.drawn for row in kept)),
        Series(
            name="clipped fraction",
            x=tuple(row.step for row in with_norms),
            y=tuple(row.clipped_fraction or 0.0 for row in with_norms),
        ),
    )
