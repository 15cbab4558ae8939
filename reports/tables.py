"""The report's tables as CSV, unrounded: bounds, attacks, guarantees, assumptions, probes."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dpaudit.results import AuditResult, Interval

__all__ = ["TABLES", "write_tables"]

Row: TypeAlias = dict[str, object]


def write_tables(result: AuditResult, folder: Path) -> None:
    """Write one CSV per table into `folder`; a table without rows keeps its header. Aggregates only, no records."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (header, rows) in TABLES.items():
        with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, header, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows(result))


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
    return [assumption.model_dump() for assumption in result.assumptions]


def _probes(result: AuditResult) -> list[Row]:
    rows: list[Row] = []
    for probe in result.probes:
        for measurement in probe.measurements:
            row: Row = probe.model_dump(include={"run", "probe", "metric", "train_size", "test_size"})
            row |= {"features": measurement.features} | _interval("score", measurement.score)
            rows.append(row)
    return rows


def _interval(name: str, interval: Interval) -> Row:
    return {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}


def _columns(*names: str) -> tuple[str, ...]:
    return tuple(name + end for name in names for end in ("", "_low", "_high"))


_FPRS = ("0.1", "0.01", "0.001", "0.0001", "0")
_COUNTS = ("canaries", "guesses", "correct", "guesses_in", "guesses_out")
_BOUNDS = (
    *("threat_model", "attack", "hypothesis", "guarantee", "method", "epsilon", "delta", "confidence", "p_value"),
    *("parameter", "strategy", *_COUNTS, "decides", "exploratory", "note"),
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
}
