"""Report: everything that was found in results.json, and the page made from it."""

from __future__ import annotations

import math
from statistics import median
from typing import TYPE_CHECKING

from dpaudit.dp.ledger import read_ledger
from dpaudit.pipeline.stages.account import read_account
from dpaudit.pipeline.stages.bound import read_bounds
from dpaudit.pipeline.stages.references import summaries
from dpaudit.pipeline.stages.start import read_beginning
from dpaudit.reports.html import write_report
from dpaudit.results import AuditResult, Picture, ProbeResult, RunSummary, Series, Value
from dpaudit.runs import read_json, write_atomically
from dpaudit.seal import openings
from dpaudit.training.attach import released_model
from dpaudit.training.pictures import captioned, reconstructions
from dpaudit.verdict import decide

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from dpaudit.dp.ledger import LedgerRow
    from dpaudit.pipeline.audit import Audit
    from dpaudit.recipes.recipe import Recipe
    from dpaudit.results import Plan

__all__ = ["paint_audit", "read_results", "report_audit"]

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
    index = audit.path / "pictures.json"
    write_atomically(index, (Painted(pictures=tuple(made)).model_dump_json(indent=1) + "\n").encode())
    return [index, *(folder / picture.file for picture in made)]


def report_audit(audit: Audit) -> list[Path]:
    """Write results.json, report.html and tables/; return the files."""
    result = _result(audit)
    write_atomically(audit.path / "results.json", (result.model_dump_json(indent=1) + "\n").encode())
    write_report(result, audit.path / "pictures", audit.path, audit.recipe.report.public)
    tables = sorted((audit.path / "tables").glob("*.csv"))
    return [audit.path / "results.json", audit.path / "report.html", *tables]


def read_results(audit: Audit) -> AuditResult:
    """Return what the last report was made from."""
    return AuditResult.model_validate(read_json(audit.path / "results.json"))


def _result(audit: Audit) -> AuditResult:
    recipe, planned = audit.recipe, audit.planned
    bounded, accounted = read_bounds(audit), read_account(audit)
    verdict = decide(planned.promise, bounded.bounds, accounted.assumptions, planned.plans, recipe.bounds.power)
    runs = (*(_summary(audit, name) for name in audit.targets), *summaries(audit))
    manifest = read_json(audit.path / audit.targets[0] / "manifest.json")
    judged = {result.attack for result in bounded.attacks}
    return AuditResult(
        name=recipe.name,
        title=_title(recipe),
        dpaudit_version=manifest["environment"]["dpaudit"],
        recipe=recipe.model_dump(mode="json"),
        environment=manifest["environment"],
        system=f"{recipe.trainer.name}, {manifest['parameters']:,} parameters",
        promise=planned.promise,
        guarantees=accounted.guarantees,
        with_tuning=accounted.with_tuning,
        with_pretraining=accounted.with_pretraining,
        central_limit=accounted.central_limit,
        assumptions=accounted.assumptions,
        beginning=read_beginning(audit),
        runs=runs,
        attacks=bounded.attacks,
        bounds=bounded.bounds,
        plans=_costed(planned.plans, runs),
        more_runs=_costed(planned.more_runs, runs),
        probes=_probes(audit),
        pictures=Painted.model_validate(read_json(audit.path / "pictures.json")).pictures,
        verdict=verdict,
        commands=("dpaudit run recipe.yaml --out another-folder   # recipe.yaml lies in this run's folder",),
        missing=tuple(
            f"Attack {named.label}: not applicable to this run." for named in audit.attacks if named.label not in judged
        ),
    )


def _costed(plans: Sequence[Plan], runs: Sequence[RunSummary]) -> tuple[Plan, ...]:
    """Return the plans with the hours that the runs took, or would have taken had there been more targets."""
    target = median(run.seconds for run in runs if run.role == "target")
    references = math.fsum(run.seconds for run in runs if run.role == "reference")
    return tuple(plan.model_copy(update={"hours": (plan.runs * target + references) / 3600}) for plan in plans)


def _title(recipe: Recipe) -> str:
    title = recipe.title or recipe.name
    return title if recipe.privacy.simulate_batch is None else f"SIMULATION, NOT PRIVATE: {title}"


def _probes(audit: Audit) -> tuple[ProbeResult, ...]:
    return tuple(
        ProbeResult.model_validate(read_json(audit.path / "probes" / f"{name}-{entry.label}.json"))
        for name in audit.targets
        for entry in audit.recipe.probes
    )


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
        facts={f"candidates of {family}": count for family, count in manifest["candidates"].items()},
    )


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
