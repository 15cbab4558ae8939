"""The tolls at which the game of adaptive guesses bounds best: cutting planes on a convex function of few numbers.

What the tolls y promise, V(r, v) + sum_l y_l rate_l, is a largest value of functions that are linear in y, so it is
convex, and one solved game gives its value and a plane below it. A linear program finds where the planes seen so far
are lowest; the game is solved there, and so on. The lowest point of the planes says how much is still to be won. What
the solver answers is only tried: the game that it proposes is played before it counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dpaudit.bounds.joint.program import smallest_delta, where_delta_is
from dpaudit.bounds.joint.sequential import Tolls, charge, charge_one, rates

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dpaudit.bounds.guesses import Guesses
    from dpaudit.bounds.tradeoff import TradeOff

__all__ = ["best_tolls", "is_played"]

#: guesses x games that are played for one set of tolls: some seconds at most
_MOST_STEPS = 250_000
_FEWEST_GAMES, _MOST_GAMES = 40, 150
_ERRORS_AS_COSTLY_AS_A_STEP = 300
_SINGLE_POINTS, _FIRST_POINTS, _POINTS = 65, 8, 16
_FIRST_SHARE = 0.25  # of the last epsilon, where the first grid begins: lower tolls are next to nothing
_FIRST_GAIN, _GAIN = 2e-2, 3e-3  # relative: what is left to be won when a search ends
_SAME = 1e-9  # tolls that differ by less are the same: the planes can be followed no further
_SMALLEST = 1e-2  # of the chance: the last epsilon's m delta


def is_played(run: Guesses) -> bool:
    """Return whether so many guesses and errors leave time for enough games."""
    return _games(run) >= _FEWEST_GAMES


def _games(run: Guesses) -> int:
    steps = run.guesses * (1 + (run.guesses - run.correct) / _ERRORS_AS_COSTLY_AS_A_STEP)
    return min(_MOST_GAMES, int(_MOST_STEPS / max(1.0, steps)))


def best_tolls(run: Guesses, curve: TradeOff) -> Tolls:
    """Return the tolls that bound the chance of as few errors as in the run best under `curve`.

    A toll at a single epsilon first; then, if the game is small enough, tolls on a first grid of epsilons, and again on
    one between the neighbours of those that had a toll.
    """
    single = _best_single(run, curve)
    if not is_played(run):
        return single
    enough = max(smallest_delta(curve), _SMALLEST * single.most(curve) / run.canaries)
    last = where_delta_is(curve, enough)
    first = _searched(run, curve, np.unique(np.linspace(_FIRST_SHARE * last, last, _FIRST_POINTS)), _FIRST_GAIN)
    second = _searched(run, curve, _around_tolls(first), _GAIN)
    return min((single, first, second), key=lambda tolls: tolls.most(curve))


def _best_single(run: Guesses, curve: TradeOff) -> Tolls:
    last = where_delta_is(curve, max(smallest_delta(curve), 1e-15 / run.canaries))
    found = [charge_one(run, epsilon) for epsilon in np.linspace(0.0, last, _SINGLE_POINTS).tolist()]
    return min(found, key=lambda tolls: tolls.most(curve))


def _around_tolls(tolls: Tolls) -> NDArray[np.float64]:
    """Return epsilons between the neighbours of those that have a toll; the same again if none has."""
    paid = np.flatnonzero(tolls.tolls > 0)
    if len(paid) == 0:
        return tolls.epsilons
    low, high = max(0, paid[0] - 1), min(len(tolls.epsilons) - 1, paid[-1] + 1)
    return np.unique(np.linspace(tolls.epsilons[low], tolls.epsilons[high], _POINTS))


def _searched(run: Guesses, curve: TradeOff, epsilons: NDArray[np.float64], gain: float) -> Tolls:
    """Return the best tolls at these epsilons, (L,), to a relative `gain`, or as good as the allowed games make them.

    The first games have one toll of 1 each.
    """
    slopes, planes, heights = rates(curve, run.canaries, epsilons), [], []
    found: list[Tolls] = []
    tolls = list(np.eye(len(epsilons)))
    for number in range(_games(run)):
        game, excess = charge(run, epsilons, tolls[number])
        found.append(game)
        planes.append(np.append(-excess, -1.0))
        heights.append(-game.worth - excess @ game.tolls)
        if number + 1 < len(tolls):
            continue
        lowest, at = _lowest(slopes, np.array(planes), np.array(heights))
        known = any(np.allclose(at, game.tolls, rtol=0.0, atol=_SAME) for game in found)
        if known or min(game.most(curve) for game in found) - lowest <= gain * lowest:
            break
        tolls.append(at)
    return min(found, key=lambda game: game.most(curve))


def _lowest(
    slopes: NDArray[np.float64], planes: NDArray[np.float64], heights: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64]]:
    """Return the least of the largest plane, and the tolls there: at least 0, at most 1 in all."""
    from scipy.optimize import linprog  # noqa: PLC0415 (slow to import; only joint bounds need it)

    in_all = np.append(np.ones(len(slopes)), 0.0)
    found = linprog(
        np.append(slopes, 1.0),
        A_ub=np.vstack([planes, in_all]),
        b_ub=np.append(heights, 1.0),
        bounds=(0, None),
        method="highs-ds",
    )
    if found.x is None or found.fun is None:
        return 0.0, np.zeros(len(slopes))
    return float(found.fun), np.asarray(found.x[:-1], dtype=np.float64)
