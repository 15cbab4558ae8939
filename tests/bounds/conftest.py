"""Laws of the number of right guesses under mechanisms whose privacy is known exactly, and simulated scores."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import bdtr, ndtri

from dpaudit.bounds.guesses import Guesses
from dpaudit.scores import LabelledScores

if TYPE_CHECKING:
    from collections.abc import Callable

Law: TypeAlias = NDArray[np.float64]


def _binomial(trials: int, rate: float) -> Law:
    return np.diff(bdtr(np.arange(trials + 1), trials, rate), prepend=0.0)


def _leak(guesses: int, chance: float, accuracy: float) -> Law:
    """With `chance` the guessed bits pass randomised response at `accuracy`; otherwise nothing is shown."""
    return chance * _binomial(guesses, accuracy) + (1 - chance) * _binomial(guesses, 0.5)


def _chance_of_refuting(law: Law, canaries: int, refutes: Callable[[Guesses], bool]) -> float:
    """Return the exact chance that a run refutes, if the number of right guesses has `law`, (guesses + 1,)."""
    guesses = len(law) - 1
    low, high = 0, guesses + 1
    while low < high:
        middle = (low + high) // 2
        if refutes(Guesses(canaries=canaries, guesses=guesses, correct=middle)):
            high = middle
        else:
            low = middle + 1
    return float(law[low:].sum())


def _gaussian_run(rng: np.random.Generator, canaries: int, mu: float) -> LabelledScores:
    member = rng.random(canaries) < 0.5
    return LabelledScores(scores=rng.normal(size=canaries) + mu * member, member=member)


def _most_allowed(simulations: int, chance: float) -> int:
    """Return the most events of this chance that bad luck excuses: exceeded with chance below 1e-4."""
    counts = np.arange(simulations + 1)
    return int(np.argmax(bdtr(counts, simulations, chance) >= 1 - 1e-4))


def _vertex(chance: float, share: float, mu: float) -> float:
    """Return the accuracy at which a leak of this chance, of this share of the bits, is mu-GDP and no better.

    Its trade-off curve has one vertex, so it is mu-GDP iff Phi^-1(chance share q) - Phi^-1(chance share (1 - q)) <= mu.
    """
    low, high = 0.5, 1.0
    for _ in range(60):
        q = (low + high) / 2
        exposed = q == 1 or ndtri(chance * share * q) - ndtri(chance * share * (1 - q)) > mu
        low, high = (low, q) if exposed else (q, high)
    return low


@pytest.fixture
def binomial() -> Callable[[int, float], Law]:
    return _binomial


@pytest.fixture
def leak() -> Callable[[int, float, float], Law]:
    return _leak


@pytest.fixture
def chance_of_refuting() -> Callable[[Law, int, Callable[[Guesses], bool]], float]:
    return _chance_of_refuting


@pytest.fixture
def gaussian_run() -> Callable[[np.random.Generator, int, float], LabelledScores]:
    return _gaussian_run


@pytest.fixture
def most_allowed() -> Callable[[int, float], int]:
    return _most_allowed


@pytest.fixture
def vertex() -> Callable[[float, float, float], float]:
    return _vertex
