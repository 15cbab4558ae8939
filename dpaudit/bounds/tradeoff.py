"""Trade-off curves as values: what a privacy promise says about false positives and false negatives.

A mechanism keeps the curve f if no test of "in" against "out" has false-negative rate below f(false-positive rate)
(Dong, Roth, Su 2022, Definition 2.3). Every curve here is symmetric, f = f^-1, because "in" and "out" may be swapped.
A lower curve promises less; refuting it refutes every curve above it.
"""

from __future__ import annotations

import math
import operator
from bisect import bisect_right
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import TYPE_CHECKING, Protocol

import numpy as np
from scipy.special import ndtr, ndtri

from dpaudit.bounds.gdp import gdp_delta
from dpaudit.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

__all__ = ["EpsilonDelta", "Gaussian", "Profile", "TradeOff", "false_negative_rate"]

_quantile = NormalDist().inv_cdf
_ROOT_HALF = math.sqrt(0.5)
_MAX_EPSILON = 700.0  # e^700 is the last that a float holds; weaker grid points say nothing that a float can tell


class TradeOff(Protocol):
    """A symmetric trade-off curve f."""

    def __hash__(self) -> int:
        """Return the same number for the same curve: what was computed for it is kept."""

    def inverse_blow_up(self, x: float) -> float:
        """Return the smallest false-positive rate at which the true-positive rate `x` is possible: f(1 - x)."""

    def inverse_blow_ups(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return `inverse_blow_up` of each true-positive rate, same shape."""

    def delta_at(self, epsilon: float) -> float:
        """Return the privacy profile, sup over a of 1 - f(a) - e^epsilon a, for epsilon >= 0; never below it.

        All that keep f are (epsilon, delta_at(epsilon))-DP (Dong, Roth, Su 2022, Proposition 2.12).
        """


def false_negative_rate(curve: TradeOff, false_positive_rate: ArrayLike) -> NDArray[np.float64]:
    """Return f at each false-positive rate, for plots.

    >>> false_negative_rate(EpsilonDelta(0.0, 0.0), [0.0, 0.25, 1.0]).tolist()
    [1.0, 0.75, 0.0]
    """
    rates = np.atleast_1d(np.asarray(false_positive_rate, dtype=np.float64))
    return curve.inverse_blow_ups(1 - rates)


@dataclass(frozen=True)
class EpsilonDelta:
    """The curve of (epsilon, delta)-DP: f(a) = max(0, 1 - delta - e^eps a, e^-eps (1 - delta - a)).

    Wasserman and Zhou 2010, Theorem 2.4; Kairouz, Oh, Viswanath 2015.
    """

    epsilon: float
    delta: float

    def __post_init__(self) -> None:
        if not self.epsilon >= 0:
            raise InputError("epsilon", self.epsilon, "a number of at least 0")
        if not 0 <= self.delta <= 1:
            raise InputError("delta", self.delta, "a number from 0 to 1")

    def inverse_blow_up(self, x: float) -> float:
        """Return the smallest false-positive rate at which the true-positive rate `x` is possible."""
        gentle = math.exp(-self.epsilon) * (x - self.delta)
        if self.epsilon > _MAX_EPSILON:
            return max(0.0, gentle)
        return max(0.0, gentle, 1 - self.delta - math.exp(self.epsilon) * (1 - x))

    def inverse_blow_ups(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return `inverse_blow_up` of each true-positive rate, same shape."""
        gentle = np.maximum(0.0, math.exp(-self.epsilon) * (x - self.delta))
        if self.epsilon > _MAX_EPSILON:
            return gentle
        return np.maximum(gentle, 1 - self.delta - math.exp(self.epsilon) * (1 - x))

    def delta_at(self, epsilon: float) -> float:
        """Return the privacy profile: the corner of f at a = f(a) decides below `self.epsilon`, delta above.

        >>> EpsilonDelta(1.0, 1e-5).delta_at(1.0), round(EpsilonDelta(1.0, 0.0).delta_at(0.0), 4)
        (1e-05, 0.4621)
        """
        if epsilon >= self.epsilon:
            return self.delta
        return self.delta + (1 - self.delta) * -math.expm1(epsilon - self.epsilon) / (1 + math.exp(-self.epsilon))


@dataclass(frozen=True)
class Gaussian:
    """The curve of mu-GDP, f(a) = Phi(Phi^-1(1 - a) - mu): N(0, 1) against N(mu, 1)."""

    mu: float

    def __post_init__(self) -> None:
        if not 0 <= self.mu < math.inf:
            raise InputError("mu", self.mu, "a finite number of at least 0")

    def inverse_blow_up(self, x: float) -> float:
        """Return the smallest false-positive rate at which the true-positive rate `x` is possible."""
        if x <= 0:
            return 0.0
        if x >= 1:
            return 1.0
        return math.erfc((self.mu - _quantile(x)) * _ROOT_HALF) / 2

    def inverse_blow_ups(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return `inverse_blow_up` of each true-positive rate, same shape."""
        rates: NDArray[np.float64] = ndtr(ndtri(np.clip(x, 0.0, 1.0)) - self.mu)
        return rates

    def delta_at(self, epsilon: float) -> float:
        """Return the privacy profile (Dong, Roth, Su 2022, Corollary 2.13)."""
        return max(0.0, gdp_delta(self.mu, epsilon))


@dataclass(frozen=True, eq=False)
class Profile:
    """The curve that a privacy profile promises: (epsilons[i], deltas[i])-DP for every i at once.

    epsilons: (K,) at least 0, increasing; deltas: (K,) in [0, 1]. f is the maximum of the K curves f_(epsilon, delta):
    exact for the grid, and on a coarse grid never above the curve of the whole profile, so a refutation stays one.
    """

    epsilons: NDArray[np.float64]
    deltas: NDArray[np.float64]
    _lines: _Envelope = field(init=False, repr=False)

    def __post_init__(self) -> None:
        epsilons = np.asarray(self.epsilons, dtype=np.float64)
        deltas = np.asarray(self.deltas, dtype=np.float64)
        if epsilons.ndim != 1 or epsilons.shape != deltas.shape or epsilons.size == 0:
            raise InputError("epsilons, deltas", (epsilons.shape, deltas.shape), "two columns of one length")
        if not ((epsilons >= 0).all() and (np.diff(epsilons) > 0).all()):
            raise InputError("epsilons", epsilons.tolist(), "numbers of at least 0 that increase")
        if not ((deltas >= 0) & (deltas <= 1)).all():
            raise InputError("deltas", deltas.tolist(), "numbers from 0 to 1")
        object.__setattr__(self, "epsilons", epsilons)
        object.__setattr__(self, "deltas", deltas)
        kept = epsilons <= _MAX_EPSILON
        object.__setattr__(self, "_lines", _Envelope.of(epsilons[kept].tolist(), deltas[kept].tolist()))

    def inverse_blow_up(self, x: float) -> float:
        """Return the smallest false-positive rate at which the true-positive rate `x` is possible."""
        return max(0.0, self._lines.gentle(x), self._lines.steep(1 - x))

    def inverse_blow_ups(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return `inverse_blow_up` of each true-positive rate, same shape."""
        return np.maximum(0.0, np.maximum(self._lines.gentle_at(x), self._lines.steep_at(1 - x)))

    def delta_at(self, epsilon: float) -> float:
        """Return the privacy profile of f: linear in e^epsilon between the lines of f that are the highest somewhere.

        >>> Profile(np.array([0.0, 1.0]), np.array([0.5, 0.1])).delta_at(2.0)
        0.1
        """
        return self._lines.delta_at(epsilon)


@dataclass(frozen=True)
class _Envelope:
    """The lines e^-eps (x - delta) that are the highest somewhere, by growing slope, and the points where they meet.

    The steep lines 1 - delta - e^eps (1 - x) are their mirror images in the diagonal x + y = 1, with the same ones on
    top.
    """

    epsilons: list[float]
    deltas: list[float]
    meet_x: list[float]
    meet_y: list[float]

    @classmethod
    def of(cls, epsilons: Sequence[float], deltas: Sequence[float]) -> _Envelope:
        """Return the upper envelope, by one pass over the slopes (Andrew 1979)."""
        envelope = cls([], [], [], [])
        for epsilon, delta in sorted(zip(epsilons, deltas, strict=True), reverse=True):
            envelope._push(epsilon, delta)
        return envelope

    def _push(self, epsilon: float, delta: float) -> None:
        while self.epsilons:
            x = _meeting(self.epsilons[-1], self.deltas[-1], epsilon, delta)
            if not self.meet_x or x > self.meet_x[-1]:
                self.meet_x.append(x)
                self.meet_y.append(math.exp(-epsilon) * (x - delta))
                break
            for column in (self.epsilons, self.deltas, self.meet_x, self.meet_y):
                column.pop()
        self.epsilons.append(epsilon)
        self.deltas.append(delta)

    def gentle(self, x: float) -> float:
        """Return the highest line of slope at most 1 at `x`."""
        k = bisect_right(self.meet_x, x)
        return math.exp(-self.epsilons[k]) * (x - self.deltas[k])

    def steep(self, distance: float) -> float:
        """Return the highest line of slope at least 1 at `1 - distance`."""
        k = bisect_right(self.meet_y, distance)
        return 1 - self.deltas[k] - math.exp(self.epsilons[k]) * distance

    def delta_at(self, epsilon: float) -> float:
        """Return sup over a of 1 - f(a) - e^epsilon a: convex in e^epsilon, with the lines at its corners.

        Below the first epsilon the other corner is its mirror image, with delta 1 - e^-epsilon (1 - delta).
        """
        after = bisect_right(self.epsilons, -epsilon, key=operator.neg)  # epsilons fall
        if after == 0:
            return self.deltas[0]
        high, high_delta = self.epsilons[after - 1], self.deltas[after - 1]
        if epsilon == high:
            return high_delta
        if after < len(self.epsilons):
            low, low_delta = self.epsilons[after], self.deltas[after]
        else:
            low, low_delta = -high, 1 - math.exp(-high) * (1 - high_delta)
        share = math.expm1(epsilon - low) / math.expm1(high - low)
        return low_delta + share * (high_delta - low_delta)

    def gentle_at(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return `gentle` of each x, same shape."""
        k = np.searchsorted(self.meet_x, x, side="right")
        lines: NDArray[np.float64] = np.exp(-np.array(self.epsilons))[k] * (x - np.array(self.deltas)[k])
        return lines

    def steep_at(self, distance: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return `steep` of each distance, same shape."""
        k = np.searchsorted(self.meet_y, distance, side="right")
        lines: NDArray[np.float64] = 1 - np.array(self.deltas)[k] - np.exp(self.epsilons)[k] * distance
        return lines


def _meeting(epsilon: float, delta: float, gentler_epsilon: float, steeper_delta: float) -> float:
    """Return the x at which the line of `epsilon` meets the next steeper one."""
    ratio = math.exp(gentler_epsilon - epsilon)  # slope of the first over slope of the second, below 1
    return (steeper_delta - ratio * delta) / (1 - ratio)
