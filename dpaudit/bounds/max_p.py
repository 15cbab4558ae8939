"""One bound from R independent runs: a curve is refuted when every run refutes it at level alpha^(1/R).

Independent p-values p_1, ..., p_R of a true hypothesis satisfy P[all p_r <= a] <= a^R, so (max_r p_r)^R is a p-value
(Wilkinson 1951, with the largest of the R). R = 1 is the plain test.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, runtime_checkable

from dpaudit.bounds.guesses import Guesses, counts_of
from dpaudit.bounds.significance import check_confidence
from dpaudit.errors import InputError
from dpaudit.results import Bound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dpaudit.bounds.family import Family, Refuted
    from dpaudit.bounds.tradeoff import TradeOff
    from dpaudit.results import GuaranteeKind

__all__ = ["OneRunTest", "PlannedTest", "SearchesFamily", "best_of_bound", "max_p_bound", "max_p_value"]

Tested_contra = TypeVar("Tested_contra", bound="TradeOff", contravariant=True)
Curve = TypeVar("Curve", bound="TradeOff")


class OneRunTest(Protocol[Tested_contra]):
    """A test of a trade-off curve by the guesses of one run."""

    @property
    def method(self) -> str:
        """Its name in reports."""

    @property
    def guarantee(self) -> GuaranteeKind:
        """Return what its p-values assume of the canaries."""

    def p_value(self, curve: Tested_contra, run: Guesses) -> float:
        """Return a bound on the chance of a run at least this good under any mechanism that keeps `curve`."""

    def refutes(self, curve: Tested_contra, run: Guesses, level: float) -> bool:
        """Return whether `p_value` is at most `level`."""


@runtime_checkable
class SearchesFamily(Protocol):
    """A test that judges several runs, and whole families, in a way of its own."""

    @property
    def stand_in(self) -> OneRunTest[Any]:
        """Return a faster test, never stronger, by which designs are searched."""

    def p_value_of_runs(self, curve: Any, runs: Sequence[Guesses]) -> float:
        """Return a bound on the chance of runs at least this good under any mechanism that keeps `curve`."""

    def largest_refuted(self, family: Family[Any], runs: Sequence[Guesses], level: float) -> Refuted:
        """Return the largest curve that the runs refute, each at `level` or all together at level^R."""

    def remark(self, runs: Sequence[Guesses]) -> str:
        """Return what is to be said of how these runs were tested; empty = nothing."""


@dataclass(frozen=True, kw_only=True)
class PlannedTest(Generic[Curve]):
    """What will be tested, and how, fixed before any coin is seen.

    promise: the curve whose p-value is wanted, of the family or not. confidence: 1 - the share of alpha of this test.
    """

    test: OneRunTest[Curve]
    family: Family[Curve]
    confidence: float
    promise: Curve | None = None

    def __post_init__(self) -> None:
        check_confidence(self.confidence)

    def level(self, runs: int, choices: int = 1) -> float:
        """Return the level at which each of `runs` runs must refute, if the best of `choices` choices is taken."""
        return float(((1 - self.confidence) / choices) ** (1 / runs))


def max_p_value(test: OneRunTest[Curve], curve: Curve, runs: Sequence[Guesses]) -> float:
    """Return the p-value of `curve` given all runs."""
    if isinstance(test, SearchesFamily):
        return test.p_value_of_runs(curve, runs)
    return max(test.p_value(curve, run) for run in runs) ** len(runs)


def max_p_bound(planned: PlannedTest[Curve], runs: Sequence[Guesses], *, strategy: str) -> Bound:
    """Return the largest curve of the family that `runs` refute, and the p-value of the promise.

    strategy: how the numbers of guesses were chosen, in words. The runs are independent of each other; a certified test
    assumes nothing of the canaries but fair, independent coins.

    >>> from dpaudit.bounds.family import gaussian_family
    >>> from dpaudit.bounds.one_run_fdp import FdpRecursion
    >>> planned = PlannedTest(test=FdpRecursion(), family=gaussian_family(delta=1e-5), confidence=0.95)
    >>> run = Guesses(canaries=1000, guesses=150, correct=147)
    >>> round(max_p_bound(planned, [run], strategy="150 guesses, fixed").epsilon, 3)
    4.734
    >>> round(max_p_bound(planned, [run, run], strategy="150 guesses, fixed").epsilon, 3) > 5.4
    True
    """
    return best_of_bound(planned, [runs], strategy=strategy)


def best_of_bound(planned: PlannedTest[Curve], choices: Sequence[Sequence[Guesses]], *, strategy: str) -> Bound:
    """Return the largest bound of several sets of guesses on the same runs, each tested at alpha / their number.

    choices[k]: the guesses of every run by the k-th choice. By Bonferroni's inequality one of them errs with chance at
    most alpha, however they depend on each other.
    """
    if not choices or not all(choices):
        raise InputError("runs", 0, "at least one run")
    test = planned.test

    def refuted(runs: Sequence[Guesses]) -> Refuted:
        level, family = planned.level(len(runs), len(choices)), planned.family
        if isinstance(test, SearchesFamily):
            return test.largest_refuted(family, runs, level)
        if family.start is None:
            return family.largest_refuted(lambda curve: all(test.refutes(curve, run, level) for run in runs))
        return family.largest_below(lambda curve: max(test.p_value(curve, run) for run in runs), level)

    found = [refuted(runs) for runs in choices]
    best = max(range(len(found)), key=lambda choice: found[choice].epsilon)
    return Bound(
        method=test.method,
        hypothesis=planned.family.hypothesis,
        guarantee=test.guarantee,
        epsilon=found[best].epsilon,
        delta=planned.family.delta,
        confidence=planned.confidence,
        strategy=strategy,
        counts=counts_of(choices[best]),
        parameter=found[best].parameter,
        p_value=_promise_p_value(planned, choices),
        note=test.remark(choices[best]) if isinstance(test, SearchesFamily) else "",
    )


def _promise_p_value(planned: PlannedTest[Curve], choices: Sequence[Sequence[Guesses]]) -> float | None:
    if planned.promise is None:
        return None
    smallest = min(max_p_value(planned.test, planned.promise, runs) for runs in choices)
    return min(1.0, len(choices) * smallest)
