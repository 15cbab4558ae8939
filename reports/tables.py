"""The report's tables as CSV, unrounded: bounds, attacks, guarantees, assumptions, probes, plans, epsilon by step."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dpaudit.results import AuditResult, Hypothesis, Interval

__all__ = ["TABLES", "write_tables"]

Row: TypeAlias = dict[str, object]


def write_tables(result: AuditResult, folder: Path) -> list[Path]:
    """Write one CSV per table into `folder`; return them. One without rows keeps its header. Aggregates, no records."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (header, rows) in TABLES.items():
        with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, header, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows(result))
    return [folder / f"{name}.csv" for name in TABLES]


def _bounds(result: AuditResult) -> list[Row]:
    rows: list[Row] = []
    for bound in result.bounds:
        row: Row = bound.model_dump(include=set(_BOUNDS))
        counts = bound.counts.model_dump()
        row |= {name: " ".join(map(str, counts[name])) for name in counts}
        row["threat_model"] = "" if bound.threat is None else str(bound.threat)
        rows.append(row)
    return rows


def _attacks(result: AuditResult) -> list[Row]:
    rows: list[Row] = []
    for attack in result.attacks:
        row: Row = attack.model_dump(include=set(_ATTACKS))
        row["threat_model"] = str(attack.threat)
        row |= _interval("auc", attack.auc) | _interval("balanced_accuracy", attack.balanced_accuracy)
        for fpr in _FPRS:
            if fpr in attack.tpr_at_fpr:
                row |= _interval(f"tpr_at_fpr_{fpr}", attack.tpr_at_fpr[fpr])
        rows.append(row)
    return rows


def _guarantees(result: AuditResult) -> list[Row]:
    before = "yes" if result.with_pretraining else "no"
    groups = (
        ("no", "no", result.guarantees),
        ("no", "yes", result.with_pretraining),
        ("yes", before, result.with_tuning),
    )
    return [
        {**answer.model_dump(), "with_tuning": tuned, "with_pretraining": pretrained}
        for tuned, pretrained, answers in groups
        for answer in answers
    ]


def _assumptions(result: AuditResult) -> list[Row]:
    return [assumption.model_dump(exclude={"public"}) for assumption in result.assumptions]


def _probes(result: AuditResult) -> list[Row]:
    rows: list[Row] = []
    for probe in result.probes:
        for measurement in probe.measurements:
            row: Row = probe.model_dump(include={"run", "probe", "metric", "train_size", "test_size"})
            row |= {"features": measurement.features} | _interval("score", measurement.score)
            rows.append(row)
    return rows


def _plans(result: AuditResult) -> list[Row]:
    groups = (("yes", result.plans), ("no", result.more_runs))
    return [
        plan.model_dump(include=set(_PLANS))
        | {f"expected_epsilon_{name}": plan.expected.get(name, "") for name in _HYPOTHESES}
        | {f"largest_epsilon_{name}": plan.largest.get(name, "") for name in _HYPOTHESES}
        | {"done": done}
        for done, plans in groups
        for plan in plans
    ]


def _spent(result: AuditResult) -> list[Row]:
    if result.spent is None:
        return []
    delta = result.promise.delta
    return [
        {"step": int(step), "epsilon": epsilon, "delta": delta}
        for step, epsilon in zip(result.spent.x, result.spent.y, strict=True)
    ]


def _interval(name: str, interval: Interval) -> Row:
    return {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}


def _columns(*names: str) -> tuple[str, ...]:
    return tuple(name + end for name in names for end in ("", "_low", "_high"))


_FPRS = ("0.1", "0.01", "0.001", "0.0001", "0")
_HYPOTHESES: tuple[Hypothesis, ...] = ("any", "gaussian", "accountant")
_COUNTS = ("canaries", "guesses", "correct", "guesses_in", "guesses_out")
_BOUNDS = (
    *("threat_model", "attack", "hypothesis", "guarantee", "method", "epsilon", "delta", "confidence", "p_value"),
    *("parameter", "strategy", *_COUNTS, "decides", "exploratory", "one_step", "note"),
)
_PLANS = (
    *("attack", "method", "done", "runs", "canaries", "guesses_in", "guesses_out", "expected_epsilon", "power"),
    *("largest_epsilon", *(f"{kind}_epsilon_{name}" for kind in ("expected", "largest") for name in _HYPOTHESES)),
    *("hours", "note"),
)
_ATTACKS = (
    *("threat_model", "attack", "run", "family", "candidates", "members"),
    *_columns("auc", "balanced_accuracy", *(f"tpr_at_fpr_{fpr}" for fpr in _FPRS)),
    *("coin_blindness_p", "exploratory"),
)
#: file name -> (columns, rows of a result)
TABLES: dict[str, tuple[tuple[str, ...], Callable[[AuditResult], list[Row]]]] = {
    "bounds": (_BOUNDS, _bounds),
    "attacks": (_ATTACKS, _attacks),
    "guarantees": (
        ("accountant", "epsilon", "delta", "adjacency", "exceeds", "with_tuning", "with_pretraining", "note"),
        _guarantees,
    ),
    "assumptions": (("name", "status", "evidence", "certified"), _assumptions),
    "probes": (("run", "probe", "metric", "features", *_columns("score"), "train_size", "test_size"), _probes),
    "plans": (_PLANS, _plans),
    "spent": (("step", "epsilon", "delta"), _spent),
}
