"""The p-values against ALL mechanisms: a linear program over every map from coins to guesses, for a few canaries."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.optimize import linprog

from dpaudit.bounds.guesses import Guesses
from dpaudit.bounds.one_run import Steinke
from dpaudit.bounds.one_run_fdp import FdpRecursion
from dpaudit.bounds.tradeoff import EpsilonDelta

if TYPE_CHECKING:
    from numpy.typing import NDArray


def most_over_all_mechanisms(curve: EpsilonDelta, run: Guesses) -> float:
    """Return the largest chance of at least `correct` right guesses under any (epsilon, delta)-DP mechanism.

    Variables: P[output | coins], and for every ordered pair of neighbours and output the excess of one chance over
    e^eps times the other, whose sum over outputs is at most delta. An output names the guessed canaries and guesses.
    """
    m, r = run.canaries, run.guesses
    coins = list(itertools.product((0, 1), repeat=m))
    outputs = [
        (chosen, bits) for chosen in itertools.combinations(range(m), r) for bits in itertools.product((0, 1), repeat=r)
    ]
    pairs = [(s, t) for s, t in itertools.permutations(coins, 2) if sum(a != b for a, b in zip(s, t, strict=True)) == 1]
    chance = {key: i for i, key in enumerate(itertools.product(coins, outputs))}
    excess = {key: len(chance) + i for i, key in enumerate(itertools.product(pairs, outputs))}
    entries: list[tuple[int, int, float]] = []
    limits: list[float] = []
    for ((s, t), output), surplus in excess.items():
        row = len(limits)
        entries += [(row, chance[s, output], 1.0), (row, chance[t, output], -math.exp(curve.epsilon))]
        entries.append((row, surplus, -1.0))
        limits.append(0.0)
    for pair in pairs:
        entries += [(len(limits), excess[pair, output], 1.0) for output in outputs]
        limits.append(curve.delta)
    width = len(chance) + len(excess)
    objective = np.zeros(width)
    for (s, (chosen, bits)), i in chance.items():
        right = sum(s[canary] == bit for canary, bit in zip(chosen, bits, strict=True))
        objective[i] = -(right >= run.correct) / len(coins)
    total = [(coins.index(s), i, 1.0) for (s, _), i in chance.items()]
    found = linprog(
        objective,
        A_ub=_matrix(entries, len(limits), width),
        b_ub=limits,
        A_eq=_matrix(total, len(coins), width),
        b_eq=np.ones(len(coins)),
    )
    assert found.fun is not None
    return -float(found.fun)


def _matrix(entries: list[tuple[int, int, float]], rows: int, columns: int) -> NDArray[np.float64]:
    matrix = np.zeros((rows, columns))
    for row, column, value in entries:
        matrix[row, column] = value
    return matrix


@pytest.mark.parametrize(
    ("canaries", "guesses", "correct"), [(1, 1, 1), (2, 2, 2), (3, 3, 2), (3, 3, 3), (3, 2, 2), (4, 2, 2)]
)
@pytest.mark.parametrize(("epsilon", "delta"), [(0.0, 0.0), (0.7, 0.0), (0.0, 0.1), (1.0, 0.02)])
def test_no_mechanism_is_right_more_often(
    canaries: int, guesses: int, correct: int, epsilon: float, delta: float
) -> None:
    run, curve = Guesses(canaries=canaries, guesses=guesses, correct=correct), EpsilonDelta(epsilon, delta)
    most = most_over_all_mechanisms(curve, run)
    recursion = FdpRecursion().p_value(curve, run)
    assert most <= recursion + 1e-9
    assert most <= Steinke().p_value(curve, run) + 1e-9
    if correct == guesses:
        assert recursion == pytest.approx(most, abs=1e-5), "for all right the recursion is exact"


def test_pure_dp_is_exactly_randomised_response() -> None:
    run, curve = Guesses(canaries=3, guesses=3, correct=3), EpsilonDelta(0.7, 0.0)
    assert Steinke().p_value(curve, run) == pytest.approx(most_over_all_mechanisms(curve, run), abs=1e-9)
