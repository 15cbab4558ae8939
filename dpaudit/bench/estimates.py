"""The estimates: numbers without a statement about how often they are wrong, as their label says."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dpaudit.bench.contender import CONFIDENCE, DELTA, THRESHOLD, Contender
from dpaudit.bounds.family import any_family, gaussian_family
from dpaudit.bounds.joint_beta import joint_beta_estimate
from dpaudit.bounds.methods import Question, bound_from_rates
from dpaudit.bounds.one_shot import one_shot_estimate
from dpaudit.bounds.trials import confusion_at

if TYPE_CHECKING:
    from dpaudit.bench.contender import Measure, Runs
    from dpaudit.bounds.family import Family

__all__ = ["estimates"]

#: the limits of a ratio of two proportions: they know no delta
_RATIOS = ("katz-log", "adjusted-log", "bailey", "inverse-sinh")
_DIMENSION = 100_000  # of the cosines


def estimates() -> list[Contender]:
    """Return the estimates, at thresholds fixed beforehand where they need one."""
    return [
        Contender(
            method="one-shot",
            strategy="no threshold",
            claim="estimate",
            family=replace(gaussian_family(delta=DELTA), hypothesis="none"),
            epsilon=_one_shot,
        ),
        Contender(
            method="joint-beta",
            strategy="fixed",
            claim="estimate",
            family=any_family(delta=DELTA),
            epsilon=_joint_beta,
            trials="independent runs",
            slow=20,
        ),
        *(
            Contender(
                method=method,
                strategy="fixed",
                claim="estimate",
                family=any_family(delta=0.0),
                epsilon=_ratio(method),
                trials="independent runs",
            )
            for method in _RATIOS
        ),
    ]


def _one_shot(family: Family[Any], runs: Runs) -> float:
    """A Gaussian score of unit spread is the cosine of a canary that was in, times the root of the dimension."""
    cosines = runs[0].scores[runs[0].member] / math.sqrt(_DIMENSION)
    return one_shot_estimate(cosines, _DIMENSION, delta=family.delta).epsilon


def _joint_beta(family: Family[Any], runs: Runs) -> float:
    confusion = confusion_at(runs[0], THRESHOLD, "independent runs")
    return joint_beta_estimate(confusion, delta=family.delta, confidence=CONFIDENCE, strategy="fixed").epsilon


def _ratio(method: str) -> Measure:
    question = Question(hypothesis="any", delta=0.0, confidence=CONFIDENCE, strategy="fixed")
    return lambda _, runs: (
        bound_from_rates(method, confusion_at(runs[0], THRESHOLD, "independent runs"), question).epsilon
    )
