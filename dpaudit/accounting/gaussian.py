"""The Gaussian mechanism in closed form: mu is sensitivity / noise std, the mu of Gaussian differential privacy."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["gaussian_deltas", "gaussian_epsilon"]


def gaussian_deltas(mu: float, epsilons: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return delta at each epsilon, same shape (Balle and Wang 2018, theorem 8).

    >>> gaussian_deltas(1.0, np.array([0.0, 1.0])).round(4)
    array([0.3829, 0.1269])
    """
    from scipy.special import log_ndtr  # noqa: PLC0415  # slow to import

    if mu == 0:
        return np.zeros_like(epsilons)
    above = log_ndtr(mu / 2 - epsilons / mu)
    below = epsilons + log_ndtr(-mu / 2 - epsilons / mu)
    deltas: NDArray[np.float64] = -np.exp(above) * np.expm1(np.minimum(below - above, 0.0))
    return deltas


def gaussian_epsilon(mu: float, delta: float) -> float:
    """Return the smallest epsilon >= 0 at which delta is promised, rounded up by a part in 1e11 and 1e-14.

    >>> round(gaussian_epsilon(1.0, 1e-5), 4)
    4.3772
    """
    from scipy.optimize import brentq  # noqa: PLC0415  # slow to import

    def excess(epsilon: float) -> float:
        return float(gaussian_deltas(mu, np.array([epsilon]))[0]) - delta

    if excess(0.0) <= 0:
        return 0.0
    highest = mu**2 / 2 + mu * math.sqrt(-2 * math.log(delta))  # P(loss > highest) < delta
    return float(brentq(excess, 0.0, highest * (1 + 1e-12), xtol=1e-300, rtol=1e-13)) * (1 + 1e-11) + 1e-14
