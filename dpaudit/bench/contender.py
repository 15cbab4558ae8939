"""One bound as it is asked for, and the ways of asking that several kinds of bounds share."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from dpaudit.bounds.auc import auc_bound
from dpaudit.bounds.family import any_family, gaussian_family
from dpaudit.bounds.max_p import OneRunTest, PlannedTest
from dpaudit.bounds.methods import METHODS
from dpaudit.bounds.scored import bound_scores
from dpaudit.bounds.trials import bound_trials
from dpaudit.results import GuaranteeKind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dpaudit.bounds.clopper_pearson import Trials
    from dpaudit.bounds.family import Family
    from dpaudit.bounds.strategies import GuessStrategy, ThresholdStrategy
    from dpaudit.scores import LabelledScores

__all__ = [
    "CANARIES",
    "CONFIDENCE",
    "DELTA",
    "THRESHOLD",
    "Claim",
    "Contender",
    "Measure",
    "Runs",
    "by_area",
    "by_rates",
    "families",
    "guessing",
    "thresholding",
]

#: what is claimed: a guarantee, `uncorrected` (the best of all choices, printed as if it were one) or `peer`
Claim: TypeAlias = GuaranteeKind | Literal["uncorrected", "peer"]
Runs: TypeAlias = "Sequence[LabelledScores]"
Measure: TypeAlias = "Callable[[Family[Any], Runs], float]"

CANARIES = 1000  # of one run; or independent runs, half of them in each world
DELTA, CONFIDENCE = 1e-5, 0.95
THRESHOLD = 1.5  # fixed beforehand
_ROUNDING = 1e-9


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One bound as it is asked for: method, strategy, the family that it searches, and what it claims.

    epsilon: (family, runs) -> the bound; 0 if not even the family's private end is refuted. runs: independent runs of
    1000 canaries each that it is given; `trials` "independent runs": one table of 1000 runs instead. slow: its coverage
    is measured on so many times fewer audits.
    """

    method: str
    strategy: str
    claim: Claim
    family: Family[Any]
    epsilon: Measure
    trials: Trials = "canaries of one run"
    runs: int = 1
    slow: int = 1

    def exceeds(self, runs: Runs, truth: float) -> bool:
        """Return whether the bound reaches the epsilon of the family's curve with parameter `truth`.

        The search begins at the truth and ends there: whoever does not refute that curve ends below it.
        """
        at_truth = replace(self.family, private=truth, tolerance=math.inf)
        return self.epsilon(at_truth, runs) > self.family.epsilon(truth) * (1 - _ROUNDING)


def families(method: str) -> list[Family[Any]]:
    """Return the families of the hypotheses that a method can test."""
    known: dict[str, Family[Any]] = {"any": any_family(delta=DELTA), "gaussian": gaussian_family(delta=DELTA)}
    return [known[hypothesis] for hypothesis in METHODS[method].hypotheses]


def guessing(test: OneRunTest[Any], strategy: GuessStrategy) -> Measure:
    """Return the measure of a test of guesses whose numbers a strategy chooses."""

    def epsilon(family: Family[Any], runs: Runs) -> float:
        planned = PlannedTest[Any](test=test, family=family, confidence=CONFIDENCE)
        return bound_scores(planned, runs, strategy).epsilon

    return epsilon


def thresholding(strategy: ThresholdStrategy, trials: Trials) -> Measure:
    """Return the measure of Clopper-Pearson or DKW limits at thresholds that a strategy chooses."""
    return lambda family, runs: bound_trials(family, runs[0], strategy, confidence=CONFIDENCE, trials=trials).epsilon


def by_rates(trials: Trials, claim: Claim, strategies: Mapping[str, ThresholdStrategy]) -> list[Contender]:
    """Return Clopper-Pearson under every hypothesis by each of the strategies."""
    return [
        Contender(
            method="clopper-pearson",
            strategy=name,
            claim=claim,
            family=family,
            epsilon=thresholding(strategy, trials),
            trials=trials,
        )
        for family in families("clopper-pearson")
        for name, strategy in strategies.items()
    ]


def by_area(trials: Trials, claim: Claim) -> list[Contender]:
    """Return the bound by the area under the ROC curve, under every hypothesis."""
    return [
        Contender(
            method="auc-kl",
            strategy="no threshold",
            claim=claim,
            family=family,
            epsilon=lambda family, runs: auc_bound(family, runs[0], confidence=CONFIDENCE, trials=trials).epsilon,
            trials=trials,
        )
        for family in families("auc-kl")
    ]
