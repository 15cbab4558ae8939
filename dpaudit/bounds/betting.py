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

__all__ = ["BettingTest", "betting_bound"]

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
        self._most = max(self._most, self.log_wealth)

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


def betting_bound(
    stream: Iterable[bool], epsilons: NDArray[np.float64], *, canaries: int, delta: float, confidence: float
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
    after_right, after_wrong = _bets(epsilons)
    most, guesses, correct = np.zeros(len(epsilons)), 0, 0
    for right in stream:
        guesses, correct = guesses + 1, correct + int(right)
        most = np.maximum(most, _log_mean(correct * after_right + (guesses - correct) * after_wrong))
    if guesses > canaries:
        raise InputError("guesses", guesses, f"at most the {canaries} canaries")
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
        counts=Counts(canaries=(canaries,), guesses=(guesses,), correct=(correct,)),
        parameter=float(epsilons[count - 1]) if count else None,
    )


def _bets(epsilons: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the log-factors after a right and after a wrong guess, (n, 32): a is equally spaced between q and 1."""
    q = expit(epsilons)[:, None]
    a = q + (1 - q) * (np.arange(_BETS) + 0.5) / _BETS
    return np.log(a) - log_expit(epsilons)[:, None], np.log1p(-a) - log_expit(-epsilons)[:, None]


def _log_mean(log_wealths: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the logarithm of the mean wealth over the bets, (n,)."""
    most = log_wealths.max(axis=1)
    return np.asarray(most + np.log(np.exp(log_wealths - most[:, None]).mean(axis=1)), dtype=np.float64)
