"""One bound from R runs by the product of their e-values, with what each is made for fixed before any coin is seen."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

from dpaudit.bounds.family import Refuted
from dpaudit.bounds.joint.evidence import best_evidence, evidence_box
from dpaudit.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dpaudit.bounds.family import Family
    from dpaudit.bounds.guesses import Guesses
    from dpaudit.bounds.joint.evidence import Evidence
    from dpaudit.bounds.tradeoff import TradeOff

__all__ = ["ErrorRates", "are_multiplied", "evidence_p_value", "largest_by_evidence"]

Curve = TypeVar("Curve", bound="TradeOff")

#: where e-values are made, as multiples of what R runs with expected counts would certify if each had to refute, which
#: is near the truth; between two the upper one's is used
_ANCHORS = (0.5, 0.7, 0.8, 0.84, 0.87, 0.9, 0.92, 0.94, 0.96, 0.98, 1.0, 1.1, 1.25, 1.5, 2.0, 3.0)
#: the part of log(1 / alpha) that runs as promised must earn; beyond, e-values are made for half the noise
_WITHIN_REACH = 0.5
#: edges of the programs of runs of all sizes together; one program of so many takes about a second, and a bound may
#: need one at each anchor
_MOST_EDGES = 300


@dataclass(frozen=True, kw_only=True)
class ErrorRates:
    """The chances that a guess is wrong which e-values are made for: of an ideal attack, as the plan says.

    promised: with the noise that is promised. broken: with half of it; it makes the test of the promise itself, which
    no data that keep the promise speak against.
    """

    promised: float
    broken: float

    def __post_init__(self) -> None:
        for field, rate in (("promised", self.promised), ("broken", self.broken)):
            if not 0 <= rate < 1:
                raise InputError(field, rate, "a chance from 0 to below 1")


def are_multiplied(runs: Sequence[Guesses], rates: ErrorRates) -> bool:
    """Return whether e-values are multiplied: of several runs, unless their programs are too large (by sizes alone)."""
    if len(runs) < 2:
        return False
    sizes = {(run.canaries, run.guesses) for run in runs}
    boxes = [evidence_box(canaries, guesses, rates.promised) for canaries, guesses in sizes if guesses]
    return sum(box.last[0] for box in boxes) <= _MOST_EDGES


def evidence_p_value(curve: TradeOff, runs: Sequence[Guesses], rates: ErrorRates) -> float:
    """Return a p-value of the promise: 1 / the product of the runs' e-values, made for half of its noise."""
    product = _log_product(runs, rates.broken, curve, curve)
    return math.exp(min(0.0, -product))


def largest_by_evidence(
    family: Family[Curve], runs: Sequence[Guesses], rates: ErrorRates, alpha: float, usual: float
) -> Refuted:
    """Return the last curve up to which every curve is refuted: the product of its e-values is at least 1 / alpha.

    usual: parameter around which e-values are made, from the plan and never from the coins. Each curve has its own
    e-value, made at the first anchor that promises no more. The answer and all that promises more is refuted, so it
    exceeds the truth only if the truth's own product reaches 1 / alpha.
    """
    enough, found = math.log(1 / alpha), family.private
    for factor in _ANCHORS:
        anchor = usual * factor if family.exposed > family.private else usual / factor

        made_at = family.curve(anchor)
        rate = rates.promised if _growth(runs, rates.promised, made_at) >= _WITHIN_REACH * enough else rates.broken

        def refuted(at: float, made_at: Curve = made_at, rate: float = rate) -> bool:
            return _log_product(runs, rate, made_at, family.curve(at)) >= enough

        if refuted(anchor):
            found = anchor
            continue
        if refuted(found):
            found = _last(refuted, found, anchor, family.tolerance)
        elif found == family.private:
            return Refuted(parameter=None, epsilon=0.0)
        break
    return Refuted(parameter=found, epsilon=family.epsilon(found))


def _last(holds: Callable[[float], bool], found: float, end: float, tolerance: float) -> float:
    while abs(end - found) > max(tolerance, 1e-5 * abs(end)):
        middle = (found + end) / 2
        found, end = (middle, end) if holds(middle) else (found, middle)
    return found


def _growth(runs: Sequence[Guesses], rate: float, curve: TradeOff) -> float:
    """Return what the logarithm of the product is expected to be, from the runs' sizes alone."""
    made = [_evidence(run.canaries, run.guesses, rate, curve) for run in runs]
    return math.fsum(evidence.growth for evidence in made if evidence is not None)


def _log_product(runs: Sequence[Guesses], rate: float, made_at: TradeOff, curve: TradeOff) -> float:
    total = 0.0
    for run in runs:
        evidence = _evidence(run.canaries, run.guesses, rate, made_at)
        value = 1.0 if evidence is None else evidence.value(run.guesses - run.correct, curve)
        total += math.log(value) if value > 0 else -math.inf
    return total


@lru_cache(maxsize=512)
def _evidence(canaries: int, guesses: int, rate: float, curve: TradeOff) -> Evidence | None:
    return best_evidence(canaries, guesses, rate, curve)
