"""One run whose canaries do not interact: the errors among the surest guesses (Xiang et al. 2025, arXiv 2509.08704).

ASSUMES that canaries are independent and alike: each coin passes a channel of its own with trade-off curve f. The best
guesser then errs least, and his errors among the r surest of m are known exactly: if W ~ Beta(m - r, r + 1) is the rank
of the surest canary that he leaves out, the r errors are independent with chance `error_above(f, W)` each (r = m: with
the chance of error of the best guess).

Without independence this is no bound: a mechanism that is exactly 1-GDP, and leaks all bits together once in a while,
is accused nearly always when it does (tests/bounds/test_coverage.py). Hence the guarantee `under_independence`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from scipy.special import bdtr, betaincinv

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dpaudit.bounds.guesses import Guesses
    from dpaudit.bounds.tradeoff import TradeOff
    from dpaudit.results import GuaranteeKind

__all__ = ["OrderStatistics", "error_above"]

_NODES = 200


@dataclass(frozen=True)
class OrderStatistics:
    """The test of at most this many errors among the r surest guesses, for any symmetric trade-off curve."""

    method: ClassVar[str] = "order-statistics"
    guarantee: ClassVar[GuaranteeKind] = "under_independence"

    def p_value(self, curve: TradeOff, run: Guesses) -> float:
        """Return the chance of this many right guesses, or more, by the best guesser of independent canaries.

        >>> from dpaudit.bounds.guesses import Guesses
        >>> from dpaudit.bounds.tradeoff import Gaussian
        >>> round(OrderStatistics().p_value(Gaussian(0.7537), Guesses(canaries=1000, guesses=100, correct=90)), 3)
        0.05
        """
        if run.correct == 0:
            return 1.0
        errors = error_above(curve, _ranks(run.canaries, run.guesses))
        return float(np.mean(bdtr(run.guesses - run.correct, run.guesses, errors)))

    def refutes(self, curve: TradeOff, run: Guesses, level: float) -> bool:
        """Return whether the run refutes `curve` at significance `level`."""
        return self.p_value(curve, run) <= level


def error_above(curve: TradeOff, rank: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean error of the best guess among the canaries that are surer than a fraction of all, (n,).

    rank: (n,) the fractions, below 1. At true-positive rate x the best guess of "in" errs on fbar^-1(x) of those out;
    by symmetry so does "out". Together they guess x + fbar^-1(x) of all canaries and err on fbar^-1(x).

    >>> from dpaudit.bounds.tradeoff import EpsilonDelta
    >>> error_above(EpsilonDelta(1.0, 0.0), np.zeros(1)).round(6).tolist()  # 1 / (1 + e)
    [0.268941]
    """
    guessed, low, width = 1 - rank, np.zeros_like(rank), 1.0
    bits = max(1, 8 - (len(rank) - 1).bit_length())  # of x that are found at a time: more where ranks are few
    for _ in range(-(-60 // bits)):
        width /= 2**bits
        x = low[:, None] + width * np.arange(1, 2**bits)
        low += width * (x + curve.inverse_blow_ups(x) <= guessed[:, None]).sum(axis=1)
    return np.maximum(0.0, guessed - low - width) / guessed


@lru_cache(maxsize=64)
def _ranks(canaries: int, guesses: int) -> NDArray[np.float64]:
    """Return the quantiles of W at the middles of equal shares, or the rank 0 when all are guessed."""
    if guesses == canaries:
        return np.zeros(1)
    shares = (np.arange(_NODES) + 0.5) / _NODES
    ranks: NDArray[np.float64] = betaincinv(canaries - guesses, guesses + 1, shares)
    ranks.setflags(write=False)
    return ranks
