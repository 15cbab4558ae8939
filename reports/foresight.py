"""What the audit could have seen: the plans by hypothesis, and what more runs would have added."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dpaudit.reports import numbers
from dpaudit.reports.headline import HYPOTHESES

if TYPE_CHECKING:
    from dpaudit.results import AuditResult, Hypothesis, Plan

__all__ = ["expected", "hypotheses", "largest", "more_runs"]

_ORDER: tuple[Hypothesis, ...] = ("any", "gaussian", "accountant")


def hypotheses(result: AuditResult) -> dict[Hypothesis, str]:
    """Return the hypotheses under which a bound was planned, each with its words; none in results of before."""
    plans = (*result.plans, *result.more_runs)
    known = (name for name in _ORDER if any(name in plan.expected for plan in plans))
    return {name: f"{name}, {HYPOTHESES[name]}" for name in known}


def more_runs(result: AuditResult) -> list[str]:
    """Return a sentence for each deciding bound: what it could have certified with more runs."""
    return [_sentence(result, plan, more) for plan, more in zip(result.plans, result.more_runs, strict=False)]


def expected(result: AuditResult, plan: Plan) -> tuple[Hypothesis, float]:
    """Return the hypothesis that a plan's bound was listed to test, and the epsilon that it was to certify."""
    hypothesis = _tested(result, plan)
    return hypothesis, plan.expected.get(hypothesis, plan.expected_epsilon)


def largest(result: AuditResult, plan: Plan) -> float:
    """Return the largest epsilon that the plan's bound could certify under the hypothesis that it was listed for."""
    return plan.largest.get(_tested(result, plan), plan.largest_epsilon)


def _tested(result: AuditResult, plan: Plan) -> Hypothesis:
    listed = [bound for bound in result.bounds if bound.decides and bound.attack == plan.attack]
    usual: Hypothesis = "accountant" if result.promise.kind == "accountant" else "any"
    return next((bound.hypothesis for bound in listed if bound.method == plan.method), usual)


def _sentence(result: AuditResult, plan: Plan, more: Plan) -> str:
    (hypothesis, before), (_, after) = expected(result, plan), expected(result, more)
    cost = "" if more.hours is None else f" ({numbers.duration(3600 * more.hours)} of training)"
    gain = (
        f"it could have certified ε = {numbers.at_least(after)} instead of {numbers.at_least(before)}"
        if after > before
        else f"it could not have certified more (ε = {numbers.at_least(after)})"
    )
    chances = numbers.chance(plan.power), numbers.chance(more.power)
    power = "" if chances[0] == chances[1] else f", with power {chances[1]} instead of {chances[0]}"
    return f"{plan.attack}: with {more.runs} runs{cost} {gain} (hypothesis: {HYPOTHESES[hypothesis]}){power}."
