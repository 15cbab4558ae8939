"""From the labelled scores of R runs to one bound, by a strategy that says how the numbers of guesses are chosen.

A split is sound: given the coins of the part on which the numbers are chosen, the coins of the rest are still fair and
independent, and the mechanism with the part's coins held fixed keeps its curve for every other coin. So is each fold.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar, assert_never

import numpy as np
from scipy.special import betaincinv

from dpaudit.bounds.guesses import guess
from dpaudit.bounds.max_p import best_of_bound
from dpaudit.bounds.strategies import Bonferroni, FixedGuesses, GuessStrategy, KFold, Split
from dpaudit.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dpaudit.bounds.guesses import Guesses
    from dpaudit.bounds.max_p import PlannedTest
    from dpaudit.bounds.tradeoff import TradeOff
    from dpaudit.results import Bound
    from dpaudit.scores import LabelledScores

__all__ = ["bound_scores"]

Curve = TypeVar("Curve", bound="TradeOff")

_SHARES = 24


def bound_scores(planned: PlannedTest[Curve], runs: Sequence[LabelledScores], strategy: GuessStrategy) -> Bound:
    """Return the largest curve that the scores of all runs refute.

    >>> from dpaudit.bounds.family import gaussian_family
    >>> from dpaudit.bounds.max_p import PlannedTest
    >>> from dpaudit.bounds.one_run_fdp import FdpRecursion
    >>> from dpaudit.scores import LabelledScores
    >>> rng = np.random.default_rng(0)
    >>> member = rng.random(1000) < 0.5
    >>> run = LabelledScores(scores=rng.normal(size=1000) + 2 * member, member=member)
    >>> planned = PlannedTest(test=FdpRecursion(), family=gaussian_family(delta=1e-5), confidence=0.95)
    >>> bound_scores(planned, [run], FixedGuesses(guesses_in=100, guesses_out=100)).counts.correct
    (200,)
    """
    if not runs:
        raise InputError("runs", 0, "at least one run")
    match strategy:
        case FixedGuesses():
            choices = [_fixed_guesses(runs, strategy)]
        case Bonferroni():
            choices = [_fixed_guesses(runs, choice) for choice in strategy.choices]
        case Split():
            choices = [_chosen_guesses([strategy.parts(run) for run in runs], planned.level(len(runs)))]
        case KFold():
            folds = zip(*(strategy.parts(run) for run in runs), strict=True)
            choices = [_chosen_guesses(fold, planned.level(len(runs), strategy.folds)) for fold in folds]
        case _:
            assert_never(strategy)
    return best_of_bound(planned, choices, strategy=str(strategy))


def _fixed_guesses(runs: Sequence[LabelledScores], choice: FixedGuesses) -> list[Guesses]:
    surest = (0, 0) if choice.surest is None else (choice.surest.guesses_in, choice.surest.guesses_out)
    return [guess(run, guesses_in=choice.guesses_in, guesses_out=choice.guesses_out, surest=surest) for run in runs]


def _chosen_guesses(parts: Sequence[tuple[LabelledScores, LabelledScores]], level: float) -> list[Guesses]:
    """Return the guesses on the second part of each run, by the shares of its rows that do best on the first parts."""
    share_in, share_out = _best_shares(parts, level)
    return [
        guess(rest, guesses_in=int(share_in * len(rest)), guesses_out=int(share_out * len(rest))) for _, rest in parts
    ]


def _best_shares(parts: Sequence[tuple[LabelledScores, LabelledScores]], level: float) -> tuple[float, float]:
    """Return the shares of rows to guess in and out.

    Judged in the worst run by the lower limit of the accuracy, were the accuracy the same on the rows that are left:
    the epsilon of the pure-DP test grows with it.
    """
    shares = np.append(0.0, np.geomspace(0.002, 0.5, _SHARES))
    share_in, share_out = (axis.ravel()[1:] for axis in np.meshgrid(shares, shares))
    limits = np.min(
        [_limits(part, share_in, share_out, len(rest) / max(1, len(part)), level) for part, rest in parts], axis=0
    )
    best = int(np.argmax(limits))
    return float(share_in[best]), float(share_out[best])


def _limits(
    part: LabelledScores, share_in: NDArray[np.float64], share_out: NDArray[np.float64], left: float, level: float
) -> NDArray[np.float64]:
    """Return the lower limit of the accuracy at each pair of shares, for `left` times as many rows."""
    ascending = part.member[np.argsort(part.scores, kind="stable")]
    right_out = np.append(0, np.cumsum(~ascending))
    right_in = np.append(0, np.cumsum(ascending[::-1]))
    count_in, count_out = ((share * len(part)).astype(np.int64) for share in (share_in, share_out))
    guesses, correct = left * (count_in + count_out), left * (right_in[count_in] + right_out[count_out])
    limit = betaincinv(np.maximum(correct, 1e-9), guesses - correct + 1, level)
    return np.where(correct > 0, limit, 0.0)
