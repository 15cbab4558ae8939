"""f-DP in one run (Mahloujifar, Melis, Chaudhuri 2025, Theorem 10): guesses of fair coins against any trade-off curve.

Write p_k for the chance of exactly k right guesses out of r, with m canaries. Fix i and let A be "at least i right
guesses among the other canaries". Flipping one coin turns a right guess into a wrong one and leaves A alone, so f-DP
bounds the chance of (wrong, A) below by fbar^-1 of the chance of (right, A). Averaged over the m canaries, with
Jensen (fbar^-1 is convex):

    sum_{k >= i} (r - k) p_k / m  >=  fbar^-1( sum_{k >= i + 1} k p_k / m )        for every i.

If P[at least v right] = tau, the least total mass that obeys this for i < v puts tau on v and then, for i = v - 1,
..., 0, just what is demanded on i: mass further down costs least and raises the right side least. When that least
mass is above 1, tau is impossible. Least mass / tau does not fall as tau grows (fbar^-1 is convex and 0 at 0), so
every larger tau is impossible too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from dpaudit.bounds.significance import smallest_level

if TYPE_CHECKING:
    from dpaudit.bounds.guesses import Guesses
    from dpaudit.bounds.tradeoff import TradeOff
    from dpaudit.results import GuaranteeKind

__all__ = ["FdpRecursion"]


@dataclass(frozen=True)
class FdpRecursion:
    """The test of Theorem 10, for any symmetric trade-off curve."""

    method: ClassVar[str] = "one-run-fdp"
    guarantee: ClassVar[GuaranteeKind] = "certified"

    def p_value(self, curve: TradeOff, run: Guesses) -> float:
        """Return a bound on the chance of this many right guesses under any mechanism that keeps `curve`.

        The smallest level at which the curve is refuted.

        >>> from dpaudit.bounds.guesses import Guesses
        >>> from dpaudit.bounds.tradeoff import Gaussian
        >>> round(FdpRecursion().p_value(Gaussian(0.1638), Guesses(canaries=1000, guesses=1000, correct=600)), 3)
        0.05
        """
        return smallest_level(lambda level: self.refutes(curve, run, level))

    def refutes(self, curve: TradeOff, run: Guesses, level: float) -> bool:
        """Return whether this many right guesses have a chance of at most `level` under all that keep `curve`.

        The recursion stops where nothing more is demanded; stopping early can only keep the curve.
        """
        guesses, correct, total = run.guesses, run.correct, run.guesses / run.canaries
        inverse_blow_up = curve.inverse_blow_up
        right = level * correct / run.canaries
        wrong = level * (guesses - correct) / run.canaries
        for count in range(correct - 1, -1, -1):
            demanded = inverse_blow_up(right)
            if demanded <= wrong:
                return False
            right += count / (guesses - count) * (demanded - wrong)
            wrong = demanded
            if right + wrong > total:
                return True
        return False
