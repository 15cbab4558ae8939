"""Privacy auditing in one run (Steinke, Nasr, Jagielski 2023, Theorem 5.2): coins guessed against (epsilon, delta)-DP.

Holds for every (epsilon, delta)-DP mechanism whose canaries are in or out by independent fair coins, if how many are
guessed is fixed before the coins are seen. Nothing is assumed of how canaries interact.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from scipy.special import betainc, expit, gammaln, log_expit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dpaudit.bounds.guesses import Guesses
    from dpaudit.bounds.tradeoff import EpsilonDelta
    from dpaudit.results import GuaranteeKind

__all__ = ["Steinke"]


@dataclass(frozen=True)
class Steinke:
    """The test of Theorem 5.2: right guesses are at most Binomial(guesses, e^eps / (1 + e^eps)), up to delta."""

    method: ClassVar[str] = "one-run"
    guarantee: ClassVar[GuaranteeKind] = "certified"

    def p_value(self, curve: EpsilonDelta, run: Guesses) -> float:
        """Return a bound on the chance of this many right guesses under any mechanism that keeps `curve`.

        beta + 2 m delta alpha, where beta = P[B >= v] and alpha = max over i = 1..v of P[v - i <= B < v] / i for
        B ~ Binomial(r, e^eps / (1 + e^eps)), with m canaries, r guesses and v of them right.

        >>> from dpaudit.bounds.guesses import Guesses
        >>> from dpaudit.bounds.tradeoff import EpsilonDelta
        >>> round(Steinke().p_value(EpsilonDelta(1.0, 1e-3), Guesses(canaries=1000, guesses=100, correct=90)), 7)
        0.0814204
        """
        if run.correct == 0:
            return 1.0
        tail = float(betainc(run.correct, run.guesses - run.correct + 1, expit(curve.epsilon)))
        if curve.delta == 0:
            return tail
        below = _probabilities_below(run, curve.epsilon)
        densest = float(np.max(np.cumsum(below) / np.arange(1, run.correct + 1)))
        return min(1.0, tail + 2 * run.canaries * curve.delta * densest)

    def refutes(self, curve: EpsilonDelta, run: Guesses, level: float) -> bool:
        """Return whether the run refutes `curve` at significance `level`."""
        return self.p_value(curve, run) <= level


def _probabilities_below(run: Guesses, epsilon: float) -> NDArray[np.float64]:
    """Return P[B = v - 1], P[B = v - 2], ..., P[B = 0], (v,)."""
    count = np.arange(run.correct - 1, -1, -1, dtype=np.float64)
    return np.exp(
        _log_ways(run.guesses, run.correct) + count * log_expit(epsilon) + (run.guesses - count) * log_expit(-epsilon)
    )


@lru_cache(maxsize=8)
def _log_ways(guesses: int, correct: int) -> NDArray[np.float64]:
    """Return ln(guesses over count) for count = correct - 1, ..., 0: the same for every epsilon that is tried."""
    count = np.arange(correct - 1, -1, -1, dtype=np.float64)
    ways: NDArray[np.float64] = gammaln(guesses + 1) - gammaln(count + 1) - gammaln(guesses - count + 1)
    ways.setflags(write=False)
    return ways
