"""The certified bounds, with every strategy that applies: nothing is assumed but fair coins or independent runs."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dpaudit.bench.contender import (
    CONFIDENCE,
    DELTA,
    THRESHOLD,
    Contender,
    by_area,
    by_rates,
    families,
    guessing,
    thresholding,
)
from dpaudit.bounds.betting import betting_bound
from dpaudit.bounds.family import any_family, gaussian_family
from dpaudit.bounds.joint.adaptive import AdaptiveCount
from dpaudit.bounds.joint.count import JointCount
from dpaudit.bounds.joint.pooled import PooledCount
from dpaudit.bounds.joint.runs import ErrorRates
from dpaudit.bounds.one_run import Steinke
from dpaudit.bounds.one_run_fdp import FdpRecursion
from dpaudit.bounds.strategies import Bonferroni, Dkw, FixedGuesses, FixedThreshold, KFold, Split
from dpaudit.mechanism import Mechanism
from dpaudit.pipeline.hypotheses import planned_test
from dpaudit.results import Promise

if TYPE_CHECKING:
    from dpaudit.bench.contender import Runs
    from dpaudit.bounds.family import Family
    from dpaudit.bounds.max_p import OneRunTest
    from dpaudit.bounds.strategies import GuessStrategy, ThresholdStrategy

__all__ = ["certified"]

_GUESSES: dict[str, GuessStrategy] = {
    "fixed": FixedGuesses(guesses_in=50, guesses_out=50),
    "split": Split(),
    "5 folds": KFold(),
    "best of 4": Bonferroni(choices=tuple(FixedGuesses(guesses_in=k, guesses_out=k) for k in (25, 50, 100, 200))),
}
_THRESHOLDS: dict[str, ThresholdStrategy] = {
    "fixed": FixedThreshold(threshold=THRESHOLD),
    "split": Split(),
    "5 folds": KFold(),
    "best of 4": Bonferroni(choices=tuple(FixedThreshold(threshold=t) for t in (0.5, 1.0, THRESHOLD, 2.0))),
}
_FEW_RUNS = 4
#: of 50 guesses in and out of N(0, 1) and N(1, 1), and with half the noise: what e-values are made for
_RATES = ErrorRates(promised=0.1, broken=0.005)
_STREAM = 150  # of the surest guesses, for the betting test
_BETS = np.arange(0, 6, 0.02)


def certified() -> list[Contender]:
    """Return the certified bounds, those of one run first."""
    recursion = [*_by_guesses(FdpRecursion()), _by_few_runs(FdpRecursion()), _by_accountant()]
    one_run = [*_by_guesses(Steinke()), *recursion, *_by_joint_count(), *_by_pooled_count(), *_by_adaptive_count()]
    one_run.append(_by_betting())
    many_runs = by_rates("independent runs", "certified", _THRESHOLDS)
    return [*one_run, *many_runs, *_by_band(), *by_area("independent runs", "certified")]


def _by_guesses(test: OneRunTest[Any]) -> list[Contender]:
    return [
        Contender(
            method=test.method,
            strategy=name,
            claim="certified",
            family=family,
            epsilon=guessing(test, strategy),
        )
        for family in families(test.method)
        for name, strategy in _GUESSES.items()
    ]


def _by_joint_count() -> list[Contender]:
    """The joint count; where numbers of guesses are fixed, audits with as many errors share their programs."""
    slow = {"fixed": 2, "split": 10, "5 folds": 20, "best of 4": 4}
    one_run = [replace(bound, slow=slow[bound.strategy]) for bound in _by_guesses(JointCount())]
    return [*one_run, replace(_by_few_runs(JointCount()), slow=2), _by_evidence()]


def _by_pooled_count() -> list[Contender]:
    """The errors of two runs together; audits with nearly as many errors share their programs."""
    two = replace(_by_few_runs(PooledCount()), strategy="fixed, 2 runs", runs=2, slow=40)
    return [replace(two, family=family) for family in families(PooledCount.method)]


def _by_adaptive_count() -> list[Contender]:
    """The count for adaptive guesses, here of guesses that do not adapt."""
    return [replace(bound, slow=4) for bound in _by_guesses(AdaptiveCount()) if bound.strategy == "fixed"]


def _by_evidence() -> Contender:
    """The product of e-values: they are made around what the plan certifies, so the whole family is always searched."""
    whole = _by_few_runs(JointCount(_RATES))

    def epsilon(_: Family[Any], runs: Runs) -> float:
        return whole.epsilon(whole.family, runs)

    return replace(whole, strategy=f"fixed, {_FEW_RUNS} runs, e-values", epsilon=epsilon, slow=2)


def _by_few_runs(test: OneRunTest[Any]) -> Contender:
    return Contender(
        method=test.method,
        strategy=f"fixed, {_FEW_RUNS} runs",
        claim="certified",
        family=gaussian_family(delta=DELTA),
        epsilon=guessing(test, _GUESSES["fixed"]),
        runs=_FEW_RUNS,
    )


def _by_accountant() -> Contender:
    """The accountant's own curves of the subsampled Gaussian of `known`, at unknown noise."""
    mechanism = Mechanism(
        sampling="poisson",
        adjacency="add-remove",
        noise_multiplier=1.0,
        sampling_rate=0.5,
        steps=1,
        clip_norm=1.0,
        batch_size=500,
        dataset_size=1000,
    )
    promise = Promise(kind="accountant", epsilon=math.inf, delta=DELTA, mechanism=mechanism)
    return Contender(
        method="one-run-fdp",
        strategy="fixed",
        claim="certified",
        family=planned_test(promise, "one-run-fdp", "accountant", CONFIDENCE).family,
        epsilon=guessing(FdpRecursion(), _GUESSES["fixed"]),
        slow=4,
    )


def _by_betting() -> Contender:
    return Contender(
        method="betting", strategy="anytime", claim="certified", family=any_family(delta=DELTA), epsilon=_bet
    )


def _bet(family: Family[Any], runs: Runs) -> float:
    """Reveal the scores farthest from the median first; the two lowest epsilons decide whether to look further."""
    (run,) = runs
    centre = float(np.median(run.scores))
    surest = np.argsort(-np.abs(run.scores - centre), kind="stable")[:_STREAM]
    stream = (run.member[surest] == (run.scores[surest] > centre)).tolist()
    epsilon = 0.0
    for grid in (_BETS[:2], _BETS):
        bound = betting_bound(
            stream, family.private + grid, canaries=len(run), delta=family.delta, confidence=CONFIDENCE
        )
        epsilon = bound.epsilon
        if epsilon < family.private + grid[-1]:
            break
    return epsilon


def _by_band() -> list[Contender]:
    return [
        Contender(
            method="dkw",
            strategy="all thresholds",
            claim="certified",
            family=family,
            epsilon=thresholding(Dkw(), "independent runs"),
            trials="independent runs",
            slow=4,
        )
        for family in families("dkw")
    ]
