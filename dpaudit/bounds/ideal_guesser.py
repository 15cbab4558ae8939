"""The guesses of an attacker who sees ideal canaries: the surest first, in or out by the sign of the score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import bdtr, bdtrc

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from dpaudit.bounds.ideal_canary import ScoreLaw

__all__ = ["Design", "Guesser", "first_true"]


class Design:
    """`runs` runs of `canaries` ideal canaries each, guessed from the surest down."""

    def __init__(self, law: ScoreLaw, canaries: int, runs: int) -> None:
        self.canaries, self.runs = canaries, runs
        self.guesser = Guesser(law, canaries)
        surest = np.argsort(-np.abs(law.evidence), kind="stable")
        mass = (law.inside + law.outside)[surest] / 2
        self._guessed_in = _Collected.of(mass, np.where(law.evidence[surest] > 0, mass, 0.0))

    def sides(self, guesses: int) -> tuple[int, int]:
        """Return how many of the surest canaries are guessed in and out."""
        inside = min(round(self._guessed_in.at(guesses / self.canaries) * self.canaries), guesses)
        return inside, guesses - inside

    def median_correct(self, guesses: int) -> int:
        """Return the median of the right guesses in the worst run."""
        return _quantile(1 - 0.5 ** (1 / self.runs), guesses, self.accuracy(guesses))

    def accuracy(self, guesses: int) -> float:
        """Return the chance that a guess is right."""
        return self.guesser.accuracy(*self.sides(guesses))

    def chance(self, guesses: int, correct: int, accuracy: float) -> float:
        """Return the chance that every run has at least `correct` right guesses."""
        if correct > guesses:
            return 0.0
        return float(bdtrc(correct - 1, guesses, accuracy)) ** self.runs if correct > 0 else 1.0


class Guesser:
    """The right guesses among the highest and the lowest scores of `canaries` canaries whose scores have `law`."""

    def __init__(self, law: ScoreLaw, canaries: int) -> None:
        mass = (law.inside + law.outside) / 2
        self._canaries = canaries
        self._right_in = _Collected.of(mass[::-1], law.inside[::-1] / 2)
        self._right_out = _Collected.of(mass, law.outside / 2)

    def accuracy(self, inside: int, outside: int) -> float:
        """Return the chance that a guess is right, when so many of the highest and lowest scores are guessed."""
        right = self._right_in.at(inside / self._canaries) + self._right_out.at(outside / self._canaries)
        return min(1.0, right * self._canaries / (inside + outside))


def first_true(holds: Callable[[int], bool], last: int) -> int:
    """Return the first of 0, ..., `last` from which on `holds` is true; last + 1 if it never is."""
    low, high = 0, last + 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low


@dataclass(frozen=True)
class _Collected:
    """What is collected from the first score to each: `mass` of all canaries, and `part`, both (n + 1,) and rising."""

    mass: NDArray[np.float64]
    part: NDArray[np.float64]

    @classmethod
    def of(cls, mass: NDArray[np.float64], part: NDArray[np.float64]) -> _Collected:
        """Sum up the mass and the part that each score holds, in the order in which they are collected."""
        return cls(np.append(0.0, np.cumsum(mass)), np.append(0.0, np.cumsum(part)))

    def at(self, share: float) -> float:
        """Return the part that is collected with this share of all canaries."""
        return float(np.interp(share, self.mass, self.part))


def _quantile(chance: float, trials: int, rate: float) -> int:
    return first_true(lambda count: bool(bdtr(count, trials, rate) >= chance), trials)
