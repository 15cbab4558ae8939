"""The area under the ROC curve against a trade-off curve: every threshold is used and none is chosen.

Theorem. Let U be the fraction of pairs (in, out) of independent trials in which the member's score is higher, ties
counting one half. Under any mechanism that keeps the curve f, P[U >= u] <= exp(-n KL(u || A)) for u >= A, where n is
the number of trials in the smaller world and A = 1 - integral of f.

Proof. No test that keeps f has an area above A, and E[U] is the area of the score's own ROC curve, a tie being broken
by a fair coin. U is the average, over all ways to pair off n trials of each world, of means of n independent numbers
in [0, 1], so E[exp(s U)] is at most the average of E[exp(s mean)] (Hoeffding 1963, section 5), and the rest is
Chernoff's bound for such a mean (Hoeffding 1963, Theorem 1).

For mu-GDP A = Phi(mu / sqrt 2).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from scipy.special import ndtr, rel_entr

from dpaudit.bounds.significance import check_confidence
from dpaudit.bounds.tradeoff import Gaussian
from dpaudit.errors import InputError
from dpaudit.results import Bound, Counts

if TYPE_CHECKING:
    from dpaudit.bounds.clopper_pearson import Trials
    from dpaudit.bounds.family import Family
    from dpaudit.bounds.tradeoff import TradeOff
    from dpaudit.scores import LabelledScores

__all__ = ["auc_bound", "auc_p_value", "largest_auc", "pairwise_auc"]

Curve = TypeVar("Curve", bound="TradeOff")
_CELLS = 2000


def largest_auc(curve: TradeOff) -> float:
    """Return an upper bound on the area under the ROC curve of any score of a mechanism that keeps `curve`.

    The ROC curve 1 - f is concave, so each cell's mean is at most its value in the middle; exact for mu-GDP.

    >>> round(largest_auc(Gaussian(1.0)), 6)
    0.76025
    """
    if isinstance(curve, Gaussian):
        return float(ndtr(curve.mu / math.sqrt(2)))
    middles = (np.arange(_CELLS) + 0.5) / _CELLS
    return 1 - math.fsum(curve.inverse_blow_ups(middles).tolist()) / _CELLS


def pairwise_auc(labelled: LabelledScores) -> float:
    """Return the fraction of pairs in which the member's score is higher, ties counting one half."""
    inside, outside = labelled.scores[labelled.member], np.sort(labelled.scores[~labelled.member])
    below = np.searchsorted(outside, inside, side="left") + np.searchsorted(outside, inside, side="right")
    return float(below.mean() / 2 / len(outside))


def auc_p_value(curve: TradeOff, auc: float, smaller_world: int) -> float:
    """Return a bound on the chance of an area of at least `auc` under any mechanism that keeps `curve`."""
    largest = largest_auc(curve)
    if auc <= largest:
        return 1.0
    divergence = float(rel_entr(auc, largest) + rel_entr(1 - auc, 1 - largest))
    return math.exp(-smaller_world * divergence)


def auc_bound(
    family: Family[Curve],
    labelled: LabelledScores,
    *,
    confidence: float,
    trials: Trials,
    promise: Curve | None = None,
) -> Bound:
    """Return the largest curve of `family` that the area refutes, and the p-value of `promise`.

    labelled: one row per trial, member = the world it ran in.

    >>> from dpaudit.bounds.family import gaussian_family
    >>> from dpaudit.scores import LabelledScores
    >>> member = np.arange(1000) < 500
    >>> runs = LabelledScores(scores=np.random.default_rng(0).normal(size=1000) + 1.666 * member, member=member)
    >>> bound = auc_bound(gaussian_family(delta=1e-5), runs, confidence=0.95, trials="independent runs")
    >>> 5.5 < bound.epsilon < 8.0
    True
    """
    check_confidence(confidence)
    members = int(labelled.member.sum())
    smaller = min(members, len(labelled) - members)
    if smaller == 0:
        raise InputError("member", "one world only", "trials of both worlds")
    auc = pairwise_auc(labelled)
    refuted = family.largest_refuted(lambda curve: auc_p_value(curve, auc, smaller) <= 1 - confidence)
    return Bound(
        method="auc-kl",
        hypothesis=family.hypothesis,
        guarantee="certified" if trials == "independent runs" else "under_independence",
        epsilon=refuted.epsilon,
        delta=family.delta,
        confidence=confidence,
        strategy="no threshold: the area under the ROC curve",
        counts=Counts(canaries=(len(labelled),)),
        parameter=refuted.parameter,
        p_value=None if promise is None else auc_p_value(promise, auc, smaller),
        note=f"AUC {auc:.4f}, {members} trials in and {len(labelled) - members} out",
    )
