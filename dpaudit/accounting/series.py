"""The promise as curves for a page: delta at every epsilon, and the errors that no attack can beat."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dpaudit.accounting.curve import privacy_profile
from dpaudit.results import Series

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dpaudit.mechanism import Mechanism

__all__ = ["profile_series", "trade_off", "trade_off_series"]


def profile_series(mechanism: Mechanism, points: int = 120) -> Series:
    """Return delta (y) over epsilon (x), down-sampled."""
    epsilons, deltas = privacy_profile(mechanism)
    kept = np.unique(np.linspace(0, len(epsilons) - 1, points).astype(int))
    return Series(name="delta over epsilon", x=tuple(epsilons[kept].tolist()), y=tuple(deltas[kept].tolist()))


def trade_off_series(mechanism: Mechanism, points: int = 120) -> Series:
    """Return the lowest false negative rate (y) over the false positive rate (x): half of x log-spaced from 1e-6."""
    rates = np.union1d(np.geomspace(1e-6, 1, points // 2), np.linspace(0, 1, points - points // 2))
    misses = trade_off(*privacy_profile(mechanism), rates)
    return Series(name="trade-off", x=tuple(rates.tolist()), y=tuple(misses.tolist()))


def trade_off(
    epsilons: NDArray[np.float64], deltas: NDArray[np.float64], rates: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return f(alpha), same shape as `rates`: no test with false positive rate alpha has a lower false negative rate.

    The largest of the lines of all (epsilon, delta), hence nowhere above the mechanism's own curve (Dong, Roth, Su
    2022, proposition 2.12).

    >>> trade_off(np.array([0.0]), np.array([0.1]), np.array([0.0, 0.5, 1.0]))
    array([0.9, 0.4, 0. ])
    """
    heights = 1 - deltas[:, None]
    steep = heights - np.exp(epsilons)[:, None] * rates[None, :]
    flat = np.exp(-epsilons)[:, None] * (heights - rates[None, :])
    curve: NDArray[np.float64] = np.maximum(np.maximum(steep, flat).max(axis=0), 0.0)
    return curve
