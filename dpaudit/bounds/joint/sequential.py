"""What adaptive guessers can earn: a game of right and wrong guesses, and the tolls that make it a bound.

r of m canaries are guessed one after the other; r is fixed before any coin is seen. Which canary is revealed next, and
how it is guessed, may depend on the output (draws of the guesser's own count as part of it) and on all coins revealed
before. Let X_k say whether the k-th guess is right, pi_k the chance of that given the output and the coins revealed
before, d(eps) the curve's `delta_at`, and q(eps) = e^eps / (1 + e^eps).

Lemma. For every eps >= 0,   E sum_k (pi_k - q(eps))_+  <=  m d(eps) / (1 + e^eps).
Proof. Freeze all coins but the i-th. Up to the moment at which canary i is revealed, nothing that the guesser does
depends on its coin. So whether it is the k-th, how it is guessed then, and whether pi_k > q, are functions of the
output and the other coins. Let h_i be 1 if canary i is revealed at some step k with pi_k > q, else 0. "h_i = 1, and
the guess of i is right" is a test of the output, so flipping coin i changes its chance by a factor e^eps and d(eps) at
most. The coins are fair and independent, so averaged over them, flipping changes nothing but right into wrong:

    P[h_i = 1, i is right] - e^eps P[h_i = 1, i is wrong]  <=  d(eps).

Add this up over the m canaries. Each step reveals one canary and none is revealed twice, so the left sides add up to
E sum_k 1{pi_k > q} (X_k - e^eps (1 - X_k)). Whether pi_k > q is known before X_k is, so X_k may be replaced by pi_k;
and pi - e^eps (1 - pi) = (1 + e^eps) (pi - q). QED. The joint test's "errors of the others" may not stand in h_i: what
is guessed after canary i may depend on its coin, so they are no function of the output and the other coins.

The game. A player with n guesses left and b errors still allowed names his chance pi of being right, and pays
sum_l y_l (pi - q_l)_+ at the tolls y_l >= 0 of some eps_l. He wins 1 if no more errors occur than are allowed. Let
V(n, b) be the most that he can win on average, tolls taken off: V(n, b) = 0 for b < 0, V(0, b) = 1 for b >= 0,

    V(n, b) = max over pi of  pi V(n-1, b) + (1 - pi) V(n-1, b-1) - sum_l y_l (pi - q_l)_+.

Theorem. P[at most v of r guesses are wrong]  <=  V(r, v) + m sum_l y_l d(eps_l) / (1 + e^eps_l).
Proof. Let b_k be v minus the errors among the first k guesses. Given the output and the coins revealed before step k,
the mean of V(r-k, b_k) less the toll for pi_k is at most V(r-k+1, b_(k-1)), by the definition of V. Add up the steps:
E V(0, b_r) <= V(r, v) + the mean of all tolls. The left side is the chance in question; the Lemma bounds the tolls. QED

The maximum is found at a few places. V(n, b) rises with b: so do V(0, .) and, for every pi, what the maximum is taken
of. So in pi that is a concave function, linear between the q_l, which rises up to the smallest q_l (at least 1/2: worse
guesses than coins never help). It is largest at the first q_l at which the tolls of all smaller or equal epsilons reach
V(n-1, b) - V(n-1, b-1), or at 1 if they never do.

Nobody who chose the tolls need be trusted: any are allowed, and they hold for every curve.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import bdtr, expit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dpaudit.bounds.guesses import Guesses
    from dpaudit.bounds.tradeoff import TradeOff

__all__ = ["Tolls", "charge", "charge_one", "rates"]

_ROUNDING = 1e-9  # relative: far above what adding up in float64 can lose
_ROUNDING_OF_A_GUESS = 2.0**-50  # a step of the game is a sum of three numbers of at most 1


@dataclass(frozen=True, kw_only=True, eq=False)
class Tolls:
    """Tolls of epsilons that rise, both (L,), and what the game is worth that charges them."""

    canaries: int
    epsilons: NDArray[np.float64]
    tolls: NDArray[np.float64]
    worth: float

    def most(self, curve: TradeOff) -> float:
        """Return a bound on the chance of so few errors under any mechanism that keeps `curve`."""
        paid = self.tolls > 0
        prices = rates(curve, self.canaries, self.epsilons[paid]) * self.tolls[paid]
        return min(1.0, (self.worth + math.fsum(prices.tolist())) * (1 + _ROUNDING))


def rates(curve: TradeOff, canaries: int, epsilons: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return by how much pi can exceed q(eps) at most, on average and added up over all guesses, (L,)."""
    deltas = [curve.delta_at(epsilon) for epsilon in epsilons.tolist()]
    return canaries * np.array(deltas, dtype=np.float64) * expit(-epsilons)


def charge(
    run: Guesses, epsilons: NDArray[np.float64], tolls: NDArray[np.float64]
) -> tuple[Tolls, NDArray[np.float64]]:
    """Return the certificate of tolls, (L,), for as many errors as in the run, and how its best player exceeds each q.

    epsilons: (L,), rising. What is no toll is none: below 0, not finite, or beyond 1 in all, since nobody wins
    more. The second, (L,), is the mean of sum_k (pi_k - q_l)_+: minus the slope of the game's worth in the tolls.

    >>> from dpaudit.bounds.guesses import Guesses
    >>> game, excess = charge(Guesses(canaries=2, guesses=2, correct=2), np.array([0.0]), np.array([0.5]))
    >>> round(game.worth, 9), excess.tolist()  # sure of both guesses, at a toll of 1/4 each
    (0.5, [1.0])
    """
    slopes = np.minimum(np.cumsum(np.where(np.isfinite(tolls), np.maximum(tolls, 0.0), 0.0)), 1.0)
    tolls = np.diff(slopes, prepend=0.0)
    chances = np.append(expit(epsilons), 1.0)
    above = np.maximum(chances[:, None] - chances[:-1], 0.0)
    worth, choices = _played(run, chances, above @ tolls, slopes)
    game = Tolls(canaries=run.canaries, epsilons=epsilons, tolls=tolls, worth=worth)
    return game, _how_often(choices, chances) @ above


def _played(
    run: Guesses, chances: NDArray[np.float64], paid: NDArray[np.float64], slopes: NDArray[np.float64]
) -> tuple[float, NDArray[np.intp]]:
    """Return V(r, v), rounded up, and which of the chances, (L + 1,), is best after n guesses with b errors left.

    paid: the toll for each chance, (L + 1,). slopes: of the tolls beyond each but the last, (L,). The choices are (r,
    v + 1), the last guess first.
    """
    errors = run.guesses - run.correct
    worth, after_wrong = np.ones(errors + 1), np.zeros(errors + 1)
    choices = np.empty((run.guesses, errors + 1), dtype=np.intp)
    for choice in choices:
        after_wrong[1:] = worth[:-1]
        gain = worth - after_wrong
        choice[:] = slopes.searchsorted(gain)
        worth = after_wrong + gain * chances[choice] - paid[choice]
    return float(worth[-1]) + run.guesses * _ROUNDING_OF_A_GUESS, choices


def _how_often(choices: NDArray[np.intp], chances: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how often the best player takes each of the chances, (L + 1,), on average, while errors are allowed."""
    left = np.zeros(choices.shape[1])
    left[-1] = 1.0
    often = np.zeros(len(chances))
    for choice in choices[::-1]:
        often += np.bincount(choice, left, len(chances))
        right = left * chances[choice]
        wrong = left - right
        left = right
        left[:-1] += wrong[1:]
    return often


def charge_one(run: Guesses, epsilon: float) -> Tolls:
    """Return the certificate of a toll of 1 at one epsilon: nobody ever exceeds q, so errors are binomial.

    >>> from dpaudit.bounds.guesses import Guesses
    >>> from dpaudit.bounds.tradeoff import EpsilonDelta
    >>> run = Guesses(canaries=10, guesses=4, correct=4)
    >>> round(charge_one(run, 0.0).most(EpsilonDelta(0.0, 0.01)), 4)  # 1 / 16 + 10 x 0.01 / 2
    0.1125
    """
    worth = float(bdtr(run.guesses - run.correct, run.guesses, expit(-epsilon)))
    return Tolls(canaries=run.canaries, epsilons=np.array([epsilon]), tolls=np.ones(1), worth=worth)
