"""How much one step's released value speaks for a gradient canary having been in: the white-box score, per step."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dpaudit.mechanism import Mechanism

__all__ = ["log_likelihood_ratio"]


def log_likelihood_ratio(released: NDArray[np.floating], mechanism: Mechanism) -> NDArray[np.float64]:
    """Return the log likelihood ratio "is a member" against "is not" of released values, in their shape.

    released: the noisy gradient at the canary's coordinate, divided by the expected batch size. In units of the clip
    norm it is y ~ N(0, s^2) for a non-member and, for a member, N(1, s^2) in a share q of the steps, s the noise
    multiplier and q the sampling rate. So a step says log(1 - q + q exp((y - 1/2) / s^2)), and under Poisson sampling
    steps add up. Higher = more likely a member. Without noise (s = 0) it returns y.

    >>> from dpaudit.mechanism import Mechanism
    >>> full = Mechanism(sampling="full", adjacency="add-remove", noise_multiplier=2, sampling_rate=1, steps=1,
    ...                  clip_norm=1, batch_size=10, dataset_size=10)
    >>> log_likelihood_ratio(np.array([0.0, 0.05, 0.1]), full).tolist()
    [-0.125, 0.0, 0.125]
    """
    y = released.astype(np.float64) * (mechanism.batch_size / mechanism.clip_norm)
    if mechanism.noise_multiplier == 0:
        return y
    if (rate := mechanism.sampling_rate) >= 1:
        return (y - 0.5) / mechanism.noise_multiplier**2
    y -= 0.5
    y /= mechanism.noise_multiplier**2
    y += math.log(rate) - math.log1p(-rate)
    return math.log1p(-rate) + _softplus(y)


def _softplus(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return log(1 + exp(x)), to 1e-15 or so absolutely, in half the time of `np.logaddexp`; x is overwritten."""
    above = np.maximum(x, 0.0)
    np.negative(np.abs(x, out=x), out=x)
    np.exp(x, out=x)
    x += 1
    above += np.log(x, out=x)
    return above
