"""The exact test of a count of errors, and of the errors of R runs together (docs/statistics/joint-bound.md)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np

from dpaudit.bounds.family import Refuted
from dpaudit.bounds.guesses import Guesses
from dpaudit.bounds.joint.program import MOST_TERMS, best_certificate, box_around, is_solved
from dpaudit.bounds.joint.runs import ErrorRates, are_multiplied, evidence_p_value, largest_by_evidence
from dpaudit.bounds.one_run import Steinke
from dpaudit.bounds.one_run_fdp import FdpRecursion
from dpaudit.bounds.tradeoff import EpsilonDelta

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dpaudit.bounds.family import Family
    from dpaudit.bounds.joint.certificate import Box, Certificate
    from dpaudit.bounds.tradeoff import TradeOff
    from dpaudit.results import GuaranteeKind

__all__ = ["JointCount", "chance_of_count", "count_certificate"]

Curve = TypeVar("Curve", bound="TradeOff")

_RECURSION, _BINOMIAL = FdpRecursion(), Steinke()
_PASSES = 4
_GAIN = 1e-3  # relative: a pass that gains less is the last
_TOLERANCE = 1e-3  # relative, of a search that solves a program for every curve
_HOPELESS = 10.0  # where the recursion is so far above the level, no program is solved
#: terms of the programs of runs of all sizes together; runs of one size share a program
_ALL_TERMS = 12_000


@dataclass(frozen=True)
class JointCount:
    """P[no more errors than were seen] under the worst mechanism, by linear program; never above the recursion's.

    Both bound the same chance, so the smaller one holds; against (epsilon, delta)-DP the binomial bound of `one-run` is
    a third. Beyond `MOST_TERMS` no program is solved. rates: what
    e-values are made for, fixed by the plan; with them several runs are judged by the product of their e-values,
    without them every run must refute.
    """

    rates: ErrorRates | None = None

    method: ClassVar[str] = "one-run-joint"
    guarantee: ClassVar[GuaranteeKind] = "certified"

    def p_value(self, curve: TradeOff, run: Guesses, terms: int = MOST_TERMS) -> float:
        """Return a bound on the chance of this many right guesses under any mechanism that keeps `curve`.

        terms: the most that a program may have.

        >>> from dpaudit.bounds.guesses import Guesses
        >>> from dpaudit.bounds.tradeoff import Gaussian
        >>> run = Guesses(canaries=1000, guesses=150, correct=147)
        >>> FdpRecursion().p_value(Gaussian(1.08), run) > 0.054, JointCount().p_value(Gaussian(1.08), run) < 0.048
        (True, True)
        """
        return _chance(count_certificate(run.canaries, run.guesses, run.correct, curve, terms), curve, run)

    def refutes(self, curve: TradeOff, run: Guesses, level: float) -> bool:
        """Return whether the run refutes `curve` at `level`; no program is solved where the recursion is far above."""
        if _refutes_at_once(curve, run, level):
            return True
        if _is_hopeless(curve, [run], level):
            return False
        certificate = count_certificate(run.canaries, run.guesses, run.correct, curve, MOST_TERMS)
        return certificate is not None and chance_of_count(certificate, run, curve) <= level

    @property
    def stand_in(self) -> FdpRecursion:
        """Return the fast test by which designs are searched."""
        return _RECURSION

    def p_value_of_runs(self, curve: TradeOff, runs: Sequence[Guesses]) -> float:
        """Return a bound on the chance of runs at least this good under any mechanism that keeps `curve`."""
        if self.rates is not None and are_multiplied(runs, self.rates):
            return evidence_p_value(curve, runs, self.rates)
        worst = _worst(runs)
        return max(self.p_value(curve, run, _share(worst)) for run in worst) ** len(runs)

    def largest_refuted(self, family: Family[Curve], runs: Sequence[Guesses], level: float) -> Refuted:
        """Return the largest curve of a family that the runs refute, each at `level` or all together at level^R."""
        if self.rates is None or not are_multiplied(runs, self.rates):
            return self._refuted_by_each(family, _worst(runs), level)
        planned = _worst([_as_planned(run, self.rates) for run in runs])
        usual = self._refuted_by_each(family, planned, level).parameter
        if not usual:
            return Refuted(parameter=None, epsilon=0.0)
        return largest_by_evidence(family, runs, self.rates, level ** len(runs), usual)

    def _refuted_by_each(self, family: Family[Curve], runs: Sequence[Guesses], level: float) -> Refuted:
        """Return the largest curve that every run refutes at `level`, by a few programs.

        A certificate bounds the chance under every curve, so those found at the last answer give a better one.
        """
        terms = _share(runs)

        def searched(known: Mapping[Guesses, Certificate | None], near: float | None) -> Refuted:
            if family.start is None:
                return family.largest_refuted(
                    lambda curve: all(_refutes(known.get(run), curve, run, level) for run in runs)
                )
            return family.largest_below(
                lambda curve: max(_chance(known.get(run), curve, run) for run in runs), level, near
            )

        found = searched({}, None)
        if found.parameter is None and _is_hopeless(family.curve(family.private), runs, level):
            return found
        if family.hypothesis == "any":
            return self._above(found, family, runs, level)
        for _ in range(_PASSES):
            anchor = family.curve(family.private if found.parameter is None else found.parameter)
            known = {run: count_certificate(run.canaries, run.guesses, run.correct, anchor, terms) for run in runs}
            if found.parameter is not None and not _gains(family, found.parameter, known, level):
                break
            better = searched(known, found.parameter)
            gain, found = better.epsilon - found.epsilon, max(found, better, key=lambda refuted: refuted.epsilon)
            if gain <= _GAIN * found.epsilon:
                break
        return found

    def _above(self, found: Refuted, family: Family[Curve], runs: Sequence[Guesses], level: float) -> Refuted:
        """Return the answer for (epsilon, delta)-DP: a certificate at one epsilon says nothing of a larger one."""
        if not found.parameter:
            return found
        start, tolerance = found.parameter, max(family.tolerance, _TOLERANCE * found.parameter)
        beyond = replace(family, start=start * (1 + _TOLERANCE), private=start, tolerance=tolerance)
        terms = _share(runs)
        better = beyond.largest_below(lambda curve: max(self.p_value(curve, run, terms) for run in runs), level)
        return max(found, better, key=lambda refuted: refuted.epsilon)

    def remark(self, runs: Sequence[Guesses]) -> str:
        """Return how runs were judged together, and what had to do where a program would be too large."""
        if self.rates is not None and len(runs) > 1:
            if are_multiplied(runs, self.rates):
                return f"the e-values of {len(runs)} runs are multiplied"
            return "every run must refute: with so many errors the programs of e-values would take too long"
        worst = _worst(runs)
        too_large = any(0 < run.correct < run.guesses and not is_solved(_box(run), _share(worst)) for run in worst)
        return "by the recursion: with so many errors the linear program would take too long" if too_large else ""


def _worst(runs: Sequence[Guesses]) -> list[Guesses]:
    """Return the run with the most errors of each size, in a fixed order.

    Runs of one size have one chance p(e) of at most e errors, so P[all have at most e] is at most p(e)^R: the worst
    run's count decides for all of them, whether p rises with e or not.
    """
    found: dict[tuple[int, int], Guesses] = {}
    for run in runs:
        size = (run.canaries, run.guesses)
        if size not in found or run.correct < found[size].correct:
            found[size] = run
    return [found[size] for size in sorted(found)]


def _gains(family: Family[Any], parameter: float, known: Mapping[Guesses, Certificate | None], level: float) -> bool:
    """Return whether certificates refute a curve that is a little larger; not asked where a search costs nothing."""
    if family.start is None:
        return True
    larger = family.curve(parameter + math.copysign(_GAIN * parameter, family.exposed - family.private))
    return all(_refutes(certificate, larger, run, level) for run, certificate in known.items())


def _is_hopeless(curve: TradeOff, runs: Sequence[Guesses], level: float) -> bool:
    """Return whether the recursion is so far above the level that no program is worth solving."""
    return _HOPELESS * level < 1 and not all(_RECURSION.refutes(curve, run, _HOPELESS * level) for run in runs)


def _share(worst: Sequence[Guesses]) -> int:
    """Return how many terms the program of each size may have."""
    return min(MOST_TERMS, _ALL_TERMS // max(1, len(worst)))


def _as_planned(run: Guesses, rates: ErrorRates) -> Guesses:
    """Return what the plan expects in place of what was seen."""
    return replace(run, correct=round(run.guesses * (1 - rates.promised)), guesses_in=None, guesses_out=None)


def _chance(certificate: Certificate | None, curve: TradeOff, run: Guesses) -> float:
    """Return the least of all bounds on the chance of so few errors, by a certificate and without."""
    known = _RECURSION.p_value(curve, run)
    if isinstance(curve, EpsilonDelta):
        known = min(known, _BINOMIAL.p_value(curve, run))
    return known if certificate is None else min(known, chance_of_count(certificate, run, curve))


def _refutes(certificate: Certificate | None, curve: TradeOff, run: Guesses, level: float) -> bool:
    if certificate is not None and chance_of_count(certificate, run, curve) <= level:
        return True
    return _refutes_at_once(curve, run, level)


def _refutes_at_once(curve: TradeOff, run: Guesses, level: float) -> bool:
    """Return whether a bound that needs no program refutes."""
    binomial = isinstance(curve, EpsilonDelta) and _BINOMIAL.refutes(curve, run, level)
    return binomial or _RECURSION.refutes(curve, run, level)


def chance_of_count(certificate: Certificate, run: Guesses, curve: TradeOff) -> float:
    """Return what a certificate says of P[at most as many errors as in the run]."""
    few = np.arange(certificate.cover.size) <= run.guesses - run.correct
    return certificate.most(few.astype(np.float64), curve)


def _box(run: Guesses) -> Box:
    return box_around(run.canaries, (run.guesses,), (run.guesses - run.correct,))


@lru_cache(maxsize=512)
def count_certificate(canaries: int, guesses: int, correct: int, curve: TradeOff, terms: int) -> Certificate | None:
    """Return the best certificate at `curve` of "at most so many errors"; None where the recursion must do."""
    if correct in (0, guesses):
        return None  # all right: the recursion is exact; none right: nothing is refuted
    box = _box(Guesses(canaries=canaries, guesses=guesses, correct=correct))
    few = np.arange(box.shape[0]) <= guesses - correct
    return best_certificate(box, few.astype(np.float64), curve, terms=terms)
