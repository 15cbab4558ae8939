"""How noisy steps spread their privacy loss, and from that what a numerical composition costs and loses.

For a pair of neighbours the loss of outcome x is ln P(x) / Q(x) with x drawn from P. A step that samples at rate q and
adds noise z (in add-remove sensitivities) has P = (1 - q) N(0, z^2) + q N(1, z^2) and Q = N(0, z^2) when a record is
removed, the two swapped when one is added, and Q = (1 - q) N(0, z^2) + q N(-1, z^2) when one is replaced.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dpaudit.accounting.parts import GaussianPart, Parts
    from dpaudit.mechanism import Adjacency

__all__ = ["ComposedLoss", "Direction", "composed_loss", "directions"]

Direction: TypeAlias = Literal["remove", "add", "replace"]
_OFFSETS = np.linspace(-10.5, 10.5, 1501)  # of outcomes around each peak, in standard deviations
_ORDERS = np.concatenate([np.arange(-20, 0), np.arange(1, 21)])  # of dp-accounting's Chernoff bound, per width
_LOG_TAIL = math.log(2e15)  # two tails of together 1e-15
_SCALE_ORDERS = np.geomspace(0.05, 20, 24)
_QUANTILES = 5  # standard deviations up to which errors are reckoned


def directions(adjacency: Adjacency) -> tuple[Direction, ...]:
    """Return the pairs of neighbours to look at; zero-out has the same pairs as add-remove."""
    return ("replace",) if adjacency == "replace-one" else ("remove", "add")


def composed_loss(parts: Parts, direction: Direction) -> ComposedLoss:
    """Return the total loss of all parts, by quadrature over each part's outcome.

    >>> from dpaudit.accounting.parts import GaussianPart
    >>> round(composed_loss((GaussianPart(1.0, 2.0, 1),), "remove").mean, 6)  # 1 / (2 z^2)
    0.125
    """
    return ComposedLoss(
        steps=tuple(_step_loss(part, direction) for part in parts), counts=tuple(part.count for part in parts)
    )


@dataclass(frozen=True)
class ComposedLoss:
    """The sum of `counts[i]` losses like `steps[i]`, all in units of epsilon."""

    steps: tuple[StepLoss, ...]
    counts: tuple[int, ...]

    @property
    def count(self) -> int:
        """Return the number of releases."""
        return sum(self.counts)

    @cached_property
    def mean(self) -> float:
        """Return the mean of the total loss."""
        return sum(count * step.mean for count, step in self._pairs())

    @cached_property
    def std(self) -> float:
        """Return the standard deviation of the total loss."""
        return math.sqrt(sum(count * step.variance for count, step in self._pairs()))

    @cached_property
    def widest(self) -> float:
        """Return the length of the longest support of a single step."""
        return max(step.high - step.low for step in self.steps)

    @cached_property
    def window(self) -> float:
        """Return the length of the interval that dp-accounting keeps of the total."""
        return sum(step.window(count) for count, step in self._pairs())

    @cached_property
    def epsilon_scale(self) -> float:
        """Return a rough epsilon at common deltas, for relative tolerances."""
        return max(self.mean + 3 * self.std, self._quantile() / 2)

    @cached_property
    def epsilon_floor(self) -> float:
        """Return an epsilon that the true one exceeds at every delta below 0.45.

        Cantelli: the loss is above mean - std with probability 1/2 at least, and then delta(eps) is above
        (1 - 1/10) / 2 at eps = mean - std - ln 10.
        """
        return max(0.0, self.mean - self.std - math.log(10))

    def discretisation_error(self, interval: float) -> float:
        """Return roughly how much epsilon grows when losses are split onto a grid of this interval, pessimistically.

        Doroshenko et al. (2022) split a loss onto its two neighbours so that the masses of P and of Q are kept, which
        raises mean and variance. Counted here: both, at 5 standard deviations, and the worst split of a single loss.
        """
        shifts, spreads = zip(*(step.split(interval) for step in self.steps), strict=True)
        shift = sum(count * value for count, value in zip(self.counts, shifts, strict=True))
        spread = sum(count * value for count, value in zip(self.counts, spreads, strict=True))
        worst, _ = _split(np.linspace(0, interval, 101), interval)
        return float(shift + _QUANTILES * (math.sqrt(self.std**2 + spread) - self.std) + worst.max())

    def _pairs(self) -> zip[tuple[int, StepLoss]]:
        return zip(self.counts, self.steps, strict=True)

    def _quantile(self) -> float:
        """Return the best Chernoff bound of the total loss at tail mass 1e-6."""
        if self.std == 0:
            return 0.0
        orders = np.concatenate([_SCALE_ORDERS / self.std, _SCALE_ORDERS / self.widest])
        moments = sum(count * step.log_moments(orders) for count, step in self._pairs())
        lowest = sum(count * step.low for count, step in self._pairs())
        return lowest + float(((moments + math.log(1e6)) / orders).min())


@dataclass(frozen=True)
class StepLoss:
    """The loss of one step: losses and their masses, both (n,)."""

    losses: NDArray[np.float64]
    masses: NDArray[np.float64]

    @cached_property
    def low(self) -> float:
        """Return the smallest loss."""
        return float(self.losses.min())

    @cached_property
    def high(self) -> float:
        """Return the largest loss."""
        return float(self.losses.max())

    @cached_property
    def mean(self) -> float:
        """Return the mean loss: the divergence of P from Q."""
        return float(self.losses @ self.masses)

    @cached_property
    def variance(self) -> float:
        """Return the variance of the loss."""
        return float((self.losses - self.mean) ** 2 @ self.masses)

    def log_moments(self, orders: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return ln E exp(order * (loss - low)), one per order."""
        exponents = orders[:, None] * (self.losses - self.low)[None, :]
        largest = exponents.max(axis=1)
        moments: NDArray[np.float64] = largest + np.log(np.exp(exponents - largest[:, None]) @ self.masses)
        return moments

    def window(self, count: int) -> float:
        """Return the length of the interval that dp-accounting keeps of the sum of `count` losses (tail mass 1e-15)."""
        width = self.high - self.low
        if width == 0:
            return 0.0
        orders = _ORDERS / width
        bounds = (count * self.log_moments(orders) + _LOG_TAIL) / orders
        top = min(float(bounds[orders > 0].min()), count * width)
        return top - max(float(bounds[orders < 0].max()), 0.0)

    def split(self, interval: float) -> tuple[float, float]:
        """Return by how much the mean and the variance grow on a grid of this interval."""
        shift, spread = _split(np.mod(self.losses, interval), interval)
        return float(shift @ self.masses), float(spread @ self.masses)


def _split(rest: NDArray[np.float64], interval: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the growth of mean and variance when a loss `rest` above a grid point is split onto the two beside it."""
    upper = np.expm1(-rest) / math.expm1(-interval)
    return interval * upper - rest, interval**2 * upper * (1 - upper)


def _step_loss(part: GaussianPart, direction: Direction) -> StepLoss:
    noise = part.noise_multiplier
    centres = (-1.0, 0.0, 1.0) if direction == "replace" else (0.0, 1.0)
    x = np.sort(np.concatenate([centre + noise * _OFFSETS for centre in centres]))
    there = _log_mixture(x, part.rate, noise, 1.0)
    here = _log_mixture(x, part.rate, noise, -1.0) if direction == "replace" else _log_normal(x, noise)
    upper, lower = (here, there) if direction == "add" else (there, here)
    masses = np.exp(upper) * np.gradient(x)
    return StepLoss(losses=upper - lower, masses=masses / masses.sum())


def _log_mixture(x: NDArray[np.float64], rate: float, noise: float, centre: float) -> NDArray[np.float64]:
    moved = math.log(rate) + _log_normal(x - centre, noise)
    if rate == 1:
        return moved
    mixture: NDArray[np.float64] = np.logaddexp(math.log1p(-rate) + _log_normal(x, noise), moved)
    return mixture


def _log_normal(x: NDArray[np.float64], noise: float) -> NDArray[np.float64]:
    """Return the log density of N(0, noise^2) up to a constant that every term here shares."""
    return -0.5 * (x / noise) ** 2
