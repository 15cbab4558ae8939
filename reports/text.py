"""The summary for a terminal: the verdict, the three numbers, the bounds. Plain text, fewer than 25 lines."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from dpaudit.reports import headline, numbers
from dpaudit.reports.standing import by_standing, standing

if TYPE_CHECKING:
    from dpaudit.reports.headline import Number
    from dpaudit.results import AuditResult, Bound

__all__ = ["summary"]

WIDTH = 100
MOST_BOUNDS = 6


def summary(result: AuditResult) -> str:
    """Return the plain-text summary of an audit, at most 24 lines of at most 100 characters."""
    title = _wrap(f"{result.verdict.word}: {result.title or result.name}", 1)
    sentence = _wrap(result.verdict.sentence, 3)
    three = [line for number in _three(result) for line in _number(number)]
    return "\n".join([*title, *sentence, "", *three, "", *_bounds(result), *_missing(result)])


def _three(result: AuditResult) -> tuple[Number, Number, Number]:
    return headline.promised(result), headline.refuted(result), headline.bought(result)


def _number(number: Number) -> list[str]:
    head = f"{number.label:<15}{number.value:>8}   "
    return _wrap(head + "; ".join(number.lines), 2, " " * len(head))


def _bounds(result: AuditResult) -> list[str]:
    if not result.bounds:
        return ["Bounds: none computed"]
    ranked = by_standing(result.bounds)
    hidden = len(ranked) - MOST_BOUNDS
    rows = [_bound(bound) for bound in ranked[:MOST_BOUNDS]]
    return ["Bounds", *rows, *([f"  and {hidden} more in results.json"] if hidden > 0 else [])]


def _bound(bound: Bound) -> str:
    relation = "≈" if bound.guarantee == "estimate" else "≥"
    kind = f"{headline.GUARANTEES[bound.guarantee]}; {headline.HYPOTHESES[bound.hypothesis]}"
    source = ", ".join(part for part in (bound.method, bound.attack) if part)
    return _wrap(f"  {standing(bound).short:<12}ε {relation} {numbers.at_least(bound.epsilon):<7} {kind}; {source}", 1)[
        0
    ]


def _missing(result: AuditResult) -> list[str]:
    return ["", *_wrap(f"Missing: {'; '.join(result.missing)}", 2)] if result.missing else []


def _wrap(text: str, most: int, indent: str = "") -> list[str]:
    return textwrap.wrap(
        text, WIDTH, max_lines=most, placeholder=" …", subsequent_indent=indent, replace_whitespace=False
    ) or [""]
