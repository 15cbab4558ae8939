"""The bounds that hold if canaries do not interact: on the counter-example they are expected to fail."""

from __future__ import annotations

from dpaudit.bench.contender import (
    CANARIES,
    CONFIDENCE,
    DELTA,
    THRESHOLD,
    Contender,
    by_area,
    by_rates,
    families,
    guessing,
)
from dpaudit.bounds.family import gaussian_family
from dpaudit.bounds.gaussian_moments import gaussian_moments_bound
from dpaudit.bounds.order_statistics import OrderStatistics
from dpaudit.bounds.strategies import FixedGuesses, FixedThreshold, GuessStrategy, Split

__all__ = ["under_independence"]


def under_independence() -> list[Contender]:
    """Return the bounds under independence; those for independent runs are given the canaries of one."""
    rates = by_rates("canaries of one run", "under_independence", {"fixed": FixedThreshold(threshold=THRESHOLD)})
    return [*_by_order(), *rates, *by_area("canaries of one run", "under_independence"), _by_moments()]


def _by_order() -> list[Contender]:
    """Order statistics do best when all are guessed; a part of them takes seconds a bound, so few audits show it."""
    strategies: dict[str, tuple[GuessStrategy, int]] = {
        "fixed, all": (FixedGuesses(guesses_in=CANARIES // 2, guesses_out=CANARIES // 2), 1),
        "split": (Split(), 10),
    }
    return [
        Contender(
            method="order-statistics",
            strategy=name,
            claim="under_independence",
            family=family,
            epsilon=guessing(OrderStatistics(), strategy),
            slow=slow,
        )
        for family in families("order-statistics")
        for name, (strategy, slow) in strategies.items()
    ]


def _by_moments() -> Contender:
    return Contender(
        method="gaussian-moments",
        strategy="no threshold",
        claim="under_independence",
        family=gaussian_family(delta=DELTA),
        epsilon=lambda family, runs: gaussian_moments_bound(family, runs[0], confidence=CONFIDENCE).epsilon,
    )
