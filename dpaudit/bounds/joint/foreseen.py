"""What R runs of an ideal attack would show, and how often their e-values refute the promise."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import bdtr

from dpaudit.bounds.guesses import Guesses
from dpaudit.bounds.joint.evidence import best_evidence

if TYPE_CHECKING:
    from dpaudit.bounds.joint.runs import ErrorRates
    from dpaudit.bounds.tradeoff import TradeOff

__all__ = ["power_of_evidence", "typical_runs"]

_DRAWS = 4000


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
