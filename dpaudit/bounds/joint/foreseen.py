"""What R runs of an ideal attack would show, and how often their e-values refute the promise."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import bdtr

from dpaudit.bounds.guesses import Guesses
from dpaudit.bounds.ideal_guesser import first_true
from dpaudit.bounds.joint.evidence import best_evidence
from dpaudit.bounds.joint.induction import Penalised, penalised_chances, thinning
from dpaudit.bounds.joint.penalties import evidence_penalties
from dpaudit.bounds.joint.pooled import convolved

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dpaudit.bounds.joint.groups import RankGroups
    from dpaudit.bounds.joint.runs import ErrorRates
    from dpaudit.bounds.tradeoff import TradeOff

__all__ = [
    "median_runs",
    "power_of_evidence",
    "power_of_groups",
    "power_of_pooled",
    "typical_runs",
    "weighted_quantile",
]

_DRAWS = 4000
_NEARLY_ALL = 0.9995
_FAR = 10**6  # a penalty that no total allows


def typical_runs(canaries: int, guesses: int, error_rate: float, runs: int) -> list[Guesses]:
    """Return `runs` runs whose errors are the quantiles (k + 1/2) / R of the binomial law: a middling set of them.

    >>> [run.correct for run in typical_runs(1000, 150, 0.02, 4)]
    [149, 148, 147, 145]
    """
    below = bdtr(np.arange(guesses + 1), guesses, error_rate)
    errors = np.searchsorted(below, (np.arange(runs) + 0.5) / runs)
    return [
        Guesses(canaries=canaries, guesses=guesses, correct=guesses - min(guesses, wrong)) for wrong in errors.tolist()
    ]


def power_of_evidence(promise: TradeOff, run: Guesses, rates: ErrorRates, runs: int, alpha: float) -> float:
    """Return the chance that `runs` runs refute the promise if guesses err at `rates.broken`; 4,000 fixed draws.

    run: its canaries and guesses are those of every run.
    """
    evidence = best_evidence(run.canaries, run.guesses, rates.broken, promise)
    if evidence is None:
        return 0.0
    values = np.array([evidence.value(errors, promise) for errors in range(run.guesses + 1)])
    logs = np.where(values > 0, np.log(np.maximum(values, 1e-300)), -np.inf)
    errors = np.random.default_rng(0).binomial(run.guesses, rates.broken, size=(_DRAWS, runs))
    return float(np.mean(logs[errors].sum(axis=1) >= math.log(1 / alpha)))


def median_runs(run: Guesses, error_rate: float, runs: int, penalties: tuple[int, ...] | None) -> list[Guesses]:
    """Return `runs` runs whose penalties, 1 for each error if none are given, add up to the median; 4,000 fixed draws.

    run: its canaries and guesses are those of every run.
    """
    paid = _paid(run.guesses, penalties)
    errors = np.random.default_rng(0).binomial(run.guesses, error_rate, size=(_DRAWS, runs))
    middle = errors[np.argsort(paid[errors].sum(axis=1), kind="stable")[_DRAWS // 2]]
    return [
        Guesses(canaries=run.canaries, guesses=run.guesses, correct=run.guesses - wrong) for wrong in middle.tolist()
    ]


def power_of_pooled(promise: TradeOff, run: Guesses, rates: ErrorRates, runs: int, alpha: float) -> float:
    """Return the chance that `runs` runs together refute the promise if guesses err at `rates.broken`.

    4,000 fixed draws; totals above twice what they are expected to be are not counted. By convolution where backward
    induction up to there would take too long.
    """
    penalties = evidence_penalties(run.canaries, run.guesses, rates.broken, runs, promise)
    errors = np.random.default_rng(0).binomial(run.guesses, rates.broken, size=(_DRAWS, runs))
    totals = _paid(run.guesses, penalties)[errors].sum(axis=1)
    most = 2 * math.ceil(np.minimum(totals, _FAR).mean()) + 10
    each = tuple(range(min(run.guesses, most + 20) + 1)) if penalties is None else penalties
    of = Penalised(run.canaries, run.guesses, runs, each)
    gap = thinning(of, most)
    if gap is None:
        refuted = first_true(lambda paid: convolved(of, paid, promise) > alpha, most)
    else:
        refuted = int(np.searchsorted(penalised_chances(of, most, promise, gap), alpha, side="right"))
    return float(np.mean(totals < refuted))


def _paid(guesses: int, penalties: tuple[int, ...] | None) -> NDArray[np.int64]:
    """Return what 0, ..., `guesses` errors cost, (guesses + 1,)."""
    if penalties is None:
        return np.arange(guesses + 1)
    paid = np.full(guesses + 1, _FAR)
    paid[: len(penalties)] = penalties
    return paid


def weighted_quantile(sizes: tuple[int, int], rates: tuple[float, float], weight: int, chance: float) -> int:
    """Return the least t with P[weight x errors of the first group + errors of the second <= t] >= chance.

    rates: chances that a guess of each group is wrong, guesses taken as independent.

    >>> weighted_quantile((100, 100), (0.01, 0.04), 3, 0.5)
    7
    """
    return int(np.searchsorted(_weighted_law(sizes, rates, weight).cumsum(), chance))


def power_of_groups(
    test: RankGroups, promise: TradeOff, run: Guesses, rates: tuple[float, float], level: float
) -> float:
    """Return the chance that a run refutes the promise at `level` if guesses of the two groups err at `rates`.

    run: its canaries and guesses. Weighted errors are tried one by one until the promise is kept, or likelier ones are
    left no more.
    """
    sizes, weight = (run.surest, run.guesses - run.surest), test.surest.weight
    below = _weighted_law(sizes, rates, weight).cumsum()
    refuted = 0.0
    for weighted in range(min(test.surest.most, sizes[1]) + 1):
        if not test.refutes(promise, replace(run, correct=run.guesses - weighted, surest_correct=run.surest), level):
            break
        refuted = float(below[weighted])
        if refuted >= _NEARLY_ALL:
            break
    return refuted


def _weighted_law(sizes: tuple[int, int], rates: tuple[float, float], weight: int) -> NDArray[np.float64]:
    """Return the chances of the weighted errors, (weight x sizes[0] + sizes[1] + 1,)."""
    first, second = (
        np.diff(bdtr(np.arange(size + 1), size, rate), prepend=0.0) for size, rate in zip(sizes, rates, strict=True)
    )
    spread = np.zeros(weight * sizes[0] + 1)
    spread[::weight] = first
    law: NDArray[np.float64] = np.convolve(spread, second)
    return law
