"""What errors cost where runs are judged together: 1 each, or in whole steps -log of an e-value made from a plan."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from dpaudit.bounds.joint.evidence import best_evidence, expected_errors
from dpaudit.bounds.joint.induction import Penalised

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dpaudit.bounds.family import Family
    from dpaudit.bounds.guesses import Guesses
    from dpaudit.bounds.joint.runs import ErrorRates
    from dpaudit.bounds.tradeoff import TradeOff

__all__ = ["counted", "evidence_penalties", "planned_penalties", "rounded_up", "total"]

Curve = TypeVar("Curve", bound="TradeOff")

#: where penalties are made, as multiples of what runs as planned would certify if each had to refute
_FURTHER = (1.0, 1.02, 1.04, 1.06, 1.08, 1.1, 1.15, 1.2)
#: what runs as planned are expected to add up to
_STEPS = 100
_SHARED = 8  # totals that differ by less share their programs
_LEAST_GROWTH = 1e-3  # of log E in a run as planned: with less, an e-value is next to none


def counted(runs: Sequence[Guesses]) -> Penalised:
    """Return runs of one size of which each error costs 1; errors that no total as seen allows are left out."""
    most = rounded_up(sum(run.guesses - run.correct for run in runs))
    nodes = min(runs[0].guesses, most + 16 + round(4 * math.sqrt(most))) + 1
    return Penalised(runs[0].canaries, runs[0].guesses, len(runs), tuple(range(nodes)))


def rounded_up(most: int) -> int:
    """Return the total up to which chances are bounded together, so that audits of nearly the same share programs.

    >>> rounded_up(0), rounded_up(17)
    (0, 24)
    """
    return -(-most // _SHARED) * _SHARED


def total(runs: Sequence[Guesses], penalties: Sequence[int] | None) -> int | None:
    """Return what the runs' errors cost together, 1 each if no penalties are given; None for too much.

    >>> from dpaudit.bounds.guesses import Guesses
    >>> runs = [Guesses(canaries=9, guesses=5, correct=correct) for correct in (5, 3)]
    >>> total(runs, None), total(runs, (0, 2, 5)), total(runs, (0, 2))
    (2, 5, None)
    """
    errors = [run.guesses - run.correct for run in runs]
    if penalties is None:
        return sum(errors)
    return sum(penalties[wrong] for wrong in errors) if max(errors) < len(penalties) else None


def planned_penalties(
    family: Family[Curve], run: Guesses, runs: int, rates: ErrorRates, alpha: float, usual: float
) -> tuple[int, ...] | None:
    """Return the penalties of an e-value made as far out as runs as planned are expected to refute; None if none grows.

    run: its sizes are those of all `runs`. usual: the parameter to begin at. All of it follows from the plan: no number
    of right guesses is read.
    """
    parameter = None
    for factor in _FURTHER:
        further = usual * factor if family.exposed > family.private else usual / factor
        made = best_evidence(run.canaries, run.guesses, rates.promised, family.curve(further))
        if made is None or runs * made.growth < (-math.log(alpha) if parameter is not None else _LEAST_GROWTH):
            break
        parameter = further
    if parameter is None:
        return None
    return evidence_penalties(run.canaries, run.guesses, rates.promised, runs, family.curve(parameter))


@lru_cache(maxsize=64)
def evidence_penalties(canaries: int, guesses: int, rate: float, runs: int, curve: TradeOff) -> tuple[int, ...] | None:
    """Return -log E of 0, 1, ... errors in whole steps, 0 for none; None where E is not made or says nothing.

    E: the e-value against `curve` for guesses that are wrong with chance `rate`. Of so many errors that E is 0, and
    beyond, it says all: they have no penalty that is paid. Runs as planned are expected to add up to `_STEPS` steps.
    """
    made = best_evidence(canaries, guesses, rate, curve)
    if made is None or made.growth < _LEAST_GROWTH / runs:
        return None
    nodes = made.certificate.cover.size
    values = np.array([made.value(errors, curve) for errors in range(nodes)])
    values = np.minimum.accumulate(values[: int(np.argmax(values <= 0)) if (values <= 0).any() else nodes])
    lost = np.log(values[:1]) - np.log(values)
    law = expected_errors(guesses, rate, len(lost) - 1)
    mean = runs * float(law @ lost) / float(law.sum())
    if len(lost) < 2 or mean <= 0:
        return None
    return tuple(np.rint(lost * (_STEPS / mean)).astype(int).tolist())
