"""Lower limits of the ratio of two proportions, and the pure epsilon they suggest (Lu et al. 2022). ESTIMATES.

With p = TP / P and q = FP / N, (epsilon, 0)-DP bounds p / q by e^epsilon. The limits are normal approximations: in
finite samples they err a little more or less often than they say. They know no delta, and a threshold that was chosen
on the same trials makes them wrong most of the time.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeAlias

from scipy.special import ndtri

from dpaudit.bounds.significance import check_confidence
from dpaudit.results import Bound

if TYPE_CHECKING:
    from collections.abc import Callable

    from dpaudit.bounds.clopper_pearson import Confusion

__all__ = ["adjusted_log", "bailey", "inverse_sinh", "katz_log", "ratio_estimate"]

Limit: TypeAlias = "Callable[[Confusion, float], float]"


def ratio_estimate(method: str, limit: Limit, confusion: Confusion, *, confidence: float, strategy: str) -> Bound:
    """Return the logarithm of a lower limit of TPR / FPR as an estimate of pure epsilon."""
    check_confidence(confidence)
    ratio = limit(confusion, 1 - confidence)
    return Bound(
        method=method,
        hypothesis="any",
        guarantee="estimate",
        epsilon=math.log(ratio) if ratio > 1 else 0.0,
        delta=0.0,
        confidence=confidence,
        strategy=strategy,
        counts=confusion.counts(),
    )


def katz_log(confusion: Confusion, level: float) -> float:
    """Return the limit of Katz et al. 1978; half a count stands for no false positive.

    >>> from dpaudit.bounds.clopper_pearson import Confusion
    >>> counts = Confusion(true_positives=473, in_trials=984, false_positives=755, out_trials=1705)
    >>> round(katz_log(counts, 0.05), 8)
    1.01166194
    """
    tp, fp = float(confusion.true_positives), float(confusion.false_positives)
    if tp == 0:
        return 0.0
    if tp == confusion.in_trials and fp == confusion.out_trials:
        tp, fp = tp - 0.5, fp - 0.5
    fp = fp or 0.5
    p, q = tp / confusion.in_trials, fp / confusion.out_trials
    return p / q * math.exp(float(ndtri(level)) * math.sqrt((1 - p) / tp + (1 - q) / fp))


def adjusted_log(confusion: Confusion, level: float) -> float:
    """Return the limit of Walter 1975: Katz's with half a count added everywhere."""
    tp, fp = confusion.true_positives + 0.5, confusion.false_positives + 0.5
    positives, negatives = confusion.in_trials + 0.5, confusion.out_trials + 0.5
    spread = math.sqrt(1 / tp - 1 / positives + 1 / fp - 1 / negatives)
    return math.exp(math.log(tp / positives) - math.log(fp / negatives) + float(ndtri(level)) * spread)


def bailey(confusion: Confusion, level: float) -> float:
    """Return the limit of Bailey 1987, by a cube-root transformation; a full or empty count is moved by one half."""
    tp, fp = float(confusion.true_positives), float(confusion.false_positives)
    if tp == 0:
        return 0.0
    tp, fp = min(tp, confusion.in_trials - 0.5), min(max(fp, 0.5), confusion.out_trials - 0.5)
    p, q, z = tp / confusion.in_trials, fp / confusion.out_trials, float(ndtri(level))
    inner = (1 - p) / tp + (1 - q) / fp - z * z * (1 - p) * (1 - q) / (9 * tp * fp)
    bend = 1 - z * z * (1 - q) / (9 * fp)
    return p / q * max(0.0, (1 + z / 3 * math.sqrt(max(0.0, inner))) / bend) ** 3


def inverse_sinh(confusion: Confusion, level: float) -> float:
    """Return the limit of Newcombe 2001, by the inverse hyperbolic sine; z^2 counts stand for no false positive."""
    tp, fp, z = float(confusion.true_positives), float(confusion.false_positives), float(ndtri(level))
    if tp == 0:
        return 0.0
    fp = fp or z * z
    spread = math.sqrt(max(0.0, 1 / tp - 1 / confusion.in_trials + 1 / fp - 1 / confusion.out_trials))
    ratio = (tp / confusion.in_trials) / (fp / confusion.out_trials)
    return ratio * math.exp(2 * math.asinh(z / 2 * spread))
