"""Turns finished run folders of docs/examples/attacks-*.yaml into the tables of docs/attacks.md.

    python docs/examples/attacks_table.py runs/attacks-*

A cell is the AUC with its 95 % interval (DeLong's). Below stand the smallest p-value of "the attack guesses by chance",
on the trained and on the untrained model, and the largest AUC that the accountant's curve allows any attack.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from scipy.special import logit, ndtr, ndtri

from dpaudit.bounds.auc import largest_auc
from dpaudit.pipeline.hypotheses import promise_curve
from dpaudit.results import AuditResult

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dpaudit.results import AttackResult, Interval


def table(results: Sequence[AuditResult]) -> str:
    """Return one column for each run, one row for each attack, as Markdown."""
    names = dict.fromkeys(attack.attack for result in results for attack in result.attacks)
    found = [{attack.attack: attack for attack in result.attacks} for result in results]
    rows = [("attack", *(str(result.recipe["trainer"]["name"]) for result in results))]
    rows += [(name, *(cell(column.get(name)) for column in found)) for name in sorted(names, key=last_controls)]
    rows += [("largest AUC allowed", *(number(cap(result)) for result in results))]
    rows += [("smallest p, trained", *(least(chance(each.auc) for each in result.attacks) for result in results))]
    rows += [("smallest p, untrained", *(least(map(untrained, result.attacks)) for result in results))]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|---" * len(rows[0]) + "|", *lines[1:]])


def cap(result: AuditResult) -> float | None:
    """Return the largest AUC of any attack on the promised mechanism, over all false-positive rates; None = no promise.

    That is 1 less the integral of the accountant's trade-off curve.
    """
    curve = promise_curve(result.promise)
    return None if curve is None else largest_auc(curve)


def chance(auc: Interval) -> float:
    """Return the two-sided p-value of AUC 1/2: asymptotic, by the interval's own variance on the logit scale.

    >>> from dpaudit.results import Interval
    >>> round(chance(Interval(value=0.55, low=0.5, high=0.599, confidence=0.95)), 2)
    0.05
    """
    if auc.value in (0.0, 1.0):
        return 0.0
    width = (logit(auc.high) - logit(auc.low)) / 2 / ndtri((1 + auc.confidence) / 2)
    return float(2 * ndtr(-abs(logit(auc.value)) / width))


def untrained(attack: AttackResult) -> float:
    """Return the exact p-value that the same attack has on the untrained model; 1 where it sees no model."""
    return 1.0 if attack.coin_blindness_p is None else attack.coin_blindness_p


def cell(attack: AttackResult | None) -> str:
    """Return the AUC with its interval, or nothing where the system offers no such attack."""
    if attack is None:
        return ""
    return f"{attack.auc.value:.3f} [{attack.auc.low:.3f}, {attack.auc.high:.3f}]"


def number(value: float | None) -> str:
    """Return a number, or 1 where nothing was promised."""
    return "1" if value is None else f"{value:.3f}"


def least(values: Iterable[float]) -> str:
    """Return the smallest of some p-values."""
    return f"{min(values):.2g}"


def last_controls(name: str) -> bool:
    """Return whether an attack is a control, which stand at the end."""
    return name in ("blind", "random")


if __name__ == "__main__":
    folders = [Path(argument) for argument in sys.argv[1:]]
    read = [AuditResult.model_validate_json((folder / "results.json").read_text("utf-8")) for folder in folders]
    sys.stdout.write(table(read) + "\n")
