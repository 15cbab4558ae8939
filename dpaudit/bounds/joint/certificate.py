"""What no mechanism that keeps a curve can earn: a certificate that is checked by adding up, whoever found it.

From its output alone the attacker puts r_j canaries into group j (unguessed ones into none) and guesses their coins;
e_j of group j are wrong. Write e for the vector of errors, 1_j for a unit vector, d(eps) for the curve's `delta_at`.

Leave one out. Let h_i be a number in [0, 1] made of the output and of all coins but the i-th. Fix the coins. Then "h_i,
if the guess of canary i is right" is a test of the output, so flipping coin i changes its mean by a factor e^eps and
d(eps) at most. Coins are fair and independent, so averaged over them, flipping changes nothing but right into wrong:

    E[ h_i (1{i is right} - e^eps 1{i is wrong}) ]  <=  d(eps).

Add this up over the canaries with h_i = u(j, errors of the others) for the members of group j. At errors e, group j has
r_j - e_j right members, each of which sees e in the others, and e_j wrong ones, each of which sees e - 1_j:

    E sum_j [ (r_j - e_j) u(j, e) - e^eps e_j u(j, e - 1_j) ]  <=  m d(eps)       for any u with values in [0, 1].

So for prices nu_l >= 0 and flows U_l between 0 and nu_l, at any epsilons, the cover

    C(e) = sum over l and j of (r_j - e_j) U_l(j, e) - e^(eps_l) e_j U_l(j, e - 1_j)

has a mean of at most m sum_l nu_l d(eps_l), and a reward that is at most `floor` + C(e) one of at most

    floor + m sum_l nu_l d(eps_l).

That is the whole test: one certificate bounds the reward under every curve. U is 0 on the edges e -> e + 1_j that leave
a finite box, which is one of the flows allowed; outside the box C is 0, and so must the reward be.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from dpaudit.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dpaudit.bounds.tradeoff import TradeOff

__all__ = ["Box", "Certificate", "certify"]

_ROUNDING = 1e-9  # relative: far above what adding up in float64 can lose


@dataclass(frozen=True, kw_only=True)
class Box:
    """The vectors of errors that are looked at: of `canaries`, sizes[j] are guessed in group j; 0 <= e_j <= last[j]."""

    canaries: int
    sizes: tuple[int, ...]
    last: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.sizes) != len(self.last) or not self.sizes or min(self.sizes) < 1:
            raise InputError("sizes, last", (self.sizes, self.last), "one size and one last count per group")
        if sum(self.sizes) > self.canaries:
            raise InputError("sizes", self.sizes, f"numbers that add up to at most the {self.canaries} canaries")
        if not all(0 <= last <= size for last, size in zip(self.last, self.sizes, strict=True)):
            raise InputError("last", self.last, f"numbers from 0 to the sizes {self.sizes}")

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the number of counts of each group."""
        return tuple(last + 1 for last in self.last)

    @cached_property
    def errors(self) -> NDArray[np.int64]:
        """Return the vectors of errors, (groups, nodes), in the order of a raveled array of `shape`."""
        return np.indices(self.shape).reshape(len(self.sizes), -1)

    @cached_property
    def edges(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Return source, target, right members at the source, wrong ones at the target, each (edges,), group by group.

        An edge leads from errors e to e + 1_j; those that leave the box are left out.
        """
        parts = []
        for group, (size, last) in enumerate(zip(self.sizes, self.last, strict=True)):
            wrong = self.errors[group]
            source = np.flatnonzero(wrong < last)
            step = math.prod(self.shape[group + 1 :])
            parts.append(np.stack([source, source + step, size - wrong[source], wrong[source] + 1]))
        source, target, right, wrong = np.concatenate(parts, axis=1)
        return source, target, right, wrong


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """Prices of epsilons, both (L,), and the cover that they pay for, of the box's shape."""

    canaries: int
    epsilons: NDArray[np.float64]
    prices: NDArray[np.float64]
    cover: NDArray[np.float64]

    def price(self, curve: TradeOff) -> float:
        """Return what the cover can be on average under any mechanism that keeps `curve`."""
        paid = self.prices > 0
        deltas = [curve.delta_at(epsilon) for epsilon in self.epsilons[paid].tolist()]
        return self.canaries * math.fsum((self.prices[paid] * np.array(deltas)).tolist())

    def most(self, reward: NDArray[np.float64], curve: TradeOff) -> float:
        """Return a bound on the mean of `reward`, of the box's shape, under any mechanism that keeps `curve`.

        The reward is 0 outside the box, and nowhere above 1.
        """
        floor = max(0.0, float(np.max(reward - self.cover)))
        return min(1.0, (floor + self.price(curve)) * (1 + _ROUNDING))


def certify(
    box: Box, epsilons: NDArray[np.float64], prices: NDArray[np.float64], flows: NDArray[np.float64]
) -> Certificate:
    """Return the certificate of prices, (L,), and flows, (L, edges), first made allowed: 0 <= flow <= price.

    >>> box = Box(canaries=2, sizes=(2,), last=(2,))
    >>> certificate = certify(box, np.array([0.0]), np.array([1.0]), np.array([[0.5, 0.25]]))
    >>> certificate.cover.tolist()
    [1.0, -0.25, -0.5]
    """
    prices = np.where(np.isfinite(prices), np.maximum(prices, 0.0), 0.0)
    flows = np.clip(np.where(np.isfinite(flows), flows, 0.0), 0.0, prices[:, None])
    source, target, right, wrong = box.edges
    cover = np.zeros(math.prod(box.shape))
    np.add.at(cover, source, right * flows.sum(axis=0))
    np.subtract.at(cover, target, wrong * (np.exp(epsilons) @ flows))
    return Certificate(canaries=box.canaries, epsilons=epsilons, prices=prices, cover=cover.reshape(box.shape))
