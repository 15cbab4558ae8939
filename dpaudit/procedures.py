"""The test procedures that a plan chooses among: every run refutes, e-values are multiplied, two groups by rank.

Each knows a design and foresees, for any number of guesses, what it certifies and how likely it refutes the promise.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from dpaudit.bounds.guesses import Guesses
from dpaudit.bounds.ideal_guesser import first_true
from dpaudit.bounds.joint.count import JointCount
from dpaudit.bounds.joint.foreseen import (
    median_runs,
    power_of_evidence,
    power_of_groups,
    power_of_pooled,
    typical_runs,
    weighted_quantile,
)
from dpaudit.bounds.joint.groups import RankGroups, fits
from dpaudit.bounds.joint.pooled import PooledCount
from dpaudit.bounds.joint.runs import ErrorRates
from dpaudit.bounds.max_p import SearchesFamily, max_p_bound
from dpaudit.results import Surest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dpaudit.bounds.ideal_guesser import Design, Guesser
    from dpaudit.bounds.max_p import PlannedTest
    from dpaudit.bounds.tradeoff import TradeOff

__all__ = ["EveryRun", "by_evidence", "by_groups", "stand_in"]

Curve = TypeVar("Curve", bound="TradeOff")

#: with fewer runs e-values are not tried: they would certify less
_MANY_RUNS = 4
#: two rank groups are tried where one count has so many guesses; the first has this share of them, and its errors
#: weigh as many times more as they are rarer, at most four times
_ENOUGH_GUESSES, _SUREST, _HEAVIEST = 120, 0.36, 4
#: errors that all ideal runs but this share stay below are told apart
_UNLIKELY = 0.05


class EveryRun:
    """A design in which every run must refute, each at level alpha^(1/R)."""

    remark = ""
    surest: Surest | None = None

    def __init__(self, planned: PlannedTest[Any], design: Design, half_noise: Guesser) -> None:
        self.planned, self.design, self.half_noise = planned, design, half_noise

    def expected(self, test: PlannedTest[Any], guesses: int) -> float:
        """Return the epsilon that `test` certifies with the median right guesses of the worst run."""
        run = self.run(guesses, self.design.median_correct(guesses))
        return max_p_bound(test, [run] * self.design.runs, strategy="planned").epsilon

    def largest(self, test: PlannedTest[Any], guesses: int) -> float:
        """Return the epsilon that `test` certifies if every guess is right."""
        return max_p_bound(test, [self.run(guesses, guesses)] * self.design.runs, strategy="planned").epsilon

    def power(self, promise: TradeOff, guesses: int) -> float:
        """Return the chance to refute the promise at half its noise."""
        critical = _fewest_refuting(self.planned, promise, self.design, guesses)
        return self.design.chance(guesses, critical, self.half_noise.accuracy(*self.design.sides(guesses)))

    def error_rates(self, guesses: int) -> tuple[float, float] | None:  # noqa: ARG002  # those of e-values
        """Return what e-values are made for: there are none."""
        return None

    def run(self, guesses: int, correct: int) -> Guesses:
        """Return a run of this design."""
        return Guesses(canaries=self.design.canaries, guesses=guesses, correct=correct)


class _ByEvidence(EveryRun):
    """A design in which the runs' e-values are multiplied."""

    remark = "; the runs' e-values are multiplied"

    def expected(self, test: PlannedTest[Any], guesses: int) -> float:
        """Return the epsilon that `test` certifies with a middling set of runs."""
        rates, design = self._rates(guesses), self.design
        runs = typical_runs(design.canaries, guesses, rates.promised, design.runs)
        return max_p_bound(self._asked(test, guesses), runs, strategy="planned").epsilon

    def largest(self, test: PlannedTest[Any], guesses: int) -> float:
        """Return the epsilon that `test` certifies if every guess is right."""
        return super().largest(self._asked(test, guesses), guesses)

    def power(self, promise: TradeOff, guesses: int) -> float:
        """Return the chance to refute the promise at half its noise."""
        alpha = 1 - self.planned.confidence
        return power_of_evidence(promise, self.run(guesses, 0), self._rates(guesses), self.design.runs, alpha)

    def error_rates(self, guesses: int) -> tuple[float, float] | None:
        """Return what e-values are made for."""
        rates = self._rates(guesses)
        return rates.promised, rates.broken

    def _asked(self, test: PlannedTest[Any], guesses: int) -> PlannedTest[Any]:
        return replace(test, test=JointCount(self._rates(guesses)), promise=None)

    def _rates(self, guesses: int) -> ErrorRates:
        sides = self.design.sides(guesses)
        promised, broken = self.design.accuracy(guesses), self.half_noise.accuracy(*sides)
        return ErrorRates(promised=max(0.0, 1 - promised), broken=max(0.0, 1 - broken))


class _Pooled(_ByEvidence):
    """A design in which the penalties of all runs are judged together: where `one-run-pooled` is asked for."""

    remark = "; the errors of all runs are judged together"

    def expected(self, test: PlannedTest[Any], guesses: int) -> float:
        """Return the epsilon that `test` certifies with runs of the median sum of penalties."""
        rates, runs, size = self._rates(guesses), self.design.runs, self.run(guesses, 0)
        penalties = PooledCount(rates).penalties(test.family, [size] * runs, test.level(runs))
        middle = median_runs(size, rates.promised, runs, penalties)
        return max_p_bound(self._asked(test, guesses), middle, strategy="planned").epsilon

    def power(self, promise: TradeOff, guesses: int) -> float:
        """Return the chance to refute the promise at half its noise."""
        alpha = 1 - self.planned.confidence
        return power_of_pooled(promise, self.run(guesses, 0), self._rates(guesses), self.design.runs, alpha)

    def _asked(self, test: PlannedTest[Any], guesses: int) -> PlannedTest[Any]:
        return replace(test, test=PooledCount(self._rates(guesses)), promise=None)


class _ByGroups(EveryRun):
    """A design in which every run must refute by two rank groups."""

    remark = "; two rank groups"

    def __init__(self, planned: PlannedTest[Any], design: Design, half_noise: Guesser, groups: _Groups) -> None:
        super().__init__(planned, design, half_noise)
        self.surest, self._groups = groups.surest, groups

    def expected(self, test: PlannedTest[Any], guesses: int) -> float:
        """Return the epsilon that `test` certifies with the median weighted errors of the worst run."""
        if test.family.hypothesis == "any":  # one count is tested
            return super().expected(test, guesses)
        return self._certified(test, self._groups.run(guesses, self.design, self._groups.median))

    def largest(self, test: PlannedTest[Any], guesses: int) -> float:
        """Return the epsilon that `test` certifies if every guess is right."""
        if test.family.hypothesis == "any":
            return super().largest(test, guesses)
        return self._certified(test, self._groups.run(guesses, self.design, 0))

    def power(self, promise: TradeOff, guesses: int) -> float:
        """Return the chance to refute the promise at half its noise."""
        sides = self.design.sides(guesses)
        first = (self.surest.guesses_in, self.surest.guesses_out) if self.surest is not None else (0, 0)
        rates = _group_rates(self.half_noise, first, sides)
        run = self._groups.run(guesses, self.design, 0)
        test, level = RankGroups(self._groups.surest), self.planned.level(self.design.runs)
        return float(power_of_groups(test, promise, run, rates, level) ** self.design.runs)

    def _certified(self, test: PlannedTest[Any], run: Guesses) -> float:
        planned = replace(test, test=RankGroups(self._groups.surest))
        return max_p_bound(planned, [run] * self.design.runs, strategy="planned").epsilon


@dataclass(frozen=True)
class _Groups:
    """Two rank groups, and the median of the weighted errors in the worst of the ideal runs."""

    surest: Surest
    median: int

    def run(self, guesses: int, design: Design, weighted: int) -> Guesses:
        """Return a run with so many weighted errors, each of weight 1 as far as there are guesses for it."""
        size = self.surest.guesses_in + self.surest.guesses_out
        first = max(0, -(-(weighted - (guesses - size)) // self.surest.weight))
        errors = weighted - self.surest.weight * first + first
        return Guesses(
            canaries=design.canaries,
            guesses=guesses,
            correct=guesses - errors,
            surest=size,
            surest_correct=size - first,
        )


def _rank_groups(design: Design, guesses: int) -> _Groups | None:
    """Return two rank groups of so many guesses; None for few of them, or where their program would be too large.

    The share of the surest is a rule of thumb; the weight is how many times rarer their errors are.
    """
    size = round(_SUREST * guesses)
    first, sides = design.sides(size), design.sides(guesses)
    if first[0] > sides[0] or first[1] > sides[1]:
        return None
    rates = _group_rates(design.guesser, first, sides)
    weight = min(_HEAVIEST, round(rates[1] / max(rates[0], 1e-9)))
    if weight < 2:
        return None
    sizes = (size, guesses - size)
    median = weighted_quantile(sizes, rates, weight, 0.5 ** (1 / design.runs))
    most = weighted_quantile(sizes, rates, weight, (1 - _UNLIKELY) ** (1 / design.runs))
    while most > median and not fits(design.canaries, sizes, weight, most):
        most -= 1
    if not fits(design.canaries, sizes, weight, most):
        return None
    return _Groups(Surest(guesses_in=first[0], guesses_out=first[1], weight=weight, most=most), median)


def _group_rates(guesser: Guesser, first: tuple[int, int], sides: tuple[int, int]) -> tuple[float, float]:
    """Return the chances that a guess of the first group, and one of the second, is wrong."""
    size, guesses = sum(first), sum(sides)
    right, all_right = size * guesser.accuracy(*first), guesses * guesser.accuracy(*sides)
    return max(0.0, 1 - right / size), min(1.0, max(0.0, 1 - (all_right - right) / (guesses - size)))


def stand_in(planned: PlannedTest[Any]) -> PlannedTest[Any]:
    """Return the same question, asked of a test that is fast enough to search with."""
    test = planned.test
    return replace(planned, test=test.stand_in) if isinstance(test, SearchesFamily) else planned


def _fewest_refuting(planned: PlannedTest[Curve], promise: Curve, design: Design, guesses: int) -> int:
    """Return the fewest right guesses that refute the promise in every run; guesses + 1 if not even all do."""
    level = planned.level(design.runs)

    def refutes(correct: int) -> bool:
        run = Guesses(canaries=design.canaries, guesses=guesses, correct=correct)
        return planned.test.refutes(promise, run, level)

    return first_true(refutes, guesses)


def by_evidence(
    planned: PlannedTest[Any], quick: EveryRun, best: int, shares: Sequence[float]
) -> list[tuple[EveryRun, int]]:
    """Return the designs by e-values, of several shares of the best number of guesses; none for few runs.

    Of `one-run-pooled` the one of the best number.
    """
    design = quick.design
    if isinstance(planned.test, PooledCount) and design.runs > 1:
        return [(_Pooled(planned, design, quick.half_noise), best)]
    if not isinstance(planned.test, JointCount) or design.runs < _MANY_RUNS:
        return []
    choices = sorted({min(design.canaries, max(1, round(share * best))) for share in shares})
    return [(_ByEvidence(planned, design, quick.half_noise), choice) for choice in choices]


def by_groups(planned: PlannedTest[Any], quick: EveryRun, best: int, times: float) -> list[tuple[EveryRun, int]]:
    """Return the design of two rank groups, of so many times the best number of guesses, if it can gain."""
    design, tested = quick.design, isinstance(planned.test, JointCount) and planned.family.hypothesis != "any"
    if not tested or design.runs >= _MANY_RUNS or best < _ENOUGH_GUESSES:
        return []
    total = min(design.canaries, round(times * best))
    groups = _rank_groups(design, total)
    return [] if groups is None else [(_ByGroups(planned, design, quick.half_noise, groups), total)]
