"""Two rank groups: an error among the surest guesses counts for more, by a weight that was fixed with the plan.

Of r guesses the r_1 surest are the first group; e_1 of them are wrong, and e_2 of the others. With T = w e_1 + e_2 and
E = e_1 + e_2, the outcomes are put in one order by nested regions:

    T <= t           for t = 0, ..., most;
    T <= most or E <= c    for c = 0, 1, ...

The p-value of what was seen is a bound on the chance of the smallest region that holds it, by whatever certificate is
asked: all hold. Regions are nested, so all that has p <= alpha lies in one of them whose chance is at most alpha. The
first kind is bounded by the program of two groups; the second, for attacks much weaker than planned, by
P[T <= most] + P[E <= c] and, since T <= most implies E <= most, by P[E <= max(c, most)]: a count, as in `count`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar, TypeAlias, TypeVar

import numpy as np

from dpaudit.bounds.family import Refuted
from dpaudit.bounds.guesses import Guesses
from dpaudit.bounds.joint.certificate import Box
from dpaudit.bounds.joint.count import chance_of_count, count_certificate
from dpaudit.bounds.joint.program import MOST_TERMS, best_certificate, is_solved
from dpaudit.bounds.one_run_fdp import FdpRecursion
from dpaudit.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from dpaudit.bounds.family import Family
    from dpaudit.bounds.joint.certificate import Certificate
    from dpaudit.bounds.tradeoff import TradeOff
    from dpaudit.results import GuaranteeKind, Surest

__all__ = ["MOST_GROUP_TERMS", "RankGroups", "Region", "fits", "group_box", "region_of"]

Curve = TypeVar("Curve", bound="TradeOff")

#: terms (edges x epsilons) of a program of two groups that is solved; one of so many takes 2 or 3 seconds
MOST_GROUP_TERMS = 13_000
_RECURSION = FdpRecursion()
_PASSES = 2
_HOPELESS = 10.0  # where the recursion is so far above the level, no program is solved
_GAIN = 1e-3  # relative: a pass that gains less is the last

#: (False, t): T <= t; (True, c): T <= most or E <= c. In the order of tuples every region holds those before it
Region: TypeAlias = tuple[bool, int]


def region_of(run: Guesses, surest: Surest) -> Region:
    """Return the smallest region that holds what a run showed.

    >>> from dpaudit.results import Surest
    >>> surest = Surest(guesses_in=50, guesses_out=50, weight=3, most=20)
    >>> region_of(Guesses(canaries=1000, guesses=200, correct=195, surest=100, surest_correct=99), surest)
    (False, 7)
    >>> region_of(Guesses(canaries=1000, guesses=200, correct=180, surest=100, surest_correct=92), surest)
    (True, 20)
    """
    if run.surest != surest.guesses_in + surest.guesses_out:
        raise InputError("surest", run.surest, f"the {surest.guesses_in + surest.guesses_out} guesses of the plan")
    first, errors = run.surest - run.surest_correct, run.guesses - run.correct
    weighted = surest.weight * first + (errors - first)
    return (False, weighted) if weighted <= surest.most else (True, errors)


def group_box(canaries: int, sizes: tuple[int, int], weight: int, most: int) -> Box:
    """Return the box of a program for T <= most, with a margin: the worst law lives on its outer counts as well.

    >>> group_box(1000, (100, 100), 3, 8).last
    (15, 28)
    """
    margins = ((most / weight, 8), (most, 13))
    last = tuple(min(size, round(end + by + 2.4 * end**0.5)) for size, (end, by) in zip(sizes, margins, strict=True))
    return Box(canaries=canaries, sizes=sizes, last=last)


def fits(canaries: int, sizes: tuple[int, int], weight: int, most: int) -> bool:
    """Return whether the program for T <= most is small enough to be solved."""
    return is_solved(group_box(canaries, sizes, weight, most), MOST_GROUP_TERMS)


@dataclass(frozen=True)
class RankGroups:
    """P[a region at most as far as what was seen] under the worst mechanism; every run must refute."""

    surest: Surest

    method: ClassVar[str] = "one-run-joint"
    guarantee: ClassVar[GuaranteeKind] = "certified"

    def p_value(self, curve: TradeOff, run: Guesses) -> float:
        """Return a bound on the chance of the run's region under any mechanism that keeps `curve`.

        >>> from dpaudit.bounds.tradeoff import Gaussian
        >>> from dpaudit.results import Surest
        >>> run = Guesses(canaries=1000, guesses=60, correct=58, surest=30, surest_correct=30)
        >>> test = RankGroups(Surest(guesses_in=15, guesses_out=15, weight=3, most=10))
        >>> one_count = FdpRecursion().p_value(Gaussian(0.8), run)
        >>> 0.0 < test.p_value(Gaussian(0.8), run) < one_count < 0.2
        True
        """
        return self._chance([run], curve)(curve)

    def refutes(self, curve: TradeOff, run: Guesses, level: float) -> bool:
        """Return whether `p_value` is at most `level`; the recursion is asked first: T <= t implies E <= t."""
        beyond, count = region_of(run, self.surest)
        if not beyond and _RECURSION.refutes(curve, _with_errors(run, count), level):
            return True
        return self.p_value(curve, run) <= level

    @property
    def stand_in(self) -> FdpRecursion:
        """Return the fast test by which designs are searched."""
        return _RECURSION

    def p_value_of_runs(self, curve: TradeOff, runs: Sequence[Guesses]) -> float:
        """Return a bound on the chance that every run is in the last region of any."""
        return self._chance(runs, curve)(curve) ** len(runs)

    def largest_refuted(self, family: Family[Curve], runs: Sequence[Guesses], level: float) -> Refuted:
        """Return the largest curve that the worst run refutes at `level`, by a few programs.

        The first are made near what one count refutes; which certificate is asked decides how tight a bound is, only.
        """

        def searched(chance: Callable[[TradeOff], float], near: float | None = None) -> Refuted:
            if family.start is None:
                return family.largest_refuted(lambda curve: chance(curve) <= level)
            return family.largest_below(chance, level, near)

        run, _ = _worst(runs, self.surest)
        near = searched(_counted(run, run.guesses - run.correct, None))
        if near.parameter is None and self._is_hopeless(family.curve(family.private), runs, level):
            return near
        found, at = Refuted(parameter=None, epsilon=0.0), near.parameter
        for _ in range(_PASSES):
            better = searched(self._chance(runs, family.curve(family.private if at is None else at)), at)
            gain, found = better.epsilon - found.epsilon, max(found, better, key=lambda refuted: refuted.epsilon)
            if gain <= _GAIN * found.epsilon:
                break
            at = found.parameter
        return found

    def _is_hopeless(self, curve: TradeOff, runs: Sequence[Guesses], level: float) -> bool:
        """Return whether so many errors are so likely that no program is worth solving."""
        run, (_, count) = _worst(runs, self.surest)
        return _counted(run, count, None)(curve) > _HOPELESS * level

    def remark(self, runs: Sequence[Guesses]) -> str:
        """Return how the region was bounded: by two rank groups, or by the count where errors are far more."""
        run, (beyond, count) = _worst(runs, self.surest)
        if not beyond and fits(run.canaries, _sizes(run), self.surest.weight, count):
            return "two rank groups"
        return "two rank groups, with so many errors that all of them count alike"

    def _chance(self, runs: Sequence[Guesses], anchor: TradeOff) -> Callable[[TradeOff], float]:
        """Return curve -> a bound on the chance of the worst run's region, by certificates made at `anchor`."""
        run, (beyond, count) = _worst(runs, self.surest)
        most = self.surest.most
        solved = fits(run.canaries, _sizes(run), self.surest.weight, most if beyond else count)
        if not beyond and (count == 0 or not solved):
            return _counted(run, count, None)  # T <= t implies E <= t, and T = 0 is E = 0, where the recursion is exact
        weighted = self._weighted(run, most if beyond else count, anchor) if solved else _certain
        if not beyond and count > self.surest.weight:
            return weighted
        if not beyond:  # so few errors that the recursion, which needs no grid, may know more
            within = _counted(run, count, None)
            return lambda curve: min(weighted(curve), within(curve))
        counted, wider = _counted(run, count, anchor), _counted(run, max(count, most), anchor)
        return lambda curve: min(1.0, wider(curve), weighted(curve) + counted(curve))

    def _weighted(self, run: Guesses, most: int, anchor: TradeOff) -> Callable[[TradeOff], float]:
        """Return curve -> a bound on P[T <= most]."""
        certificate, reward = _certificate(run.canaries, _sizes(run), self.surest.weight, most, anchor)
        return lambda curve: certificate.most(reward, curve)


def _certain(_: TradeOff) -> float:
    return 1.0


def _counted(run: Guesses, errors: int, anchor: TradeOff | None) -> Callable[[TradeOff], float]:
    """Return curve -> a bound on P[E <= errors], by the recursion and, at an anchor, by the program of one count."""
    seen, known = _with_errors(run, errors), None
    if anchor is not None:
        known = count_certificate(seen.canaries, seen.guesses, seen.correct, anchor, MOST_TERMS)

    def chance(curve: TradeOff) -> float:
        by_recursion = _RECURSION.p_value(curve, seen)
        return by_recursion if known is None else min(by_recursion, chance_of_count(known, seen, curve))

    return chance


def _with_errors(run: Guesses, errors: int) -> Guesses:
    return Guesses(canaries=run.canaries, guesses=run.guesses, correct=max(0, run.guesses - errors))


def _sizes(run: Guesses) -> tuple[int, int]:
    return run.surest, run.guesses - run.surest


def _worst(runs: Sequence[Guesses], surest: Surest) -> tuple[Guesses, Region]:
    """Return a run of the last region, and that region: P[all are in it] is its chance to the power of R.

    All runs have as many canaries and guesses; else their regions have different chances.
    """
    if len({(run.canaries, run.guesses) for run in runs}) != 1:
        raise InputError("runs", len(runs), "runs with as many canaries and guesses each, for two rank groups")
    regions = [region_of(run, surest) for run in runs]
    last = max(range(len(runs)), key=regions.__getitem__)
    return runs[last], regions[last]


@lru_cache(maxsize=256)
def _certificate(
    canaries: int, sizes: tuple[int, int], weight: int, most: int, curve: TradeOff
) -> tuple[Certificate, NDArray[np.float64]]:
    """Return the best certificate at `curve` of T <= most, and that reward."""
    box = group_box(canaries, sizes, weight, most)
    reward = (weight * box.errors[0] + box.errors[1] <= most).astype(np.float64).reshape(box.shape)
    found = best_certificate(box, reward, curve, terms=MOST_GROUP_TERMS)
    if found is None:
        raise InputError("most", most, "a count whose program fits")
    return found, reward
