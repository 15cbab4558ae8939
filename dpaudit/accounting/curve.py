"""The accountant's whole curve: delta at every epsilon, for the executed mechanism and for other noise multipliers.

The curve of the hypothesis `accountant`. From (epsilon_i, delta_i) the largest of 0, 1 - delta_i - exp(epsilon_i) alpha
and exp(-epsilon_i) (1 - delta_i - alpha) is a trade-off curve that lies nowhere above the mechanism's own (Dong, Roth,
Su 2022, proposition 2.12), so refuting it refutes the mechanism.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dpaudit.accounting.events import mechanism_event
from dpaudit.accounting.gaussian import gaussian_deltas, gaussian_epsilon
from dpaudit.accounting.parts import Parts, Unaccountable, gaussian_parts
from dpaudit.accounting.pld import (
    SMALLEST_DELTA,
    ComposedDistribution,
    Discretisation,
    TightEpsilon,
    TooLarge,
    composed_distribution,
    discretisation,
    pure_gaussian_noise,
    tight_epsilon,
)
from dpaudit.errors import DpauditError, InputError

if TYPE_CHECKING:
    from dpaudit.mechanism import Adjacency, Mechanism

__all__ = ["Profile", "epsilon_at", "has_curve", "least_epsilon_at", "privacy_profile", "profile_at"]

Profile: TypeAlias = tuple[NDArray[np.float64], NDArray[np.float64]]
_TOLERANCE = 2e-3
_POINTS = 600
_MOST_LOSSES = 300_000
_COMPOSITION = 1e-12  # what the FFT and the tails that are cut off may change of delta
_NO_GRID = Discretisation(interval=0.0, error=0.0)
_LARGEST_EPSILON = 600.0  # exp(epsilon) must be a number


def has_curve(mechanism: Mechanism) -> bool:
    """Return whether PLD has a sound account: not for batches of fixed size, nor for add-remove shuffling."""
    return mechanism.sampling != "fixed" and (mechanism.sampling, mechanism.adjacency) != ("shuffle", "add-remove")


def privacy_profile(mechanism: Mechanism) -> Profile:
    """Return (epsilons, deltas), both (n,): epsilons rise from 0, deltas fall; pessimistic, both directions' maximum.

    The curve ends where delta is 1e-10 (or epsilon 600); beyond, the last delta holds.

    Raises:
        InputError: There is no sound account (`has_curve`).
        DpauditError: The distribution does not fit in memory.
    """
    return profile_at(mechanism, mechanism.noise_multiplier)


def profile_at(mechanism: Mechanism, noise_multiplier: float) -> Profile:
    """Return `privacy_profile` at another noise multiplier, everything else of the mechanism fixed. Cached.

    >>> from dpaudit.mechanism import Mechanism
    >>> mechanism = Mechanism(sampling="full", adjacency="add-remove", noise_multiplier=4.0, sampling_rate=1.0,
    ...                       steps=16, clip_norm=1.0, batch_size=100, dataset_size=100)
    >>> epsilons, deltas = profile_at(mechanism, 8.0)
    >>> print(epsilons[0], round(deltas[0], 4))
    0.0 0.1974
    """
    return _profile(*_question(mechanism, noise_multiplier))


def epsilon_at(mechanism: Mechanism, noise_multiplier: float, delta: float) -> float:
    """Return the epsilon at delta that `profile_at` stands for, without its grid: never below the exact one.

    Over-stated by 0.2 % or so. What promises says this; what refutes says `least_epsilon_at`.

    Raises:
        InputError: There is no sound account (`has_curve`), or delta is not between 0 and 1.
        DpauditError: The distribution does not fit in memory.
    """
    return _tight(mechanism, noise_multiplier, delta).epsilon


def least_epsilon_at(mechanism: Mechanism, noise_multiplier: float, delta: float) -> float:
    """Return the epsilon at delta of the mechanism, rounded down: below the exact one by less than 1 %. Raises alike.

    From `epsilon_at` is taken twice what its grid is reckoned to add. That is an estimate, no theorem: where the exact
    one is known a grid adds at most once that, and tests/accounting/test_curve.py also compares with a proved bound.
    """
    found = _tight(mechanism, noise_multiplier, delta, rounding=_COMPOSITION)
    return max(0.0, found.epsilon * (1 - 3e-11) - 3e-14 - 2 * found.grid.error)


def _tight(mechanism: Mechanism, noise_multiplier: float, delta: float, rounding: float = 0.0) -> TightEpsilon:
    """Return the pessimistic epsilon at delta, or at delta + rounding where it is composed numerically."""
    if not 0 < delta < 1:
        raise InputError("delta", delta, "a number between 0 and 1, both excluded")
    parts, adjacency = _question(mechanism, noise_multiplier)
    if isinstance(parts, str):
        return TightEpsilon(epsilon=math.inf, grid=_NO_GRID)
    if not parts:
        return TightEpsilon(epsilon=0.0, grid=_NO_GRID)
    if noise := pure_gaussian_noise(parts, adjacency):
        return TightEpsilon(epsilon=gaussian_epsilon(1 / noise, delta), grid=_NO_GRID)
    if delta < SMALLEST_DELTA:
        raise InputError("delta", delta, f"{SMALLEST_DELTA:g} or more, the rounding of the composition")
    found = tight_epsilon(parts, adjacency, delta + rounding, _TOLERANCE)
    if isinstance(found, TooLarge):
        raise _too_large(found)
    return found


def _question(mechanism: Mechanism, noise_multiplier: float) -> tuple[Parts | Unaccountable, Adjacency]:
    if not has_curve(mechanism):
        raise InputError("sampling", f"{mechanism.sampling}, {mechanism.adjacency}", "one that PLD can account for")
    changed = mechanism.model_copy(update={"noise_multiplier": noise_multiplier})
    return gaussian_parts(mechanism_event(changed)), mechanism.adjacency


@lru_cache(maxsize=128)
def _profile(parts: Parts | Unaccountable, adjacency: Adjacency) -> Profile:
    if isinstance(parts, str):
        return _read_only(np.zeros(1), np.ones(1))
    if not parts:
        return _read_only(np.zeros(1), np.zeros(1))
    if noise := pure_gaussian_noise(parts, adjacency):
        epsilons = _grid(gaussian_epsilon(1 / noise, SMALLEST_DELTA))
        return _read_only(epsilons, gaussian_deltas(1 / noise, epsilons))
    distribution = _distribution(parts, adjacency)
    epsilons = _grid(distribution.epsilon(SMALLEST_DELTA))
    deltas = np.clip(distribution.deltas(epsilons), 0.0, 1.0)
    return _read_only(epsilons, np.maximum.accumulate(deltas[::-1])[::-1])


def _distribution(parts: Parts, adjacency: Adjacency) -> ComposedDistribution:
    grid = discretisation(parts, adjacency, _TOLERANCE, _MOST_LOSSES)
    if isinstance(grid, TooLarge):
        raise _too_large(grid)
    return composed_distribution(parts, adjacency, grid.interval)


def _too_large(found: TooLarge) -> DpauditError:
    return DpauditError(f"the accountant's curve does not fit in memory: {found.reason}")


def _grid(last: float) -> NDArray[np.float64]:
    end = min(last, _LARGEST_EPSILON)
    return np.linspace(0.0, end, _POINTS) if end > 0 else np.zeros(1)


def _read_only(epsilons: NDArray[np.float64], deltas: NDArray[np.float64]) -> Profile:
    epsilons.setflags(write=False)
    deltas.setflags(write=False)
    return epsilons, deltas
