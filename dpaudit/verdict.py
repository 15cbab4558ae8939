"""The verdict: one word by a fixed order of precedence, and the sentence that a manager reads."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from dpaudit.results import Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dpaudit.results import Assumption, Bound, Plan, Promise

__all__ = ["decide"]


def decide(
    promise: Promise,
    bounds: Sequence[Bound],
    assumptions: Sequence[Assumption],
    plans: Sequence[Plan],
    power: float,
) -> Verdict:
    """Return VIOLATED, UNSOUND, INCONCLUSIVE or CONSISTENT, in this order of precedence.

    VIOLATED: a certified bound that was named to decide refutes the promise's own curve at its share of alpha, or a
    premise has a deterministic counter-example (record and replay).
    UNSOUND: an assumption of the promise is violated, so no number is promised.
    INCONCLUSIVE: no planned certified test would refute the promise with chance `power` if the noise were half.
    CONSISTENT: none of these. It says that the promise survived this audit, not that it is true.
    """
    if promise.kind == "none":
        sentence = f"No privacy was promised: {promise.note}." if promise.note else _NOTHING_PROMISED
        return Verdict(word="CONSISTENT", sentence=sentence)
    refuting = [bound for bound in bounds if _refutes(bound)]
    if refuting:
        return _violated(promise, max(refuting, key=lambda bound: bound.epsilon))
    certain = [assumption for assumption in assumptions if assumption.status == "violated" and assumption.certified]
    if certain:
        return _disproved(promise, certain)
    broken = [assumption for assumption in assumptions if assumption.status == "violated"]
    if broken:
        names = ", ".join(assumption.name for assumption in broken)
        sentence = f"No privacy number can be promised: a premise of the promise does not hold ({names})."
        return Verdict(word="UNSOUND", sentence=sentence, reasons=tuple(_reason(item) for item in broken))
    best = max((plan.power for plan in plans), default=None)
    if best is None or best < power:
        return _inconclusive(best, power)
    return _consistent(promise, bounds)


_NOTHING_PROMISED = "No privacy was promised (epsilon = infinity): there is nothing to refute, only leakage to measure."
_NOTHING_TESTED = (
    "This audit could not have found a fault: no certified test of the promise was listed in advance, so nothing here "
    "can refute it or support it."
)


def _refutes(bound: Bound) -> bool:
    if not bound.decides or bound.guarantee != "certified" or bound.p_value is None:
        return False
    return bound.p_value <= bound.level * (1 + 1e-9)


def _violated(promise: Promise, bound: Bound) -> Verdict:
    if bound.one_step:
        return _step_violated(promise, bound)
    sentence = (
        f"The promise of epsilon {_epsilon(promise.epsilon)} does not hold: an attack extracted more than it allows "
        f"(certified: epsilon is at least {_floor(bound.epsilon)} at delta {bound.delta:g})."
    )
    reason = f"{bound.attack}, {bound.method}: p = {bound.p_value:.2g} for the promise, confidence {bound.confidence:g}"
    return Verdict(word="VIOLATED", sentence=sentence, reasons=(reason,))


def _step_violated(promise: Promise, bound: Bound) -> Verdict:
    composed = f"; accounted with what noise is left, epsilon is {_floor(bound.epsilon)} at delta {bound.delta:g}"
    sentence = (
        f"The promise of epsilon {_epsilon(promise.epsilon)} does not hold: single training steps give away more than "
        f"their noise was accounted to hide (certified{composed if bound.hypothesis == 'accountant' else ''})."
    )
    reason = (
        f"{bound.attack}, {bound.method}: p = {bound.p_value:.2g} for the promise of one step, "
        f"confidence {bound.confidence:g}"
    )
    return Verdict(word="VIOLATED", sentence=sentence, reasons=(reason,))


def _disproved(promise: Promise, certain: Sequence[Assumption]) -> Verdict:
    sentence = (
        f"The promise of epsilon {_epsilon(promise.epsilon)} does not hold: replaying the training step gave a "
        f"counter-example to what its noise was calibrated to ({', '.join(item.name for item in certain)})."
    )
    return Verdict(word="VIOLATED", sentence=sentence, reasons=tuple(_reason(item) for item in certain))


def _inconclusive(best: float | None, power: float) -> Verdict:
    if best is None:
        return Verdict(word="INCONCLUSIVE", sentence=_NOTHING_TESTED)
    sentence = (
        f"This audit could not have found a fault: had the noise been half of what was said, "
        f"it would have noticed with chance {best:.0%} (needed: {power:.0%}). Use more canaries or more runs."
    )
    return Verdict(word="INCONCLUSIVE", sentence=sentence)


def _consistent(promise: Promise, bounds: Sequence[Bound]) -> Verdict:
    floor = max((b.epsilon for b in bounds if b.decides and b.guarantee == "certified"), default=0.0)
    sentence = (
        f"The promise of epsilon {_epsilon(promise.epsilon)} survived: the attacks certify only that epsilon "
        f"is at least {_floor(floor)} at delta {promise.delta:g}, and no premise was found broken."
    )
    return Verdict(word="CONSISTENT", sentence=sentence)


def _reason(assumption: Assumption) -> str:
    return f"{assumption.name}: {assumption.evidence}"


def _floor(value: float) -> str:
    """Return a lower bound with two decimals, rounded down."""
    return f"{math.floor(value * 100) / 100:.2f}"


def _epsilon(value: float) -> str:
    return "infinity" if math.isinf(value) else f"{value:.2f}"
