"""What many tools print: the best bound of all thresholds, each computed as if it had been the only one.

Wrong on purpose. It is measured beside the corrected strategies, so that a reader sees what choosing costs.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import betainc, betainccinv, betaincinv, log_ndtr, ndtri

from dpaudit.bench.contender import CONFIDENCE, DELTA, Contender
from dpaudit.bounds.clopper_pearson import Confusion
from dpaudit.bounds.family import any_family, gaussian_family
from dpaudit.bounds.gdp import gdp_epsilon
from dpaudit.bounds.max_p import OneRunTest, PlannedTest
from dpaudit.bounds.one_run import Steinke
from dpaudit.bounds.one_run_fdp import FdpRecursion
from dpaudit.bounds.ratio import adjusted_log, bailey, inverse_sinh, katz_log
from dpaudit.bounds.scored import bound_scores
from dpaudit.bounds.strategies import FixedGuesses

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from dpaudit.bench.contender import Measure, Runs
    from dpaudit.bounds.clopper_pearson import Trials
    from dpaudit.bounds.family import Family
    from dpaudit.scores import LabelledScores

    #: (counts, level) -> the lower limit of the ratio of two proportions
    Limit = Callable[[Confusion, float], float]

__all__ = ["best_clopper_pearson", "best_jeffreys", "best_jeffreys_of_cosines", "uncorrected"]

_RATIOS: dict[str, Limit] = {
    "katz-log": katz_log,
    "adjusted-log": adjusted_log,
    "bailey": bailey,
    "inverse-sinh": inverse_sinh,
}

_DIMENSION = 100_000  # of the cosines
_NEARLY_GAUSSIAN = 1000  # dimensions, as in the paper
_SIDES = np.unique(np.geomspace(5, 500, 30).round().astype(int)).tolist()


def uncorrected() -> tuple[Contender, ...]:
    """Return the best of all choices, by each method that has a choice."""
    any_, gaussian = any_family(delta=DELTA), gaussian_family(delta=DELTA)
    one_run: tuple[tuple[OneRunTest[Any], Family[Any]], ...] = ((Steinke(), any_), (FdpRecursion(), gaussian))
    return (
        *(_contender(test.method, family, _best_guesses(test), "canaries of one run") for test, family in one_run),
        *(
            _contender("clopper-pearson", family, best_clopper_pearson, "independent runs")
            for family in (any_, gaussian)
        ),
        *(
            _contender(method, any_family(delta=0.0), _best_ratio(limit), "independent runs")
            for method, limit in _RATIOS.items()
        ),
        _contender("one-shot", any_, _jeffreys_of_scores, "independent runs"),
        _contender("one-shot", replace(gaussian, hypothesis="none"), _jeffreys_of_cosines, "canaries of one run"),
    )


def best_clopper_pearson(family: Family[Any], runs: Runs) -> float:
    """Return the largest Clopper-Pearson bound of all thresholds; hypotheses `any` and `gaussian` only."""
    right_in, false_in, members, others = _counts(runs[0])
    false_positive = _upper(false_in, others)
    false_negative = _upper(members - right_in, members)
    with np.errstate(divide="ignore", invalid="ignore"):
        if family.hypothesis == "gaussian":
            mu = float(np.nan_to_num(ndtri(1 - false_positive) - ndtri(false_negative), nan=0.0).max())
            return gdp_epsilon(max(0.0, mu), family.delta)
        ratios = np.maximum(
            (1 - family.delta - false_negative) / false_positive, (1 - family.delta - false_positive) / false_negative
        )
    return math.log(max(1.0, float(ratios.max())))


def best_jeffreys(labelled: LabelledScores, *, delta: float, level: float) -> float:
    """Return the lower limit of Andrew et al. 2024 from canaries that were in and canaries that were not.

    It is the largest over all thresholds of the epsilon that two Jeffreys limits show, each at the whole level.

    >>> from dpaudit.scores import LabelledScores
    >>> rng = np.random.default_rng(0xBAD5EED)
    >>> scores = np.concatenate([rng.normal(1, 1, 100), rng.normal(0, 1, 100)])
    >>> seen_and_unseen = LabelledScores(scores=scores, member=np.arange(200) < 100)
    >>> round(best_jeffreys(seen_and_unseen, delta=0.01, level=0.01), 7)
    0.6839449
    """
    right_in, false_in, members, others = _counts(labelled)
    false_negative = _jeffreys(members - right_in, members, level)
    return _largest(np.log(_jeffreys(false_in, others, level)), false_negative, delta)


def best_jeffreys_of_cosines(cosines: NDArray[np.float64], dimension: int, *, delta: float, level: float) -> float:
    """Return the same lower limit from cosines of canaries that were in, (n,): the law of the others is known.

    >>> cosines = np.random.default_rng(0xBAD5EED).normal(2000**-0.5, 2000**-0.5, 100)
    >>> round(best_jeffreys_of_cosines(cosines, 2000, delta=0.01, level=0.01), 7)
    1.3880321
    """
    thresholds = np.sort(cosines)
    if dimension >= _NEARLY_GAUSSIAN:
        log_false_positive = log_ndtr(-thresholds * math.sqrt(dimension))
    else:
        shape = (dimension - 1) / 2
        log_false_positive = np.log(betainc(shape, shape, (1 - thresholds) / 2))
    false_negative = _jeffreys(np.arange(len(thresholds)), len(thresholds), level)
    return _largest(log_false_positive, false_negative, delta)


def _contender(method: str, family: Family[Any], epsilon: Measure, trials: Trials) -> Contender:
    return Contender(
        method=method,
        strategy="best of all",
        claim="uncorrected",
        family=family,
        epsilon=epsilon,
        trials=trials,
        slow=1 if method == "clopper-pearson" else 2,
    )


def _best_guesses(test: OneRunTest[Any]) -> Measure:
    choices = [FixedGuesses(guesses_in=side, guesses_out=side) for side in _SIDES]

    def epsilon(family: Family[Any], runs: Runs) -> float:
        planned = PlannedTest[Any](test=test, family=family, confidence=CONFIDENCE)
        return max(bound_scores(planned, runs, choice).epsilon for choice in choices)

    return epsilon


def _best_ratio(limit: Limit) -> Measure:
    def epsilon(_: Family[Any], runs: Runs) -> float:
        ratio = max(limit(confusion, 1 - CONFIDENCE) for confusion in _confusions(runs[0]))
        return math.log(max(1.0, ratio))

    return epsilon


def _jeffreys_of_scores(family: Family[Any], runs: Runs) -> float:
    return best_jeffreys(runs[0], delta=family.delta, level=1 - CONFIDENCE)


def _jeffreys_of_cosines(family: Family[Any], runs: Runs) -> float:
    """A Gaussian score of unit spread is a cosine times the root of the dimension."""
    cosines = runs[0].scores[runs[0].member] / math.sqrt(_DIMENSION)
    return best_jeffreys_of_cosines(cosines, _DIMENSION, delta=family.delta, level=1 - CONFIDENCE)


def _jeffreys(counts: NDArray[np.int64], trials: int, level: float) -> NDArray[np.float64]:
    """Return the 1 - level quantiles of the rates' posteriors under Jeffreys' prior, (k,)."""
    return np.asarray(betaincinv(counts + 0.5, trials - counts + 0.5, 1 - level), dtype=np.float64)


def _largest(log_false_positive: NDArray[np.float64], false_negative: NDArray[np.float64], delta: float) -> float:
    """Return the largest epsilon that a pair of limits, (k,) and (k,), shows; 0 if none is above."""
    with np.errstate(divide="ignore", invalid="ignore"):
        shown = np.append(
            np.log(1 - delta - false_negative) - log_false_positive,
            np.log(1 - delta - np.exp(log_false_positive)) - np.log(false_negative),
        )
    return max(0.0, float(np.nanmax(shown)))


def _confusions(labelled: LabelledScores) -> Sequence[Confusion]:
    right_in, false_in, members, others = _counts(labelled)
    return [
        Confusion(true_positives=right, in_trials=members, false_positives=false, out_trials=others)
        for right, false in zip(right_in.tolist(), false_in.tolist(), strict=True)
    ]


def _counts(labelled: LabelledScores) -> tuple[NDArray[np.int64], NDArray[np.int64], int, int]:
    """Return how many members and others are above each distinct score, (k,) and (k,), and how many there are."""
    inside, outside = np.sort(labelled.scores[labelled.member]), np.sort(labelled.scores[~labelled.member])
    thresholds = np.unique(labelled.scores)
    above = [len(world) - np.searchsorted(world, thresholds, side="right") for world in (inside, outside)]
    return above[0], above[1], len(inside), len(outside)


def _upper(counts: NDArray[np.int64], trials: int) -> NDArray[np.float64]:
    """Return the Clopper-Pearson limits of a rate, (k,), each at half of alpha."""
    limits = betainccinv(counts + 1, np.maximum(trials - counts, 1), (1 - CONFIDENCE) / 2)
    return np.where(counts == trials, 1.0, limits)
