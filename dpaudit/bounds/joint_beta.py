"""Bayesian estimation of epsilon (Zanella-Béguelin et al. 2023): a credible interval. An ESTIMATE, not a bound.

The error rates have independent Jeffreys posteriors, FNR ~ Beta(1/2 + FN, 1/2 + TP) and FPR ~ Beta(1/2 + FP, 1/2 +
TN). The posterior chance of epsilon is that of the region which (epsilon, delta)-DP allows,

    f(FNR) <= FPR <= 1 - f(1 - FNR)      for the trade-off curve f = f_(epsilon, delta),

and the interval cuts alpha / 2 off each end. It is the prior's word as well as the data's, so nothing bounds how
often it is wrong.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import betainc, betaincinv

from dpaudit.bounds.significance import check_confidence
from dpaudit.bounds.tradeoff import EpsilonDelta
from dpaudit.results import Bound

if TYPE_CHECKING:
    from dpaudit.bounds.clopper_pearson import Confusion

__all__ = ["credible_interval", "joint_beta_estimate", "posterior_chance"]

_NODES = 1000
_LARGEST = 50.0


def joint_beta_estimate(confusion: Confusion, *, delta: float, confidence: float, strategy: str) -> Bound:
    """Return the lower end of the credible interval; the note has both ends."""
    low, high = credible_interval(confusion, delta=delta, confidence=confidence)
    return Bound(
        method="joint-beta",
        hypothesis="any",
        guarantee="estimate",
        epsilon=low,
        delta=delta,
        confidence=confidence,
        strategy=strategy,
        counts=confusion.counts(),
        note=f"{confidence:.0%} credible interval {low:.3f} to {high:.3f}",
    )


def credible_interval(confusion: Confusion, *, delta: float, confidence: float) -> tuple[float, float]:
    """Return the epsilons below which the posterior has (1 - confidence) / 2 and (1 + confidence) / 2; at most 50.

    >>> from dpaudit.bounds.clopper_pearson import Confusion
    >>> counts = Confusion(true_positives=487, in_trials=487, false_positives=512, out_trials=513)
    >>> low, high = credible_interval(counts, delta=1e-5, confidence=0.9)
    >>> round(low, 2), round(high, 2)
    (0.14, 6.42)
    """
    check_confidence(confidence)
    low, high = ((1 - confidence) / 2, (1 + confidence) / 2)
    return _quantile(confusion, delta, low), _quantile(confusion, delta, high)


def posterior_chance(confusion: Confusion, curve: EpsilonDelta) -> float:
    """Return the posterior chance that both error rates lie where `curve` allows."""
    nodes = (np.arange(_NODES) + 0.5) / _NODES
    misses = betaincinv(0.5 + confusion.false_negatives, 0.5 + confusion.true_positives, nodes)
    lowest, highest = curve.inverse_blow_ups(1 - misses), 1 - curve.inverse_blow_ups(misses)
    shape = (0.5 + confusion.false_positives, 0.5 + confusion.out_trials - confusion.false_positives)
    return float(np.mean(betainc(*shape, highest) - betainc(*shape, lowest)))


def _quantile(confusion: Confusion, delta: float, chance: float) -> float:
    low, high = 0.0, _LARGEST
    if posterior_chance(confusion, EpsilonDelta(low, delta)) >= chance:
        return 0.0
    while high - low > 1e-4:
        middle = (low + high) / 2
        below = posterior_chance(confusion, EpsilonDelta(middle, delta)) < chance
        low, high = (middle, high) if below else (low, middle)
    return low
