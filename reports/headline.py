"""The three numbers: the epsilon that is promised, the epsilon that is refuted, the utility that was bought."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dpaudit.reports import numbers
from dpaudit.reports.standing import standing

if TYPE_CHECKING:
    from dpaudit.results import AuditResult, Bound, Guarantee, ProbeResult

__all__ = [
    "GUARANTEES",
    "HYPOTHESES",
    "Number",
    "answer",
    "bought",
    "deciding",
    "family_confidence",
    "features",
    "gloss",
    "promised",
    "refuted",
    "strongest",
]

#: what each verdict means, whatever was audited
_VERDICTS = {
    "VIOLATED": "A certified test refutes the promise itself, or a replayed training step went beyond the sensitivity "
    "that was declared. The promise cannot be true as stated.",
    "UNSOUND": "An assumption on which the promise rests is broken, so no epsilon is promised for this model, whatever "
    "the attacks found.",
    "INCONCLUSIVE": "Nothing was refuted, but this audit was too weak for that to count: with half of the stated noise "
    "it would have stayed silent more than one time in five.",
    "CONSISTENT": "No attack listed in advance refutes the promise, and with half of the stated noise the audit would "
    "have noticed at least four times in five. This supports the promise; it does not prove it.",
}
HYPOTHESES = {
    "any": "any (ε, δ)-DP mechanism",
    "accountant": "the accountant's own curve",
    "gaussian": "Gaussian DP (μ-GDP)",
    "none": "no hypothesis",
}
GUARANTEES = {
    "certified": "certified",
    "under_independence": "only if canaries do not interact",
    "estimate": "estimate, no confidence",
}


_ANSWERS = {
    "VIOLATED": "No.",
    "UNSOUND": "There is none: a premise of it is broken.",
    "INCONCLUSIVE": "This audit cannot say.",
    "CONSISTENT": "Nothing found here speaks against it.",
}


def answer(result: AuditResult) -> str:
    """Return, in a few words, whether the promise held."""
    return "None was made." if result.promise.kind == "none" else _ANSWERS[result.verdict.word]


def gloss(result: AuditResult) -> str:
    """Return what the verdict means, for someone who does not know the field."""
    if result.partial:
        return "The audit is not finished, so nothing can be said of the promise yet."
    if result.promise.kind == "none":
        return "Without a promise there is nothing to refute. Bounds and attacks show how much leaks."
    if result.verdict.word == "INCONCLUSIVE" and not result.plans:
        return "No certified test of the promise was made. Attacks below may still show that something leaks."
    return _VERDICTS[result.verdict.word]


@dataclass(frozen=True, kw_only=True)
class Number:
    """One of the three numbers: what it is, its value as text, and the lines that make it true."""

    label: str
    value: str
    lines: tuple[str, ...]


def _accounted(result: AuditResult) -> str:
    """Return what an accountant says of the mechanism that a claim was made for."""
    known = [guarantee for guarantee in result.guarantees if guarantee.epsilon is not None]
    if not known:
        return "no accountant has a sound answer for what was executed"
    figure = numbers.at_most(known[0].epsilon or 0.0)
    relation = "more than " if known[0].exceeds else ""
    return f"what was executed earns ε = {relation}{figure} ({known[0].accountant})"


def promised(result: AuditResult) -> Number:
    """Return the promised epsilon with its delta and accountant, or that nothing is promised."""
    promise = result.promise
    label = "Promised ε"
    if promise.kind == "none":
        return Number(label=label, value="∞", lines=("nothing is promised", promise.note or "no clipping or no noise"))
    delta = f"at δ = {numbers.small(promise.delta)}"
    if result.verdict.word == "UNSOUND":
        broken = ", ".join(a.name for a in result.assumptions if a.status == "violated") or "see the assumptions"
        figure = f"ε = {_promise_value(result)} {delta} was computed, but does not hold"
        return Number(label=label, value="none", lines=(figure, f"violated: {broken}"))
    value = _promise_value(result)
    if promise.kind == "claim":
        lines = [delta, "claimed", _accounted(result)]
    else:
        lines = [delta, _accountant_line(_accountant(result))]
    if whole := _bounded(result.with_pretraining):
        lines.append(f"with its pre-training on the same data; this training alone, which was attacked: {value}")
        value = numbers.at_most(min(whole))
    elif result.with_pretraining:
        lines.append("of this training alone: its pre-training on the same data cannot be composed with it")
    if tuned := _bounded(result.with_tuning):
        lines.append(f"together with its tuning runs: {numbers.at_most(min(tuned))}")
    unknown = sum(a.status == "unknown" for a in result.assumptions)
    if unknown:
        lines.append(f"{unknown} assumption{'s' * (unknown > 1)} could not be checked")
    return Number(label=label, value=value, lines=tuple(lines))


def refuted(result: AuditResult) -> Number:
    """Return the largest deciding certified lower bound, with its hypothesis and confidence."""
    bound, label = strongest(result), "Refuted ε"
    if bound is None:
        return Number(label=label, value=numbers.NOTHING, lines=("no certified bound was listed to decide",))
    meaning = "nothing was refuted" if bound.epsilon == 0 else "no promise below this can be true"
    hypothesis = f"certified, hypothesis: {HYPOTHESES[bound.hypothesis]}"
    level = f"at δ = {numbers.small(bound.delta)}, confidence {numbers.percent(family_confidence(result))}"
    if bound.epsilon > 0 and bound.hypothesis in ("accountant", "gaussian"):
        meaning = "no promise of this family below this can be true"
    lines = [level, hypothesis, meaning]
    general = [b for b in deciding(result) if b.hypothesis == "any"]
    if general and bound.hypothesis != "any":
        value = numbers.at_least(max(b.epsilon for b in general))
        lines.append(f"whatever the mechanism: at least {value}")
    return Number(label=label, value=numbers.at_least(bound.epsilon), lines=tuple(lines))


def bought(result: AuditResult) -> Number:
    """Return the first probe's score of the trained features beside its baselines."""
    label = "Utility bought"
    if not result.probes:
        return Number(label=label, value=numbers.NOTHING, lines=("no probe was run",))
    probe = result.probes[0]
    scores = {m.features: m.score for m in probe.measurements}
    trained = scores.pop("trained", None)
    lines = [f"{probe.metric} of the {probe.probe} probe"]
    if trained is not None:
        limits = numbers.score_interval(trained, probe.metric)
        lines[0] += f", {limits} at {numbers.percent(trained.confidence)}"
    lines += [f"{features(name)}: {numbers.score(score.value, probe.metric)}" for name, score in scores.items()]
    value = numbers.NOTHING if trained is None else numbers.score(trained.value, probe.metric)
    return Number(label=label, value=value, lines=(*lines, *_other_probes(result.probes)))


def features(name: str) -> str:
    """Return what a probe's features are called; those of the twin without clipping and noise by what it costs."""
    return "non-private, ε = ∞" if name == "non-private" else name


def deciding(result: AuditResult) -> tuple[Bound, ...]:
    """Return the bounds that may decide: listed in advance, certified, not exploratory."""
    return tuple(bound for bound in result.bounds if standing(bound).decides)


def strongest(result: AuditResult) -> Bound | None:
    """Return the deciding bound with the largest epsilon, or None."""
    return max(deciding(result), key=lambda bound: bound.epsilon, default=None)


def family_confidence(result: AuditResult) -> float:
    """Return the confidence at which all deciding bounds hold together (their error levels added up)."""
    return max(0.0, round(1.0 - math.fsum(bound.level for bound in deciding(result)), 9))


def _accountant(result: AuditResult) -> Guarantee | None:
    """Return the guarantee whose epsilon is the promised one, or the nearest."""
    known = [g for g in result.guarantees if g.epsilon is not None]
    return min(known, key=lambda g: abs((g.epsilon or 0.0) - result.promise.epsilon), default=None)


def _bounded(guarantees: tuple[Guarantee, ...]) -> list[float]:
    """Return the epsilons that are upper bounds."""
    return [g.epsilon for g in guarantees if g.epsilon is not None and not g.exceeds]


def _accountant_line(guarantee: Guarantee | None) -> str:
    if guarantee is None:
        return "no accountant's answer is on file"
    return f"{guarantee.accountant} accountant, {guarantee.adjacency}"


def _promise_value(result: AuditResult) -> str:
    guarantee = _accountant(result) if result.promise.kind == "accountant" else None
    exceeds = guarantee is not None and guarantee.exceeds and guarantee.epsilon == result.promise.epsilon
    return ("> " if exceeds else "") + numbers.at_most(result.promise.epsilon)


def _other_probes(probes: tuple[ProbeResult, ...]) -> tuple[str, ...]:
    others = len(probes) - 1
    return (f"{others} more probe{'s' * (others > 1)} below",) if others else ()
