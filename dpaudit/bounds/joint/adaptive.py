"""The test of a count of errors for adaptive guessers (docs/statistics/joint-bound.md, "Adaptive guessers")."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar, TypeVar

from dpaudit.bounds.family import Refuted
from dpaudit.bounds.guesses import Guesses
from dpaudit.bounds.joint.tolls import best_tolls, is_played
from dpaudit.bounds.one_run_fdp import FdpRecursion

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dpaudit.bounds.family import Family
    from dpaudit.bounds.joint.sequential import Tolls
    from dpaudit.bounds.tradeoff import TradeOff
    from dpaudit.results import GuaranteeKind

__all__ = ["AdaptiveCount"]

Curve = TypeVar("Curve", bound="TradeOff")

_RECURSION = FdpRecursion()
_NOTHING = Refuted(parameter=None, epsilon=0.0)
_PASSES = 8
_GAIN = 1e-3  # relative: a pass that gains less is the last
_LEAST, _TOLERANCE = 1e-6, 1e-4  # epsilons below are not told from 0; relative, of a search by p-values


@dataclass(frozen=True)
class AdaptiveCount:
    """P[no more errors than were seen], whichever canary is revealed next and however it is guessed.

    Both may depend on the output and on all coins revealed so far; only the number of guesses is fixed before any coin
    is seen. Guesses that depend on the output alone are allowed too, but `one-run-joint` certifies more by them.
    """

    method: ClassVar[str] = "one-run-adaptive"
    guarantee: ClassVar[GuaranteeKind] = "certified"

    def p_value(self, curve: TradeOff, run: Guesses) -> float:
        """Return a bound on the chance of this many right guesses under any mechanism that keeps `curve`.

        >>> from dpaudit.bounds.guesses import Guesses
        >>> from dpaudit.bounds.tradeoff import Gaussian
        >>> round(AdaptiveCount().p_value(Gaussian(1.0), Guesses(canaries=1000, guesses=150, correct=147)), 3)
        0.056
        """
        return _tolls(run.canaries, run.guesses, run.correct, curve).most(curve)

    def refutes(self, curve: TradeOff, run: Guesses, level: float) -> bool:
        """Return whether this many right guesses have a chance of at most `level` under all that keep `curve`."""
        return self.p_value(curve, run) <= level

    @property
    def stand_in(self) -> AdaptiveCount:
        """Return the test itself: no faster one holds for adaptive guesses."""
        return self

    def p_value_of_runs(self, curve: TradeOff, runs: Sequence[Guesses]) -> float:
        """Return a bound on the chance that every run is at least as good as the worst."""
        return max(self.p_value(curve, run) for run in runs) ** len(runs)

    def largest_refuted(self, family: Family[Curve], runs: Sequence[Guesses], level: float) -> Refuted:
        """Return the largest curve of a family that every run refutes at `level`.

        The search begins at the recursion's answer, which is not believed: it is for guesses that do not adapt.
        """
        if family.start is not None:
            return family.largest_below(self._worst(runs), level)
        begin = family.largest_refuted(lambda curve: all(_RECURSION.refutes(curve, run, level) for run in runs))
        begin_at = family.private if begin.parameter is None else begin.parameter
        search = self._by_p_values if family.hypothesis == "any" else _by_tolls
        return search(family, runs, level, begin_at)

    def _by_p_values(self, family: Family[Curve], runs: Sequence[Guesses], level: float, begin_at: float) -> Refuted:
        """Return the answer for (epsilon, delta)-DP: tolls at one promise's own epsilon say nothing of a larger one."""
        worst, least = self._worst(runs), max(family.private, _LEAST)
        if worst(family.curve(family.private)) > level:
            return _NOTHING
        tolerance = max(family.tolerance, _TOLERANCE * begin_at)
        above = replace(family, private=least, start=max(begin_at, least), tolerance=tolerance)
        found = above.largest_below(worst, level)
        return found if found.parameter is not None else Refuted(parameter=family.private, epsilon=0.0)

    def _worst(self, runs: Sequence[Guesses]) -> Callable[[TradeOff], float]:
        return lambda curve: max(self.p_value(curve, run) for run in runs)

    def remark(self, runs: Sequence[Guesses]) -> str:
        """Return what had to do where there are too many guesses for the game to be played."""
        if all(is_played(run) for run in runs):
            return ""
        return "by a toll at one epsilon: with so many guesses and errors the best tolls would take too long"


def _by_tolls(family: Family[Curve], runs: Sequence[Guesses], level: float, begin_at: float) -> Refuted:
    """Return the answer by a few searches for tolls, each at the last answer: tolls bound the chance of every curve."""
    found, anchor = _NOTHING, begin_at
    for _ in range(_PASSES):
        curve = family.curve(anchor)
        known = [_tolls(run.canaries, run.guesses, run.correct, curve) for run in runs]
        better = family.largest_refuted(lambda curve: all(tolls.most(curve) <= level for tolls in known))  # noqa: B023  # called at once
        if better.parameter is None and found.parameter is None and anchor != family.private:
            anchor = (anchor + family.private) / 2
            continue
        gain, found = better.epsilon - found.epsilon, max(found, better, key=_size)
        if gain <= _GAIN * found.epsilon or found.parameter is None:
            break
        anchor = found.parameter
    return found


def _size(found: Refuted) -> tuple[bool, float]:
    return found.parameter is not None, found.epsilon


@lru_cache(maxsize=512)
def _tolls(canaries: int, guesses: int, correct: int, curve: TradeOff) -> Tolls:
    return best_tolls(Guesses(canaries=canaries, guesses=guesses, correct=correct), curve)
