"""Epsilon and delta by privacy loss distributions (dp-accounting), within a stated error, memory and time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from dpaudit.accounting.privacy_loss import ComposedLoss, composed_loss, directions

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from dpaudit.accounting.parts import GaussianPart, Parts
    from dpaudit.mechanism import Adjacency

__all__ = [
    "FLOOR_DELTA",
    "SMALLEST_DELTA",
    "ComposedDistribution",
    "Discretisation",
    "TooLarge",
    "composed_distribution",
    "discretisation",
    "epsilon_floor",
    "pure_gaussian_noise",
    "tight_epsilon",
]

SMALLEST_DELTA = 1e-10  # rounding in the FFT is about 1e-12
FLOOR_DELTA = 0.45  # `TooLarge.epsilon_floor` is a lower bound at every smaller delta
_MAX_STEP_POINTS = 200_000  # of one step's distribution: a Python dictionary in dp-accounting, about 100 bytes each
_MAX_TOTAL_POINTS = 3_000_000  # of the composed distribution: complex FFT arrays, about 100 bytes each
_POINTS_BELOW = 20  # grid points wanted between 0 and epsilon
_MAX_INTERVAL = 300.0  # dp-accounting takes exp(interval)
_MAX_RELATIVE_ERROR = 0.05
_MAX_MASS_ERROR = 1e-3
_ROUNDING = 5e-15  # measured: dp-accounting's masses of one step sum to 1 within this over the interval
_REFINEMENTS = 2
_REFINED_POINTS = 300_000
_EXCESS = 3
_LARGEST_EPSILON = 1e15
_DIRECT_STEPS = 20_000


@dataclass(frozen=True, kw_only=True)
class Discretisation:
    """interval: distance of the grid of losses; error: by how much epsilon is over-stated at most, roughly."""

    interval: float
    error: float


@dataclass(frozen=True, kw_only=True)
class TooLarge:
    """The distribution does not fit; the true epsilon is above `epsilon_floor`."""

    epsilon_floor: float
    reason: str


@dataclass(frozen=True, kw_only=True)
class TightEpsilon:
    """epsilon: an upper bound, over-stated by about grid.error at most."""

    epsilon: float
    grid: Discretisation


@dataclass(frozen=True)
class ComposedDistribution:
    """dp-accounting's pessimistic distribution of the total privacy loss, in both directions."""

    pld: Any

    def delta(self, epsilon: float) -> float:
        """Return the smallest delta that goes with epsilon."""
        return float(self.pld.get_delta_for_epsilon(epsilon))

    def deltas(self, epsilons: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return `delta` at rising epsilons up to 600, same shape: one pass over all losses."""
        found: NDArray[np.float64] = self.pld.get_delta_for_epsilon(epsilons)
        return found

    def epsilon(self, delta: float) -> float:
        """Return the smallest epsilon that goes with delta, rounded up by 1e-9, or infinity.

        By bisection on `delta`, which is exact at any size: dp-accounting's own inverse overflows above 700.
        """
        from scipy.optimize import brentq  # noqa: PLC0415  # slow to import

        if self.delta(0.0) <= delta:
            return 0.0
        high = 1.0
        while self.delta(high) > delta:
            if high > _LARGEST_EPSILON:
                return math.inf
            high *= 4
        found = float(brentq(lambda epsilon: self.delta(epsilon) - delta, 0.0, high, xtol=1e-12, rtol=1e-10))
        return min(high, found * (1 + 1e-9) + 1e-11)


def tight_epsilon(parts: Parts, adjacency: Adjacency, delta: float, tolerance: float) -> TightEpsilon | TooLarge:
    """Return epsilon at delta, over-stated by about `tolerance` (relative), more only where memory asks for it.

    The first grid is made for the scale of the losses; where epsilon is far below that, a finer one follows.
    """
    grid = discretisation(parts, adjacency, tolerance)
    if isinstance(grid, TooLarge):
        return grid
    epsilon = composed_distribution(parts, adjacency, grid.interval).epsilon(delta)
    for _ in range(_REFINEMENTS):
        excess = max(grid.error / tolerance, _POINTS_BELOW * grid.interval) / epsilon if epsilon > 0 else 0
        if excess <= _EXCESS:
            break
        finer = discretisation(parts, adjacency, tolerance / (2 * excess), _REFINED_POINTS)
        if isinstance(finer, TooLarge) or finer.interval >= grid.interval:
            break
        grid = finer
        epsilon = composed_distribution(parts, adjacency, grid.interval).epsilon(delta)
    return TightEpsilon(epsilon=epsilon, grid=grid)


def pure_gaussian_noise(parts: Parts, adjacency: Adjacency) -> float | None:
    """Return the noise multiplier of the one Gaussian mechanism that equals these parts, or None if any is sampled.

    Under replace-one it is halved: the sensitivity doubles.
    """
    if len(parts) != 1 or parts[0].rate < 1:
        return None
    return parts[0].noise_multiplier / (2 if adjacency == "replace-one" else 1)


def epsilon_floor(parts: Parts, adjacency: Adjacency) -> float:
    """Return an epsilon, perhaps 0, that the true one exceeds at every delta below `FLOOR_DELTA`; takes no time."""
    return max(composed_loss(parts, direction).epsilon_floor for direction in directions(adjacency))


def discretisation(
    parts: Parts, adjacency: Adjacency, tolerance: float, points: int = _MAX_TOTAL_POINTS
) -> Discretisation | TooLarge:
    """Return the grid on which epsilon is over-stated by about `tolerance` (relative), coarser only where it must be.

    A coarser grid stays pessimistic. It is given up when even the coarsest useful grid needs more than `points`.
    """
    losses = [composed_loss(parts, direction) for direction in directions(adjacency)]
    scale = max(loss.epsilon_scale for loss in losses)
    floor = max(loss.epsilon_floor for loss in losses)
    interval = max(_finest_interval(loss, points) for loss in losses)
    if interval > _MAX_INTERVAL:
        widest = max(loss.widest for loss in losses)
        return TooLarge(epsilon_floor=floor, reason=f"one step loses up to {widest:.3g}")
    if (error := _error(losses, interval)) > _MAX_RELATIVE_ERROR * scale:
        reason = f"{losses[0].count} steps need more than {points} points"
        return TooLarge(epsilon_floor=floor, reason=reason)
    while 2 * interval <= _MAX_INTERVAL and (coarser := _error(losses, 2 * interval)) <= tolerance * scale:
        interval, error = 2 * interval, coarser
    return Discretisation(interval=interval, error=error)


def _error(losses: list[ComposedLoss], interval: float) -> float:
    return max(loss.discretisation_error(interval) for loss in losses)


def _finest_interval(loss: ComposedLoss, points: int) -> float:
    window = min(loss.window, 40 * loss.std + 2 * loss.widest) if loss.count > _DIRECT_STEPS else loss.window
    return max(loss.widest / _MAX_STEP_POINTS, window / points, loss.count * _ROUNDING / _MAX_MASS_ERROR)


@lru_cache(maxsize=4)
def composed_distribution(parts: Parts, adjacency: Adjacency, interval: float) -> ComposedDistribution:
    """Return the distribution of all parts on a grid of this interval.

    Under replace-one dp-accounting doubles the sensitivity of a Gaussian itself, so the noise is passed as it is.
    """
    from dp_accounting.pld import privacy_loss_distribution  # noqa: PLC0415  # takes 1.3 s

    total = None
    for part in parts:
        composed = _self_composed(_step_distribution(part, adjacency, interval), part.count)
        total = composed if total is None else total.compose(composed)
    return ComposedDistribution(privacy_loss_distribution.identity(interval) if total is None else total)


def _step_distribution(part: GaussianPart, adjacency: Adjacency, interval: float) -> Any:
    from dp_accounting import NeighboringRelation  # noqa: PLC0415  # takes 1.3 s
    from dp_accounting.pld import privacy_loss_distribution  # noqa: PLC0415  # takes 1.3 s

    relation = {
        "add-remove": NeighboringRelation.ADD_OR_REMOVE_ONE,
        "zero-out": NeighboringRelation.REPLACE_SPECIAL,
        "replace-one": NeighboringRelation.REPLACE_ONE,
    }[adjacency]
    return privacy_loss_distribution.from_gaussian_mechanism(
        part.noise_multiplier,
        value_discretization_interval=interval,
        sampling_prob=part.rate,
        neighboring_relation=relation,
    )


def _self_composed(step: Any, count: int) -> Any:
    """Compose in two stages when there are many steps: dp-accounting's Chernoff orders suit a moderate number."""
    if count <= _DIRECT_STEPS:
        return step.self_compose(count)
    block = math.isqrt(count)
    blocks, rest = divmod(count, block)
    total = step.self_compose(block).self_compose(blocks)
    return total.compose(step.self_compose(rest)) if rest else total
