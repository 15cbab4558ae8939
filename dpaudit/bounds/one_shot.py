"""One-shot empirical privacy estimation (Andrew et al. 2024): epsilon from the cosines of random canaries. An ESTIMATE.

Each canary is a direction drawn uniformly from the unit sphere of R^d; its score is the cosine with what was
released. A canary that was left out has a cosine t with (1 + t) / 2 ~ Beta((d - 1) / 2, (d - 1) / 2), close to N(0, 1
/ d). The cosines of those that were in are fitted by a Gaussian, and epsilon is read off the two laws as if they were
the mechanism. There is no confidence statement: the fit is taken at its word, and canaries are taken for independent.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import betainc, betaincinv, ndtr, ndtri

from dpaudit.errors import InputError
from dpaudit.results import Bound, Counts

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["one_shot_epsilon", "one_shot_estimate", "two_gaussian_delta", "two_gaussian_epsilon"]

_NEARLY_GAUSSIAN = 1000  # dimensions from which the law of a null cosine is taken for N(0, 1/d), as in the paper
_THRESHOLDS = 10_000


def one_shot_estimate(cosines: NDArray[np.float64], dimension: int, *, delta: float) -> Bound:
    """Return the epsilon at delta that the cosines of inserted canaries, (n,), suggest.

    >>> cosines = np.random.default_rng(0).normal(2.0, 1.0, size=500) / 100
    >>> one_shot_estimate(cosines, 10_000, delta=1e-5).guarantee
    'estimate'
    """
    if len(cosines) < 2 or not (np.abs(cosines) <= 1).all():
        beyond = int((~(np.abs(cosines) <= 1)).sum())
        raise InputError("cosines", f"{len(cosines)} values, {beyond} of them no cosine", "two or more from -1 to 1")
    mean, spread = float(np.mean(cosines)), float(np.std(cosines))
    return Bound(
        method="one-shot",
        hypothesis="none",
        guarantee="estimate",
        epsilon=one_shot_epsilon(mean, spread, dimension, delta),
        delta=delta,
        confidence=None,
        strategy="no threshold: a Gaussian fitted to the cosines",
        counts=Counts(canaries=(len(cosines),)),
        note=f"cosines {mean:.4g} ± {spread:.4g} in dimension {dimension}",
    )


def one_shot_epsilon(mean: float, spread: float, dimension: int, delta: float) -> float:
    """Return epsilon for inserted cosines N(mean, spread^2) against the cosines of canaries that were left out.

    >>> round(one_shot_epsilon(2000**-0.5, 2000**-0.5, 2000, 1e-2), 6)
    2.317789
    """
    if dimension < 2:
        raise InputError("dimension", dimension, "at least 2")
    if not 0 < delta < 1:
        raise InputError("delta", delta, "a number between 0 and 1, both excluded")
    if not spread > 0:
        raise InputError("spread", spread, "a number above 0")
    if dimension >= _NEARLY_GAUSSIAN:
        return two_gaussian_epsilon((0.0, dimension**-0.5), (mean, spread), delta)
    return _best_threshold_epsilon(mean, spread, dimension, delta)


def two_gaussian_epsilon(first: tuple[float, float], second: tuple[float, float], delta: float) -> float:
    """Return the epsilon at which two Gaussians, (mean, standard deviation), are (epsilon, delta)-close both ways."""

    def exceeds(epsilon: float) -> bool:
        both = (two_gaussian_delta(first, second, epsilon), two_gaussian_delta(second, first, epsilon))
        return max(both) > delta

    if not exceeds(0.0):
        return 0.0
    low, high = 0.0, 1.0
    while exceeds(high):
        low, high = high, 2 * high
    while high - low > 1e-12 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if exceeds(middle) else (low, middle)
    return low


def two_gaussian_delta(first: tuple[float, float], second: tuple[float, float], epsilon: float) -> float:
    """Return P1[L > epsilon] - e^epsilon P2[L > epsilon], where L = log(p1 / p2) = a y^2 + b y + c."""
    (mean1, std1), (mean2, std2) = first, second
    a = (std2**-2 - std1**-2) / 2
    b = mean1 / std1**2 - mean2 / std2**2
    c = ((mean2 / std2) ** 2 - (mean1 / std1) ** 2) / 2 + math.log(std2 / std1) - epsilon
    discriminant = b * b - 4 * a * c
    if discriminant <= 0:  # L is on one side of epsilon everywhere; above it everywhere it cannot be
        return 0.0
    half = -(b + math.copysign(math.sqrt(discriminant), b)) / 2
    far = half / a if a != 0 else math.copysign(math.inf, b)
    low, high = sorted((far, c / half))
    inside1, inside2 = _mass(low, high, first), _mass(low, high, second)
    if a > 0:
        inside1, inside2 = _outside(low, high, first), _outside(low, high, second)
    return inside1 - math.exp(epsilon + math.log(inside2)) if inside2 > 0 else inside1


def _mass(low: float, high: float, law: tuple[float, float]) -> float:
    """Return the chance of a Gaussian to lie between, computed in the nearer tail."""
    left, right = ((end - law[0]) / law[1] for end in (low, high))
    return float(ndtr(-left) - ndtr(-right)) if left > 0 else float(ndtr(right) - ndtr(left))


def _outside(low: float, high: float, law: tuple[float, float]) -> float:
    return float(ndtr((low - law[0]) / law[1]) + ndtr((law[0] - high) / law[1]))


def _best_threshold_epsilon(mean: float, spread: float, dimension: int, delta: float) -> float:
    """Return the largest epsilon that one threshold shows, with the exact law of a cosine that was left out."""
    shape = (dimension - 1) / 2
    lowest = 2 * float(betaincinv(shape, shape, delta)) - 1
    highest = mean + spread * float(ndtri(1 - delta))
    thresholds = np.linspace(lowest, highest, _THRESHOLDS)
    false_positive = betainc(shape, shape, np.clip((1 - thresholds) / 2, 0, 1))
    false_negative = ndtr((thresholds - mean) / spread)
    with np.errstate(divide="ignore", invalid="ignore"):
        shown = np.concatenate(
            [
                np.log((1 - delta - false_negative) / false_positive),
                np.log((1 - delta - false_positive) / false_negative),
            ]
        )
    return max(0.0, float(np.max(shown[np.isfinite(shown)], initial=0.0)))
