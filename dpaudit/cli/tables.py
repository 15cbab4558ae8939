"""Tables: aligned on a terminal, tab-separated when piped."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dpaudit.results import Bound, Guarantee, ProbeResult

__all__ = ["bound_rows", "guarantee_rows", "print_table", "probe_rows"]


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows, the first of them the header."""
    if not sys.stdout.isatty():
        for row in rows:
            typer.echo("\t".join(row))
        return
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def bound_rows(bounds: Sequence[Bound]) -> list[list[str]]:
    """Return the table of bounds, the threat model first."""
    rows = [["threat model", "attack", "method", "hypothesis", "guarantee", "epsilon", "confidence", "decides"]]
    for bound in bounds:
        facts = [str(bound.threat or ""), bound.attack, bound.method, bound.hypothesis, bound.guarantee]
        rows.append([*facts, f"{bound.epsilon:.3f}", f"{bound.confidence:g}", "yes" if bound.decides else "no"])
    return rows


def guarantee_rows(guarantees: Sequence[Guarantee]) -> list[list[str]]:
    """Return the table of accountants."""
    rows = [["accountant", "epsilon", "delta", "adjacency", "note"]]
    for answer in guarantees:
        epsilon = "none" if answer.epsilon is None else f"{'> ' if answer.exceeds else ''}{answer.epsilon:.3f}"
        rows.append([answer.accountant, epsilon, f"{answer.delta:g}", answer.adjacency, answer.note])
    return rows


def probe_rows(results: Sequence[ProbeResult]) -> list[list[str]]:
    """Return the table of probes, one row per kind of features."""
    rows = [["run", "probe", "features", "score", "interval"]]
    for result in results:
        for measured in result.measurements:
            score = measured.score
            interval = f"{score.low:.3f} to {score.high:.3f}"
            rows.append([result.run, result.probe, measured.features, f"{score.value:.3f}", interval])
    return rows
