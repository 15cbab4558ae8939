"""The law of an ideal canary's score: the most that one record can show to an attacker who sees all steps.

An ideal canary's gradient has the clip norm and a coordinate of its own. In units of the clip norm step t shows him
y_t ~ N(b_t, sigma^2), where b_t ~ Bernoulli(q) if the canary is in and 0 if it is out. The best score is the
log-likelihood ratio sum_t log(1 - q + q exp((y_t - 1/2) / sigma^2)), the privacy loss of T steps of the
Poisson-subsampled Gaussian (Abadi et al. 2016). Its law is the T-fold convolution of one step's, computed by a fast
Fourier transform on a grid (as in Koskela, Jälkö, Honkela 2020).

Where k canaries share a coordinate, b_t counts those of them that are in and sampled. All k have one score, still that
of a canary alone: it rises with how many are in, which is what the coordinate tells. The others' coins are fair.
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
_UNKNOWN = 1e-12  # of the likeliest score: what the transform's rounding may add
_LOG_TAIL = 30.0  # e^-30 of either law may leave the grid
_TILTS = np.geomspace(1e-4, 1e2, 25).tolist()


@dataclass(frozen=True, kw_only=True)
class ScoreLaw:
    """Chances of the scores on an increasing grid, (n,): `inside` for a canary that is in, `outside` for one out.

    evidence: the log-likelihood ratio of each score; the score itself where a canary has a coordinate of its own.
    """

    scores: NDArray[np.float64]
    inside: NDArray[np.float64]
    outside: NDArray[np.float64]
    evidence: NDArray[np.float64]


def ideal_score_law(mechanism: Mechanism, *, actual_noise: float | None = None, sharing: int = 1) -> ScoreLaw:
    """Return the law of the score that believes `mechanism`, if the noise multiplier is in truth `actual_noise`.

    A sampler other than Poisson is treated as Poisson at the same rate. sharing: how many canaries share a coordinate;
    the chances are those of one of them, whatever the coins of the others.
    """
    noise = mechanism.noise_multiplier if actual_noise is None else actual_noise
    edges = np.linspace(-_FAR * noise, sharing + _FAR * noise, _CELLS + 1)
    losses = _step_scores((edges[:-1] + edges[1:]) / 2, mechanism)
    counted = [np.diff(ndtr((edges - count) / noise)) for count in range(sharing + 1)]
    steps = [_sampled(counted, inside, mechanism.sampling_rate) for inside in range(sharing + 1)]
    grid = _grid(losses, steps, mechanism.steps)
    sums = np.array([_convolve(losses, step, mechanism.steps, grid) for step in steps])
    others = _binomial(sharing - 1, 0.5)
    inside, outside = others @ sums[1:], others @ sums[:-1]
    return ScoreLaw(
        scores=grid, inside=inside, outside=outside, evidence=grid if sharing == 1 else _evidence(inside, outside)
    )


def _evidence(inside: NDArray[np.float64], outside: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return log(inside / outside), (n,); where one is too small to be known, that of the next where both are."""
    known = np.flatnonzero(np.minimum(inside, outside) > _UNKNOWN * max(inside.max(), outside.max()))
    return np.interp(np.arange(len(inside)), known, np.log(inside[known] / outside[known]))


def _binomial(trials: int, rate: float) -> NDArray[np.float64]:
    """Return the chances of 0, ..., `trials` successes."""
    counts = range(trials + 1)
    return np.array([math.comb(trials, count) * rate**count * (1 - rate) ** (trials - count) for count in counts])


def _sampled(counted: list[NDArray[np.float64]], inside: int, rate: float) -> NDArray[np.float64]:
    """Return the chances of y on its cells if so many are in, each sampled at `rate`; counted: by how many are."""
    law = _binomial(inside, rate) @ np.array(counted[: inside + 1])
    return np.asarray(law / law.sum(), dtype=np.float64)


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
