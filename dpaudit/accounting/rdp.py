"""Epsilon by Rényi differential privacy (dp-accounting), with the order that decided."""

from __future__ import annotations

import logging
import math
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dpaudit.accounting.parts import GaussianPart, Parts
    from dpaudit.mechanism import Adjacency

__all__ = ["ORDERS", "ORDERS_IN_WORDS", "RenyiEpsilon", "renyi_epsilon", "twice_removed_epsilon"]

ORDERS = (*(1 + tenth / 10 for tenth in range(1, 100)), *(float(order) for order in range(11, 64)), 128.0, 256.0, 512.0)
_SMALLEST_DELTA = 1e-290
_LARGEST_EXPONENT = 700.0
ORDERS_IN_WORDS = "orders 1.1 to 10.9 by 0.1, 11 to 63, 128, 256, 512"


@dataclass(frozen=True, kw_only=True)
class RenyiEpsilon:
    """epsilon at delta; order: where the best bound was found; left_out: orders whose series did not converge."""

    epsilon: float
    order: float
    left_out: int


def renyi_epsilon(parts: Parts, adjacency: Adjacency, delta: float) -> RenyiEpsilon:
    """Return the epsilon of parts that are all Poisson sampled, all drawn without replacement, or not sampled at all.

    The order grid is the one of Opacus, and three larger orders. Sampling without replacement is accounted as
    replace-one, also under zero-out, where the null record is one of the possible replacements.
    """
    replaced = adjacency == "replace-one" or any(part.without_replacement for part in parts)
    accountant, left_out = _accounted(parts, 2.0 if replaced else 1.0)
    with _collected_warnings():  # of a divergence rounded below 0, for which 0 is returned
        epsilon, order = accountant.get_epsilon_and_optimal_order(delta)
    return RenyiEpsilon(epsilon=float(epsilon), order=float(order), left_out=left_out)


def twice_removed_epsilon(parts: Parts, delta: float) -> float | None:
    """Return an epsilon under replace-one from the one under add-remove, or None where delta would underflow.

    If removing a record is (e, d)-DP, replacing one is (2 e, (1 + exp(e)) d)-DP (group privacy).
    """
    share = delta / 2
    while share > _SMALLEST_DELTA:
        epsilon = renyi_epsilon(parts, "add-remove", share).epsilon
        if epsilon < _LARGEST_EXPONENT and share * (1 + math.exp(epsilon)) <= delta:
            return 2 * epsilon
        share /= 2
    return None


@lru_cache(maxsize=32)
def _accounted(parts: Parts, sensitivity: float) -> tuple[Any, int]:
    """Return dp-accounting's accountant with all parts composed, and how many orders did not converge.

    sensitivity: in add-remove sensitivities; 2 for replace-one.
    """
    import dp_accounting as dp  # noqa: PLC0415  # takes 1.3 s
    from dp_accounting import rdp  # noqa: PLC0415  # takes 1.3 s

    relations = dp.NeighboringRelation
    relation = relations.REPLACE_ONE if sensitivity == 2 else relations.ADD_OR_REMOVE_ONE
    accountant = rdp.RdpAccountant(ORDERS, relation)
    with _collected_warnings() as messages:
        for part in parts:
            accountant.compose(_event(part, sensitivity), part.count)
    return accountant, len({message.partition("alpha=")[2] for message in messages if "failed to converge" in message})


def _event(part: GaussianPart, sensitivity: float) -> object:
    """Return the event with the noise in units of the sensitivity: the RDP accountant does not double it itself."""
    import dp_accounting as dp  # noqa: PLC0415  # takes 1.3 s

    release = dp.GaussianDpEvent(part.noise_multiplier / sensitivity)
    if part.without_replacement:
        return dp.SampledWithoutReplacementDpEvent(1, part.rate, release)  # it takes the ratio of the two alone
    return release if part.rate == 1 else dp.PoissonSampledDpEvent(part.rate, release)


@contextmanager
def _collected_warnings() -> Iterator[list[str]]:
    """Collect, instead of printing, the warnings of dp-accounting's own logger while it computes."""
    messages: list[str] = []

    def collect(record: logging.LogRecord) -> bool:
        messages.append(record.getMessage())
        return False

    logger = logging.getLogger("absl")
    logger.addFilter(collect)
    try:
        yield messages
    finally:
        logger.removeFilter(collect)
