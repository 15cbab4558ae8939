"""The law of an ideal canary's score: the most that one record can show to an attacker who sees all steps.

An ideal canary's gradient has the clip norm and a coordinate of its own. In units of the clip norm step t shows him
y_t ~ N(b_t, sigma^2), where b_t ~ Bernoulli(q) if the canary is in and 0 if it is out. The best score is the
log-likelihood ratio sum_t log(1 - q + q exp((y_t - 1/2) / sigma^2)), the privacy loss of T steps of the
Poisson-subsampled Gaussian (Abadi et al. 2016). Its law is the T-fold convolution of one step's, computed by a fast
Fourier transform on a grid (as in Koskela, Jälkö, Honkela 2020).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtr

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dpaudit.mechanism import Mechanism

__all__ = ["ScoreLaw", "ideal_score_law"]

_CELLS = 1 << 14  # of one step's y
_GRID = 1 << 17  # of the sum
_FAR = 9.0  # standard deviations of y that are kept
_LOG_TAIL = 30.0  # e^-30 of either law may leave the grid
_TILTS = np.geomspace(1e-4, 1e2, 25).tolist()


@dataclass(frozen=True, kw_only=True)
class ScoreLaw:
    """Chances of the scores on an increasing grid, (n,): `inside` for a canary that is in, `outside` for one out."""

    scores: NDArray[np.float64]
    inside: NDArray[np.float64]
    outside: NDArray[np.float64]


def ideal_score_law(mechanism: Mechanism, *, actual_noise: float | None = None) -> ScoreLaw:
    """Return the law of the score that believes `mechanism`, if the noise multiplier is in truth `actual_noise`.

    A sampler other than Poisson is treated as Poisson at the same rate.
    """
    noise = mechanism.noise_multiplier if actual_noise is None else actual_noise
    edges = np.linspace(-_FAR * noise, 1 + _FAR * noise, _CELLS + 1)
    losses = _step_scores((edges[:-1] + edges[1:]) / 2, mechanism)
    absent, present = np.diff(ndtr(edges / noise)), np.diff(ndtr((edges - 1) / noise))
    sampled = (1 - mechanism.sampling_rate) * absent + mechanism.sampling_rate * present
    laws = [absent / absent.sum(), sampled / sampled.sum()]
    grid = _grid(losses, laws, mechanism.steps)
    outside, inside = (_convolve(losses, law, mechanism.steps, grid) for law in laws)
    return ScoreLaw(scores=grid, inside=inside, outside=outside)


def _step_scores(y: NDArray[np.float64], mechanism: Mechanism) -> NDArray[np.float64]:
    """Return log(1 - q + q exp((y - 1/2) / sigma^2))."""
    rate = mechanism.sampling_rate
    ratio = (y - 0.5) / mechanism.noise_multiplier**2
    return ratio if rate == 1 else np.logaddexp(np.log1p(-rate), np.log(rate) + ratio)


def _grid(losses: NDArray[np.float64], laws: list[NDArray[np.float64]], steps: int) -> NDArray[np.float64]:
    """Return multiples of one spacing that hold both sums but for e^-30 of each.

    By Chernoff's bound, P[S > s] <= E[e^(tS)] e^(-ts); with a margin of 16 standard deviations of what sharing each
    step's mass between two points may add (at most half a spacing a step).
    """
    high = max(_chernoff(losses, law, steps) for law in laws)
    low = -max(_chernoff(-losses, law, steps) for law in laws)
    margin = math.ceil(8 * math.sqrt(steps)) + 1
    spacing = (high - low) / (_GRID - 2 * margin)
    first = math.floor(low / spacing) - margin
    return spacing * np.arange(first, first + _GRID, dtype=np.float64)


def _chernoff(losses: NDArray[np.float64], law: NDArray[np.float64], steps: int) -> float:
    highest = float(losses.max())
    moments = (float(law @ np.exp(tilt * (losses - highest))) for tilt in _TILTS)
    limits = (
        (steps * (math.log(moment) + tilt * highest) + _LOG_TAIL) / tilt
        for tilt, moment in zip(_TILTS, moments, strict=True)
        if moment > 0
    )
    return float(min(limits))


def _convolve(
    losses: NDArray[np.float64], law: NDArray[np.float64], steps: int, grid: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the chances of the sum of `steps` losses at the points of `grid`.

    One step's mass is shared between the two multiples of the spacing beside it, which keeps its mean. The transform
    counts modulo the length of the grid, which loses nothing since the sum stays on the grid.
    """
    spacing = (grid[-1] - grid[0]) / (_GRID - 1)
    position = losses / spacing
    floor = np.floor(position).astype(np.int64)
    share = position - floor
    step = np.bincount(floor % _GRID, weights=law * (1 - share), minlength=_GRID)
    step += np.bincount((floor + 1) % _GRID, weights=law * share, minlength=_GRID)
    total = np.fft.irfft(np.fft.rfft(step) ** steps, n=_GRID)
    first = round(grid[0] / spacing)
    total = np.maximum(np.roll(total, -(first % _GRID)), 0.0)
    return np.asarray(total / total.sum(), dtype=np.float64)
