"""The summary as Markdown: the verdict, the three numbers and every table, to be pasted into an issue or a README."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dpaudit.reports import foresight, headline
from dpaudit.reports.sheets import sheets

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dpaudit.reports.sheets import Sheet
    from dpaudit.results import AuditResult

__all__ = ["markdown_summary", "markdown_table", "plain"]


def markdown_summary(result: AuditResult) -> str:
    """Return the report as Markdown, without curves and pictures."""
    verdict = result.verdict
    parts = [
        f"# {plain(result.title or result.name)}",
        f"**{verdict.word}** (partial report)" if result.partial else f"**{verdict.word}**",
        plain(verdict.sentence),
        *(["\n".join(f"- {plain(reason)}" for reason in verdict.reasons)] if verdict.reasons else []),
        f"*{plain(headline.gloss(result))}*",
    ]
    for sheet in sheets(result):
        parts += [] if sheet.name == "numbers" else [f"## {plain(sheet.caption)}"]
        parts.append(markdown_table(sheet))
        parts += [f"*{plain(sheet.note)}*"] if sheet.note else []
        parts += [plain(line) for line in foresight.more_runs(result)] if sheet.name == "plans" else []
    if result.missing:
        parts += ["## What is missing", "\n".join(f"- {plain(line)}" for line in result.missing)]
    if result.commands:
        parts += ["## How to reproduce this", "```\n" + "\n".join(result.commands) + "\n```"]
    parts.append(f"Made by dpaudit {result.dpaudit_version} from results.json. System: {plain(result.system)}.")
    return "\n\n".join(parts) + "\n"


def markdown_table(sheet: Sheet) -> str:
    r"""Return a table in the pipe syntax, numbers aligned right.

    >>> from dpaudit.reports.sheets import Sheet
    >>> sheet = Sheet(name="n", caption="N", header=("A", "B"), numeric=frozenset({1}), rows=(("a|b", "1"),))
    >>> print(markdown_table(sheet))
    | A | B |
    | --- | ---: |
    | a\|b | 1 |
    """
    rule = ("---:" if place in sheet.numeric else "---" for place in range(len(sheet.header)))
    lines = [_row(plain(cell) for cell in sheet.header), _row(rule)]
    return "\n".join([*lines, *(_row(plain(cell) for cell in row) for row in sheet.rows)])


def plain(text: str) -> str:
    r"""Return text on one line in which Markdown sees no markup: no tags, emphasis, links or cells.

    >>> print(plain("<b> a_b* |c|"))
    &lt;b&gt; a\_b\* \|c\|
    """
    line = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    for mark in "\\`*_[]|":
        line = line.replace(mark, f"\\{mark}")
    return line


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"
