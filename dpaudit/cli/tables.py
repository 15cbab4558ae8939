"""Tables: aligned on a terminal, tab-separated when piped."""

from __future__ import annotations

import shutil
import sys
import textwrap
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dpaudit.results import Bound, ProbeResult

__all__ = ["bound_rows", "print_json", "print_table", "probe_rows"]

_LEAST_ROOM = 20  # columns


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows, the first of them the header; a long last cell is wrapped to the terminal."""
    if not sys.stdout.isatty():
        for row in rows:
            typer.echo("\t".join(row))
        return
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    left = sum(widths[:-1]) + 2 * len(widths[:-1])
    for row in rows:
        start = "".join(cell.ljust(width + 2) for cell, width in zip(row, widths[:-1], strict=False))
        for line in _wrapped(row[-1], shutil.get_terminal_size().columns - left):
            typer.echo((start + line).rstrip())
            start = " " * left


def print_json(value: object) -> None:
    """Print a value as JSON on standard output."""
    import json  # noqa: PLC0415 (imports stay lazy for --help)

    typer.echo(json.dumps(value, indent=1))


def _wrapped(cell: str, room: int) -> list[str]:
    """Return the lines of a row's last cell; one line where there is too little room to wrap."""
    return (textwrap.wrap(cell, room, break_on_hyphens=False) if room >= _LEAST_ROOM else []) or [cell]


def bound_rows(bounds: Sequence[Bound]) -> list[list[str]]:
    """Return the table of bounds, the threat model first."""
    rows = [["threat model", "attack", "method", "hypothesis", "guarantee", "epsilon", "confidence", "decides"]]
    for bound in bounds:
        facts = [str(bound.threat or ""), bound.attack, bound.method, bound.hypothesis, bound.guarantee]
        rows.append([*facts, f"{bound.epsilon:.3f}", _confidence(bound), "yes" if bound.decides else "no"])
    return rows


def _confidence(bound: Bound) -> str:
    """Return the confidence; that of an estimate is what its formula was given, and no promise."""
    if bound.confidence is None:
        return "none"
    return f"{bound.confidence:g}{' (nominal)' if bound.guarantee == 'estimate' else ''}"


def probe_rows(results: Sequence[ProbeResult]) -> list[list[str]]:
    """Return the table of probes, one row per kind of features."""
    rows = [["run", "probe", "features", "score", "interval"]]
    for result in results:
        for measured in result.measurements:
            score = measured.score
            interval = f"{score.low:.3f} to {score.high:.3f}"
            rows.append([result.run, result.probe, measured.features, f"{score.value:.3f}", interval])
    return rows
