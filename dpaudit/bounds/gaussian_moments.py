"""One run whose scores are two Gaussians: the gap of the means in pooled standard deviations.

ASSUMES that scores are independent, N(a, s^2) out and N(b, s^2) in. Then the two-sample t statistic has the
noncentral t law with noncentrality (b - a) / s over sqrt(1 / n_in + 1 / n_out) (Johnson and Welch 1940), exactly; the
mechanism is mu-GDP only if (b - a) / s <= mu. The simplest of the tests on score moments; Agrawal et al. 2026 (arXiv
2606.12733) bound the same gap by a central limit theorem.

Nothing checks the premise that the law is Gaussian with one spread, and canaries of one run may interact: hence
`under_independence`, and no weight in a verdict.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import nctdtr

from dpaudit.bounds.significance import check_confidence
from dpaudit.errors import InputError
from dpaudit.results import Bound, Counts

if TYPE_CHECKING:
    from dpaudit.bounds.family import Family
    from dpaudit.bounds.tradeoff import Gaussian
    from dpaudit.scores import LabelledScores

__all__ = ["gaussian_moments_bound", "gaussian_moments_p_value"]


def gaussian_moments_bound(
    family: Family[Gaussian], labelled: LabelledScores, *, confidence: float, promise: Gaussian | None = None
) -> Bound:
    """Return the largest mu that the gap of the means refutes, and the p-value of `promise`.

    >>> from dpaudit.bounds.family import gaussian_family
    >>> from dpaudit.scores import LabelledScores
    >>> member = np.arange(1000) < 500
    >>> run = LabelledScores(scores=np.random.default_rng(0).normal(size=1000) + 1.666 * member, member=member)
    >>> 6.5 < gaussian_moments_bound(gaussian_family(delta=1e-5), run, confidence=0.95).epsilon < 8.5
    True
    """
    check_confidence(confidence)
    refuted = family.largest_refuted(lambda curve: gaussian_moments_p_value(curve, labelled) <= 1 - confidence)
    return Bound(
        method="gaussian-moments",
        hypothesis=family.hypothesis,
        guarantee="under_independence",
        epsilon=refuted.epsilon,
        delta=family.delta,
        confidence=confidence,
        strategy="no threshold: the gap of the means",
        counts=Counts(canaries=(len(labelled),)),
        parameter=refuted.parameter,
        p_value=None if promise is None else gaussian_moments_p_value(promise, labelled),
    )


def gaussian_moments_p_value(curve: Gaussian, labelled: LabelledScores) -> float:
    """Return the chance of at least this gap if the true one is `curve.mu` standard deviations."""
    inside, outside = labelled.scores[labelled.member], labelled.scores[~labelled.member]
    if min(len(inside), len(outside)) < 2:
        raise InputError("member", (len(inside), len(outside)), "at least two rows in and two out")
    freedom = len(labelled) - 2
    spread = math.sqrt((len(inside) * np.var(inside) + len(outside) * np.var(outside)) / freedom)
    if spread == 0:
        raise InputError("scores", "constant in both worlds", "scores that vary")
    error = math.sqrt(1 / len(inside) + 1 / len(outside))
    statistic = float(np.mean(inside) - np.mean(outside)) / (spread * error)
    return 1 - float(nctdtr(freedom, curve.mu / error, statistic))
