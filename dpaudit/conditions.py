"""A gate: conditions that a finished audit must meet before something is released, each with what was found."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dpaudit.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dpaudit.results import AuditResult, Guarantee, ProbeResult

__all__ = ["Condition", "Gate"]


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One condition of a gate, and what was found of it."""

    name: str
    met: bool
    finding: str


@dataclass(frozen=True, kw_only=True)
class Gate:
    """What a finished audit must meet. Always: a promise was made, and it survived an audit able to refute it.

    max_lower_bound: the most that any certified bound may show, at its own confidence; exploratory bounds count too,
    since what they refute is refuted. max_epsilon: the most that may be promised, earlier trainings on the same
    data and tuning included. require_assumptions: every premise held, save the names in allow_unknown, which may be
    unknown, never violated. min_score: probe label -> least lower end of the trained model's interval, on every run.

    >>> Gate(max_epsilon=-1)
    Traceback (most recent call last):
    ...
    dpaudit.errors.InputError: max_epsilon = -1: expected a number of at least 0
    """

    max_lower_bound: float | None = None
    max_epsilon: float | None = None
    require_assumptions: bool = False
    allow_unknown: tuple[str, ...] = ()
    allow_inconclusive: bool = False
    min_score: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        for name in ("max_lower_bound", "max_epsilon"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise InputError(name, value, "a number of at least 0")
        if self.allow_unknown and not self.require_assumptions:
            raise InputError("allow_unknown", self.allow_unknown[0], "nothing without require_assumptions")

    def judge(self, result: AuditResult) -> tuple[Condition, ...]:
        """Return every condition with what was found, in a fixed order; the gate passes if all are met.

        Raises InputError where the gate names a premise or a probe that the audit does not know.
        """
        return tuple(self._conditions(result))

    def _conditions(self, result: AuditResult) -> Iterator[Condition]:
        yield _promised(result)
        fine = ("CONSISTENT", "INCONCLUSIVE") if self.allow_inconclusive else ("CONSISTENT",)
        verdict = result.verdict
        yield Condition(
            name=f"verdict {' or '.join(fine)}",
            met=verdict.word in fine,
            finding=verdict.sentence if verdict.word in fine else f"it is {verdict.word}. {verdict.sentence}",
        )
        if self.max_lower_bound is not None:
            yield _lower_bound(result, self.max_lower_bound)
        if self.max_epsilon is not None:
            yield _promise_at_most(result, self.max_epsilon)
        if self.require_assumptions:
            yield self._premises(result)
        for label, least in self.min_score:
            yield _score(result, label, least)

    def _premises(self, result: AuditResult) -> Condition:
        known = [premise.name for premise in result.assumptions]
        for name in self.allow_unknown:
            if name not in known:
                raise InputError("allow_unknown", name, f"a premise of this audit: {', '.join(known)}")
        open_ = [
            premise
            for premise in result.assumptions
            if premise.status == "violated" or (premise.status == "unknown" and premise.name not in self.allow_unknown)
        ]
        finding = "; ".join(f"{premise.name} is {premise.status}: {premise.evidence}" for premise in open_)
        return Condition(name="every premise held", met=not open_, finding=finding or f"{len(known)} premises")


def _promised(result: AuditResult) -> Condition:
    promise = result.promise
    made = promise.kind != "none"
    found = f"epsilon {promise.epsilon:.3f} at delta {promise.delta:g}" if made else "nothing was promised"
    return Condition(name="a promise was made", met=made, finding=found)


def _lower_bound(result: AuditResult, most: float) -> Condition:
    certified = [bound for bound in result.bounds if bound.guarantee == "certified"]
    name = f"no certified lower bound above {most:g}"
    if not certified:
        return Condition(name=name, met=False, finding="this audit has no certified bound")
    top = max(certified, key=lambda bound: bound.epsilon)
    found = f"epsilon at least {top.epsilon:.3f} ({top.attack}, {top.method}, hypothesis {top.hypothesis})"
    return Condition(name=name, met=top.epsilon <= most, finding=found)


def _promise_at_most(result: AuditResult, most: float) -> Condition:
    """Judge the weakest statement there is: with earlier trainings and tuning paid for, where they were declared."""
    stated = [_least(group) for group in (result.guarantees, result.with_pretraining, result.with_tuning) if group]
    top = max([result.promise.epsilon, *stated])
    found = f"epsilon {top:.3f} at delta {result.promise.delta:g}"
    return Condition(name=f"promised epsilon at most {most:g}", met=top <= most, finding=found)


def _least(guarantees: Sequence[Guarantee]) -> float:
    """Return the best of the accountants' sound answers, infinity if there is none."""
    sound = (each.epsilon for each in guarantees if each.epsilon is not None and not each.exceeds)
    return min(sound, default=math.inf)


def _score(result: AuditResult, label: str, least: float) -> Condition:
    probes = [probe for probe in result.probes if probe.probe == label]
    if not probes:
        known = ", ".join(sorted({probe.probe for probe in result.probes})) or "none"
        raise InputError("min_score", label, f"a probe of this audit: {known}")
    lowest = min((_trained(probe), probe.run) for probe in probes)
    found = f"{lowest[0]:.3f} (lower end, {lowest[1]})"
    return Condition(name=f"{label} at least {least:g}", met=lowest[0] >= least, finding=found)


def _trained(probe: ProbeResult) -> float:
    return next(item.score.low for item in probe.measurements if item.features == "trained")
