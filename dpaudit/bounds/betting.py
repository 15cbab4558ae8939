"""Anytime-valid: bet on each guess as its coin is revealed, and stop as soon as the wealth refutes (epsilon, delta)-DP.

Guesses are revealed one after the other; which canary is next, and how it is guessed, may depend on the model and on
every coin revealed so far (adaptive guessing). Let q = e^eps / (1 + e^eps), and let X_k say whether the k-th guess is
right. The wealth starts at 1 and is multiplied by a/q after a right guess and by (1 - a)/(1 - q) after a wrong one,
for some a in [q, 1].

Theorem (wealth under epsilon-DP). E[wealth after k + 1 | past] <= wealth after k, so P[wealth ever reaches w] <= 1/w.
Proof. Fix the model o and all coins but the next, s_i. Under pure epsilon-DP the chances of o given s_i = in and
given out differ by a factor of at most e^eps, and the coin is fair and independent of the others, so by Bayes the
posterior odds of s_i are at most e^eps to 1. This remains true when the coins not yet revealed are averaged out. So
pi = P[X_k+1 = 1 | o, past] <= q, and the expected factor 1 + (a - q)(pi - q) / (q (1 - q)) is at most 1. The rest is
Ville's inequality (1939).

Theorem (with delta). For m canaries, P[wealth ever reaches w] <= 1/w + m delta e^-eps.
Proof. For any event A_i of the model and the coins other than i, (epsilon, delta)-DP bounds P[A_i, i guessed rightly] -
e^eps P[A_i, i guessed wrongly] by delta: freeze the other coins, and flip coin i, which maps the fair coins onto
themselves. Take for A_i "i is revealed at some step k + 1 <= K at which pi > q", K being the step at which the wealth
first reaches w; whether this is so does not depend on coin i, which is still hidden then. Summed over the m canaries,
    E sum_k (pi_k - e^eps (1 - pi_k))_+ <= m delta,     where (pi - e^eps (1 - pi))_+ = (pi - q)_+ (1 + e^eps).
Stop the wealth at K. Each step before it adds in expectation at most w (a - q)(pi - q)_+ / (q (1 - q)), and
(a - q) / (q (1 - q)) <= 1/q. So E[wealth at the stop] <= 1 + w m delta / (q (1 + e^eps)) = 1 + w m delta e^-eps, and
P[it reaches w] is at most 1/w times that (Markov). A mixture of wealths over several a is a wealth with a
past-dependent a.

R runs in a row multiply their wealth, and pay R m delta e^-eps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit, log_expit

from dpaudit.bounds.significance import check_confidence
from dpaudit.errors import InputError
from dpaudit.results import Bound, Counts

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from dpaudit.bounds.tradeoff import EpsilonDelta

__all__ = ["EPSILONS", "BettingTest", "betting_bound", "watch"]

#: the grid of `betting_bound` where the caller has none: 16 is beyond what 1e6 right guesses can refute
EPSILONS = np.arange(0.0, 16.0, 0.01)
_BETS = 32


@dataclass(kw_only=True)
class BettingTest:
    """A stream of guesses against one promise; `p_value` may be looked at after every guess.

    canaries: all coins tossed, over all runs. The bets are a uniform mixture over 32 accuracies a between q and 1.

    >>> from dpaudit.bounds.tradeoff import EpsilonDelta
    >>> test = BettingTest(promise=EpsilonDelta(1.0, 0.0), canaries=100)
    >>> for _ in range(40):
    ...     test.update(right=True)
    >>> test.p_value < 1e-3
    True
    """

    promise: EpsilonDelta
    canaries: int
    guesses: int = field(default=0, init=False)
    correct: int = field(default=0, init=False)
    _most: float = field(default=0.0, init=False)
    _until_look: int = field(default=1, init=False)  # right guesses before which no wealth can exceed the most so far
    _factors: tuple[NDArray[np.float64], NDArray[np.float64]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.canaries < 1:
            raise InputError("canaries", self.canaries, "at least 1")
        self._factors = _bets(np.array([self.promise.epsilon]))

    def update(self, *, right: bool) -> None:
        """Take the next guess into account."""
        if self.guesses == self.canaries:
            raise InputError("guesses", self.guesses + 1, f"at most the {self.canaries} canaries")
        self.guesses += 1
        self.correct += right
        self._until_look -= right
        if right and self._until_look <= 0:
            self._look()

    def _look(self) -> None:
        """Note the wealth. A right guess multiplies it by at most the largest factor, a wrong one never raises it."""
        wealth = self.log_wealth
        self._most = max(self._most, wealth)
        self._until_look = max(1, int((self._most - wealth) / float(self._factors[0].max())))

    @property
    def log_wealth(self) -> float:
        """Return the logarithm of the present wealth."""
        right, wrong = self._factors
        return float(_log_mean(self.correct * right + (self.guesses - self.correct) * wrong)[0])

    @property
    def p_value(self) -> float:
        """Return an anytime-valid p-value: 1 / (the most the wealth ever was) + m delta e^-epsilon."""
        price = self.canaries * self.promise.delta * math.exp(-self.promise.epsilon)
        return min(1.0, math.exp(-self._most) + price)


def watch(test: BettingTest, stream: Iterable[bool], level: float) -> int | None:
    """Feed `stream` to a test until it refutes its promise at `level`; return after how many guesses, or None.

    Nothing is read beyond the guess that refutes.

    >>> from dpaudit.bounds.tradeoff import EpsilonDelta
    >>> watch(BettingTest(promise=EpsilonDelta(1.0, 0.0), canaries=100), [True] * 100, 0.05)
    15
    """
    for right in stream:
        test.update(right=right)
        if right and test.p_value <= level:
            return test.guesses
    return None


def betting_bound(
    stream: Iterable[bool],
    epsilons: NDArray[np.float64] = EPSILONS,
    *,
    canaries: int,
    delta: float,
    confidence: float,
) -> Bound:
    """Return the largest of `epsilons` up to which the stream refutes every one.

    stream: whether each guess was right, in the order of revealing. epsilons: a rising grid that was fixed
    beforehand. The bound errs only if the first grid point at or above the truth is refuted, which is one test and
    not many.

    >>> stream = [True] * 100
    >>> betting_bound(stream, np.arange(0, 8, 0.01), canaries=100, delta=0.0, confidence=0.95).epsilon > 2.5
    True
    """
    check_confidence(confidence)
    if not (len(epsilons) > 0 and (epsilons >= 0).all() and (np.diff(epsilons) > 0).all()):
        raise InputError("epsilons", epsilons, "numbers of at least 0 that rise")
    if not 0 <= delta < 1:
        raise InputError("delta", delta, "a number of at least 0 and below 1")
    rights = np.fromiter(stream, dtype=np.bool_)
    if len(rights) > canaries:
        raise InputError("guesses", len(rights), f"at most the {canaries} canaries")
    after_right, after_wrong = _bets(epsilons)
    most = np.zeros(len(epsilons))
    for right, wrong in _peaks(rights):
        most = np.maximum(most, _log_mean(right * after_right + wrong * after_wrong))
    refuted = np.exp(-most) + canaries * delta * np.exp(-epsilons) <= 1 - confidence
    count = len(refuted) if refuted.all() else int(np.argmin(refuted))
    return Bound(
        method="betting",
        hypothesis="any",
        guarantee="certified",
        epsilon=float(epsilons[count - 1]) if count else 0.0,
        delta=delta,
        confidence=confidence,
        strategy="anytime: wealth watched after every guess",
        counts=Counts(canaries=(canaries,), guesses=(len(rights),), correct=(int(rights.sum()),)),
        parameter=float(epsilons[count - 1]) if count else None,
    )


def _peaks(rights: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return the counts of (right, wrong) guesses among which every mixture of bets was richest.

    Log-wealth is convex in the two counts, rises with the first and falls with the second. So it is largest at a corner
    of the concave hull of "most right guesses by so many wrong ones".
    """
    wrong = np.flatnonzero(~rights)
    most_right = np.append(wrong - np.arange(len(wrong)), rights.sum()).tolist()
    hull: list[tuple[int, int]] = []
    for point in zip(most_right, range(len(most_right)), strict=True):
        while len(hull) > 1 and _is_below(hull[-2], hull[-1], point):
            hull.pop()
        hull.append(point)
    return hull


def _is_below(first: tuple[int, int], middle: tuple[int, int], last: tuple[int, int]) -> bool:
    """Return whether the middle of three (right, wrong) lies on or below the line through the other two."""
    return (middle[0] - first[0]) * (last[1] - first[1]) <= (last[0] - first[0]) * (middle[1] - first[1])


def _bets(epsilons: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the log-factors after a right and after a wrong guess, (n, 32): a is equally spaced between q and 1."""
    q = expit(epsilons)[:, None]
    a = q + (1 - q) * (np.arange(_BETS) + 0.5) / _BETS
    return np.log(a) - log_expit(epsilons)[:, None], np.log1p(-a) - log_expit(-epsilons)[:, None]


def _log_mean(log_wealths: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the logarithm of the mean wealth over the bets, (n,)."""
    most = log_wealths.max(axis=1)
    return np.asarray(most + np.log(np.exp(log_wealths - most[:, None]).mean(axis=1)), dtype=np.float64)
