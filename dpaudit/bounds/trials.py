"""From the scores of independent trials in two worlds to one bound, by a strategy that chooses the threshold.

Each strategy yields pairs of limits (false-positive rate, false-negative rate), and but for a chance of alpha all
pairs hold at once. A curve f with f(first) > second for one of them is refuted.

    fixed, split          one pair of Clopper-Pearson limits, each at alpha / 2
    K folds, Bonferroni   such a pair for each of n choices, each at alpha / (2 n)
    DKW                   each observed rate plus sqrt(ln(2 / alpha) / (2 n)), at all thresholds (Massart 1990)

Trials are independent if each has a run of its own. Canaries of one run have not: their bound is labelled so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, assert_never

import numpy as np
from scipy.special import betainccinv, ndtri

from dpaudit.bounds.clopper_pearson import Confusion, rate_limits
from dpaudit.bounds.significance import check_confidence, smallest_level
from dpaudit.bounds.strategies import Bonferroni, Dkw, FixedThreshold, KFold, Split, ThresholdStrategy
from dpaudit.bounds.thresholds import best_threshold, corners, error_counts
from dpaudit.errors import InputError
from dpaudit.results import Bound

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from dpaudit.bounds.clopper_pearson import Trials
    from dpaudit.bounds.family import Family
    from dpaudit.bounds.tradeoff import TradeOff
    from dpaudit.scores import LabelledScores

__all__ = ["bound_trials", "confusion_at"]

Curve = TypeVar("Curve", bound="TradeOff")
Pair: TypeAlias = tuple[float, float]
#: (confusion, level) -> limits of its two rates
Limits: TypeAlias = "Callable[[Confusion, float], Pair]"


def bound_trials(
    family: Family[Curve],
    labelled: LabelledScores,
    strategy: ThresholdStrategy,
    *,
    confidence: float,
    trials: Trials,
    promise: Curve | None = None,
) -> Bound:
    """Return the largest curve of `family` that the scores refute, and the p-value of `promise`.

    labelled: one row per trial, member = the world it ran in.

    >>> from dpaudit.bounds.family import gaussian_family
    >>> from dpaudit.scores import LabelledScores
    >>> rng = np.random.default_rng(0)
    >>> member = np.arange(1000) < 500
    >>> runs = LabelledScores(scores=rng.normal(size=1000) + 1.666 * member, member=member)
    >>> family = gaussian_family(delta=1e-5)
    >>> bound = bound_trials(family, runs, Dkw(), confidence=0.95, trials="independent runs")
    >>> 5.0 < bound.epsilon < 8.0
    True
    """
    check_confidence(confidence)
    test = _rate_test(family, labelled, strategy, 1 - confidence, trials)
    pairs = test.pairs(1 - confidence)
    refuted = family.largest_refuted(lambda curve: _first_refuting(curve, pairs) is not None)
    shown = None if refuted.parameter is None else _first_refuting(family.curve(refuted.parameter), pairs)
    p_value = None
    if promise is not None:
        p_value = smallest_level(lambda level: _first_refuting(promise, test.pairs(level)) is not None)
    return Bound(
        method="clopper-pearson" if test.limits is rate_limits else "dkw",
        hypothesis=family.hypothesis,
        guarantee=test.confusions[0].guarantee,
        epsilon=refuted.epsilon,
        delta=family.delta,
        confidence=confidence,
        strategy=str(strategy),
        counts=test.confusions[shown or 0].counts(),
        parameter=refuted.parameter,
        p_value=p_value,
    )


def confusion_at(labelled: LabelledScores, threshold: float, trials: Trials) -> Confusion:
    """Return the counts of scores above `threshold` in the two worlds."""
    positive = labelled.scores > threshold
    return Confusion(
        true_positives=int((positive & labelled.member).sum()),
        in_trials=int(labelled.member.sum()),
        false_positives=int((positive & ~labelled.member).sum()),
        out_trials=int((~labelled.member).sum()),
        trials=trials,
    )


@dataclass(frozen=True, kw_only=True)
class _RateTest:
    """The counts at each chosen threshold, and the limits of their rates; each threshold gets `share` of the level."""

    confusions: list[Confusion]
    limits: Limits
    share: float

    def pairs(self, level: float) -> list[Pair]:
        """Return the pairs of limits that all hold at once but for a chance of `level`."""
        return [self.limits(confusion, level * self.share) for confusion in self.confusions]


def _rate_test(
    family: Family[Curve], labelled: LabelledScores, strategy: ThresholdStrategy, level: float, trials: Trials
) -> _RateTest:
    if labelled.member.all() or not labelled.member.any():
        raise InputError("member", "one world only", "trials of both worlds")
    limits: Limits = rate_limits
    match strategy:
        case FixedThreshold():
            confusions = [confusion_at(labelled, strategy.threshold, trials)]
        case Bonferroni():
            confusions = [confusion_at(labelled, choice.threshold, trials) for choice in strategy.choices]
        case Split():
            confusions = _chosen([strategy.parts(labelled)], family, level, trials)
        case KFold():
            confusions = _chosen(strategy.parts(labelled), family, level, trials)
        case Dkw():
            return _RateTest(confusions=_at_corners(labelled, trials), limits=_band, share=1.0)
        case _:
            assert_never(strategy)
    return _RateTest(confusions=confusions, limits=limits, share=1 / len(confusions))


def _at_corners(labelled: LabelledScores, trials: Trials) -> list[Confusion]:
    """Return the counts at the thresholds of which one refutes a curve if any threshold does."""
    errors, members = error_counts(labelled), int(labelled.member.sum())
    return [
        Confusion(
            true_positives=members - int(errors.false_negatives[index]),
            in_trials=members,
            false_positives=int(errors.false_positives[index]),
            out_trials=len(labelled) - members,
            trials=trials,
        )
        for index in corners(errors)
    ]


def _first_refuting(curve: TradeOff, pairs: list[Pair]) -> int | None:
    """Return the first pair that refutes `curve`, or None."""
    for index, (false_positive, false_negative) in enumerate(pairs):
        if curve.inverse_blow_up(1 - false_positive) > false_negative:
            return index
    return None


def _band(confusion: Confusion, level: float) -> Pair:
    """Return both observed rates plus the half-width of a one-sided band at level / 2 (Massart 1990, Corollary 1)."""
    widths = [math.sqrt(math.log(2 / level) / (2 * n)) for n in (confusion.out_trials, confusion.in_trials)]
    rates = (confusion.false_positives / confusion.out_trials, confusion.false_negatives / confusion.in_trials)
    return min(1.0, rates[0] + widths[0]), min(1.0, rates[1] + widths[1])


def _chosen(
    parts: list[tuple[LabelledScores, LabelledScores]], family: Family[Curve], level: float, trials: Trials
) -> list[Confusion]:
    """Return the counts on the second part of each pair at the threshold that does best on its first."""
    return [
        confusion_at(rest, _best_threshold(part, len(rest), family, level / len(parts)), trials) for part, rest in parts
    ]


def _best_threshold(part: LabelledScores, tested: int, family: Family[Curve], level: float) -> float:
    """Return the threshold whose Clopper-Pearson bound is largest, were the rates the same among `tested` rows."""
    scale, members = tested / len(part), int(part.member.sum())

    def worth(above: NDArray[np.int64], below: NDArray[np.int64]) -> NDArray[np.float64]:
        false_positive = _upper_rates(scale * above, scale * (len(part) - members), level)
        false_negative = _upper_rates(scale * below, scale * members, level)
        return _worth(family, false_positive, false_negative)

    return best_threshold(error_counts(part), worth)


def _worth(
    family: Family[Curve], false_positive: NDArray[np.float64], false_negative: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return what limits of the two rates refute, up to a growing function of it."""
    with np.errstate(divide="ignore", invalid="ignore"):
        if family.hypothesis == "any":
            value = np.maximum(
                np.log((1 - false_negative - family.delta) / false_positive),
                np.log((1 - false_positive - family.delta) / false_negative),
            )
        else:
            value = ndtri(1 - false_positive) - ndtri(false_negative)
    return np.nan_to_num(value, nan=-np.inf)


def _upper_rates(counts: NDArray[np.floating[Any]], trials: float, level: float) -> NDArray[np.float64]:
    """Return the Clopper-Pearson limits at level / 2 of counts that need not be whole."""
    return np.where(counts >= trials, 1.0, betainccinv(counts + 1, np.maximum(trials - counts, 1e-9), level / 2))
