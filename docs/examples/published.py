"""Sets the papers' numbers beside those of finished audits: the tables of docs/published.md.

    python docs/examples/published.py runs/*

Theirs are in `dpaudit.reports.papers`, with where each was read; ours are read from the results.json of each folder.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from dpaudit.reports.papers import PAPERS, READ, Paper, Row, ours, published_rows
from dpaudit.results import AuditResult

HEADER = ("from", "what", "value", "epsilon", "records", "batch", "steps", "read in")


def tables(runs: dict[str, AuditResult]) -> str:
    """Return one table for every paper, as Markdown."""
    legend = "; ".join(f"*{word}*: {meaning}" for word, meaning in READ.items())
    return "\n".join([*(line for paper in PAPERS for line in table(paper, runs)), f"Read in: {legend}."])


def table(paper: Paper, runs: dict[str, AuditResult]) -> list[str]:
    """Return the lines of one table: theirs, then ours in bold."""
    rows = [*published_rows(paper), *ours(runs, paper.trainer)]
    rule = "|" + "---|" * len(HEADER)
    note = [f"{paper.lacking}", ""] if paper.lacking else []
    found = [] if any(row.is_ours for row in rows) else ["No audit of ours was given.", ""]
    return [f"### {paper.system}: {paper.data}", "", line(HEADER), rule, *map(cells, rows), "", *note, *found]


def cells(row: Row) -> str:
    """Return one row; ours stands out."""
    system = f"**{row.system}**" if row.is_ours else row.system
    return line((system, row.what, row.value, row.epsilon, row.records, row.batch, row.steps, row.source))


def line(words: tuple[str, ...]) -> str:
    """Return words as a row of a table."""
    return f"| {' | '.join(words)} |"


def finished(folders: list[Path]) -> dict[str, AuditResult]:
    """Return what the folders with a results.json hold, by name."""
    paths = [folder / "results.json" for folder in sorted(folders)]
    return {
        path.parent.name: AuditResult.model_validate(json.loads(path.read_text(encoding="utf-8")))
        for path in paths
        if path.is_file()
    }


if __name__ == "__main__":
    sys.stdout.write(tables(finished([Path(name) for name in sys.argv[1:]])) + "\n")
