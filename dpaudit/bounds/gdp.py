"""Gaussian differential privacy: mu <-> epsilon at delta (Dong, Roth, Su 2022, Corollary 2.13)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from scipy.special import erfcx

from dpaudit.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["gdp_delta", "gdp_epsilon", "gdp_mu"]


def gdp_delta(mu: float, epsilon: float) -> float:
    """Return the smallest delta at which a mu-GDP mechanism is (epsilon, delta)-DP.

    delta = Phi(-epsilon/mu + mu/2) - e^epsilon Phi(-epsilon/mu - mu/2). With phi(a) = e^epsilon phi(b) the second
    term is phi(a) times the Mills ratio at -b, which neither overflows nor underflows.

    >>> round(gdp_delta(1.0, 4.377178), 10)
    1e-05
    """
    if mu == 0:
        return 0.0
    upper, lower = mu / 2 - epsilon / mu, -mu / 2 - epsilon / mu
    density = math.exp(-upper * upper / 2) / 2
    scaled_tail = float(erfcx(-lower / math.sqrt(2)))
    if upper < 0:
        return density * (float(erfcx(-upper / math.sqrt(2))) - scaled_tail)
    return math.erfc(-upper / math.sqrt(2)) / 2 - density * scaled_tail


def gdp_epsilon(mu: float, delta: float) -> float:
    """Return the epsilon at delta of a mu-GDP mechanism, rounded down by at most a part in 1e12.

    >>> round(gdp_epsilon(3.0, 1e-6), 6)
    18.163446
    """
    _check_delta(delta)
    if mu < 0:
        raise InputError("mu", mu, "a number of at least 0")
    if gdp_delta(mu, 0.0) <= delta:
        return 0.0
    at_most = mu * mu / 2 + mu * math.sqrt(2 * math.log(1 / delta))  # there delta <= Phi(-sqrt(2 ln(1/delta)))
    return _last_true(lambda epsilon: gdp_delta(mu, epsilon) > delta, at_most)


def gdp_mu(epsilon: float, delta: float) -> float:
    """Return the largest mu whose epsilon at delta is at most `epsilon`, rounded down by at most a part in 1e12.

    >>> round(gdp_mu(8.0, 1e-5), 6)
    1.666031
    """
    _check_delta(delta)
    if not 0 <= epsilon < math.inf:
        raise InputError("epsilon", epsilon, "a finite number of at least 0")
    at_most = 1.0
    while gdp_delta(at_most, epsilon) <= delta:
        at_most *= 2
    return _last_true(lambda mu: gdp_delta(mu, epsilon) <= delta, at_most)


def _last_true(holds: Callable[[float], bool], at_most: float) -> float:
    """Return the last point, to a part in 1e12, up to which `holds` is true; it is true at 0."""
    low, high = 0.0, at_most
    while high - low > 1e-12 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def _check_delta(delta: float) -> None:
    if not 0 < delta < 1:
        raise InputError("delta", delta, "a number between 0 and 1, both excluded: a Gaussian promises nothing at 0")
