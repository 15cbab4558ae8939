"""The test of the errors of R runs together (docs/statistics/joint-bound.md, "Errors of all runs together")."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar, TypeVar

import numpy as np

from dpaudit.bounds.family import Refuted
from dpaudit.bounds.guesses import Guesses
from dpaudit.bounds.joint.count import JointCount
from dpaudit.bounds.joint.induction import Penalised, of_independent, penalised_chances, rising, thinning
from dpaudit.bounds.joint.penalties import counted, evidence_penalties, planned_penalties, rounded_up, total
from dpaudit.bounds.one_run import Steinke
from dpaudit.bounds.one_run_fdp import FdpRecursion
from dpaudit.bounds.tradeoff import EpsilonDelta

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dpaudit.bounds.family import Family
    from dpaudit.bounds.joint.runs import ErrorRates
    from dpaudit.bounds.tradeoff import TradeOff
    from dpaudit.results import GuaranteeKind

__all__ = ["PooledCount", "convolved"]

Curve = TypeVar("Curve", bound="TradeOff")

_RECURSION, _BINOMIAL, _ONE_RUN = FdpRecursion(), Steinke(), JointCount()
_NOTHING = Refuted(parameter=None, epsilon=0.0)
#: parameters below are not told from 0; relative, of a search that solves many programs for every curve
_LEAST, _TOLERANCE = 1e-6, 3e-3
#: where induction would take too long: counts of errors at which the recursion is asked, and units that penalties
#: are rounded down to
_ASKED, _UNITS = 64, 2_000


@dataclass(frozen=True)
class PooledCount:
    """P[the runs' penalties add up to no more than was seen] by backward induction; by default an error costs 1.

    For several runs of one size; others are judged as `one-run-joint` judges them. rates: what errors are planned; then
    the penalty is -log of the e-value made for them, in whole steps, fixed before any coin is seen.
    """

    rates: ErrorRates | None = None

    method: ClassVar[str] = "one-run-pooled"
    guarantee: ClassVar[GuaranteeKind] = "certified"

    def p_value(self, curve: TradeOff, run: Guesses) -> float:
        """Return a bound on the chance of one run with this many right guesses: that of `one-run-joint`."""
        return _ONE_RUN.p_value(curve, run)

    def refutes(self, curve: TradeOff, run: Guesses, level: float) -> bool:
        """Return whether one run refutes `curve` at `level`."""
        return _ONE_RUN.refutes(curve, run, level)

    @property
    def stand_in(self) -> FdpRecursion:
        """Return the fast test by which designs are searched."""
        return _RECURSION

    def p_value_of_runs(self, curve: TradeOff, runs: Sequence[Guesses]) -> float:
        """Return a bound on the chance of runs at least this good under any mechanism that keeps `curve`.

        >>> from dpaudit.bounds.tradeoff import Gaussian
        >>> runs = [Guesses(canaries=1000, guesses=150, correct=150 - errors) for errors in (1, 4)]
        >>> curve = Gaussian(1.3)
        >>> 0.04 < PooledCount().p_value_of_runs(curve, runs) < 0.05 < JointCount().p_value_of_runs(curve, runs)
        True
        """
        if not _are_pooled(runs):
            return _ONE_RUN.p_value_of_runs(curve, runs)
        penalties = None
        if self.rates is not None:
            penalties = evidence_penalties(runs[0].canaries, runs[0].guesses, self.rates.broken, len(runs), curve)
        return _chance(curve, runs, penalties)

    def largest_refuted(self, family: Family[Curve], runs: Sequence[Guesses], level: float) -> Refuted:
        """Return the largest curve of a family that the runs refute together at level^R."""
        if not _are_pooled(runs):
            return _ONE_RUN.largest_refuted(family, runs, level)
        alpha, penalties = level ** len(runs), self.penalties(family, runs, level)
        private = family.private if family.start is not None else max(family.private, _LEAST)
        if _chance(family.curve(private), runs, penalties) > alpha:
            return _NOTHING
        seen = sum(run.guesses - run.correct for run in runs) / len(runs)
        begin = _each_refutes(family, runs[0], seen, level) or private
        begin = begin if family.start is not None else max(begin, private)
        tolerance = max(family.tolerance, _TOLERANCE * begin)
        searched = replace(family, private=private, start=begin, tolerance=tolerance)
        return searched.largest_below(lambda curve: _chance(curve, runs, penalties), alpha, begin)

    def penalties(self, family: Family[Curve], runs: Sequence[Guesses], level: float) -> tuple[int, ...] | None:
        """Return what 0, 1, ... errors cost, from the runs' sizes and the planned rates alone; None: 1 each."""
        if self.rates is None:
            return None
        usual = _each_refutes(family, runs[0], runs[0].guesses * self.rates.promised, level)
        if usual is None:
            return None
        return planned_penalties(family, runs[0], len(runs), self.rates, level ** len(runs), usual)

    def remark(self, runs: Sequence[Guesses]) -> str:
        """Return how the runs were judged, if not each error of all runs alike and by backward induction."""
        if len(runs) == 1:
            return _ONE_RUN.remark(runs)
        if not _are_pooled(runs):
            return "every run must refute: errors are added up over runs of one size only"
        if self.rates is not None:
            penalties = f"the errors of {len(runs)} runs together, as penalties that the plan fixed"
            return f"{penalties}; by convolution where backward induction would take too long"
        by = "by backward induction"
        if thinning(counted(runs), rounded_up(total(runs, None) or 0)) is None:
            by = "by convolution of the recursion's bounds: backward induction would take too long"
        return f"the errors of {len(runs)} runs together, {by}"


def _are_pooled(runs: Sequence[Guesses]) -> bool:
    """Return whether runs are judged by one sum: several of one size."""
    return len(runs) > 1 and len({(run.canaries, run.guesses) for run in runs}) == 1


def _each_refutes(family: Family[Curve], run: Guesses, wrong: float, level: float) -> float | None:
    """Return the largest parameter that a run of this size with so many wrong guesses refutes by the recursion."""
    seen = Guesses(canaries=run.canaries, guesses=run.guesses, correct=run.guesses - min(run.guesses, round(wrong)))
    if family.start is not None:
        return family.largest_below(lambda curve: _RECURSION.p_value(curve, seen), level).parameter
    return family.largest_refuted(lambda curve: _RECURSION.refutes(curve, seen, level)).parameter


def _chance(curve: TradeOff, runs: Sequence[Guesses], penalties: tuple[int, ...] | None) -> float:
    """Return a bound on the chance that the runs' penalties add up to no more than they do; 1 each without any."""
    seen = total(runs, penalties)
    if seen is None:
        return 1.0
    if penalties is not None:
        run = runs[0]
        return _bound(Penalised(run.canaries, run.guesses, len(runs), penalties), seen, curve)
    return min(_bound(counted(runs), seen, curve), _as_one_run(curve, runs[0], len(runs), seen))


def _bound(of: Penalised, most: int, curve: TradeOff) -> float:
    gap = thinning(of, rounded_up(most))
    return convolved(of, most, curve) if gap is None else float(_chances(of, rounded_up(most), curve, gap)[most])


_chances = lru_cache(maxsize=256)(penalised_chances)


def convolved(of: Penalised, most: int, curve: TradeOff) -> float:
    """Return the bound by convolution, penalties rounded down to few units, chances those of the recursion.

    The recursion is asked for some counts of errors; its answer for the next larger one holds for those between.
    """
    unit = 1 + most // _UNITS
    penalties = np.array(of.penalties) // unit
    allowed = np.searchsorted(penalties, np.arange(most // unit + 1), side="right") - 1
    middle = int(np.searchsorted(penalties, most / unit / of.runs))
    asked = np.unique(np.append(np.rint(np.linspace(0, 2, _ASKED) * middle), allowed[-1])).astype(int)
    asked = asked[asked <= allowed[-1]]
    found = [
        _RECURSION.p_value(curve, Guesses(canaries=of.canaries, guesses=of.guesses, correct=of.guesses - wrong))
        for wrong in asked.tolist()
    ]
    chances = np.array(found)[np.searchsorted(asked, allowed)]
    return float(of_independent(rising(chances), of.runs)[-1])


def _as_one_run(curve: TradeOff, run: Guesses, runs: int, wrong: int) -> float:
    """Return a bound on the chance of so few errors, all runs taken as one whose coins are those of all.

    Flipping one coin changes one run, and those after it only through what that run shows: so all of it together keeps
    the curve, of runs x m fair coins. Strong only where one epsilon has a price.
    """
    whole = Guesses(canaries=runs * run.canaries, guesses=runs * run.guesses, correct=runs * run.guesses - wrong)
    return _BINOMIAL.p_value(curve, whole) if isinstance(curve, EpsilonDelta) else 1.0
