"""The best flows of given prices, by a recursion: what a program would find, without one (`certificate`, one group).

Let prices nu_l of rising epsilons eps_l be given, and a reward phi(e) that is 0 beyond the box. What an edge e -> e + 1
can carry is limited by nu_l at each epsilon; carrying x in all costs the node e + 1 least if the smallest epsilons are
filled first. Call that cost h(x): convex, linear in pieces of slope e^(eps_l), for 0 <= x <= sum_l nu_l. Put

    x(e) = (phi(e) - floor + e h(x(e - 1)))_+ / (r - e).

Lemma. Some flows that these prices allow have a cover of at least phi - floor everywhere if and only if x(e) <=
sum_l nu_l for all edges of the box and nothing is left to be carried out of its last node.
Proof. In any such flows let X(e) be what edge e carries in all, and X(-1) = 0. Node e asks for (r - e) X(e) >=
phi(e) - floor + e (cost of X(e - 1)), and that cost is at least h(X(e - 1)). As h rises, X(e) >= x(e) by induction,
so x(e) is allowed where X(e) is; and x itself, smallest epsilons first, is such flows. QED

So the least floor of given prices is found by bisection, for many rewards at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Prices", "carried", "covers", "least_floors"]

_HALVINGS = 13


class Prices:
    """Prices, (rewards, L), of the same rising epsilons, (L,), for `guesses` guesses."""

    def __init__(self, guesses: int, epsilons: NDArray[np.float64], prices: NDArray[np.float64]) -> None:
        self.guesses, self.total = guesses, prices.sum(axis=1)
        self._slopes = np.exp(epsilons)[:, None]
        before = np.cumsum(prices, axis=1).T - prices.T
        paid = prices.T * self._slopes
        self._offsets = np.cumsum(paid, axis=0) - paid - self._slopes * before

    def cost(self, carried: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return h of what is carried, both (rewards,): the largest of its pieces, for it is convex."""
        highest: NDArray[np.float64] = (self._offsets + carried * self._slopes).max(axis=0)
        np.maximum(highest, 0.0, out=highest)
        return highest


def least_floors(rewards: NDArray[np.float64], prices: Prices) -> NDArray[np.float64]:
    """Return floors, (rewards,), that flows of the prices allow, least to a part in thousands, small ones more closely.

    rewards: (rewards, nodes), 0 beyond. No floor is above the largest reward, which asks for no flow.

    >>> prices = Prices(2, np.array([0.0]), np.array([[0.5], [0.0]]))
    >>> least_floors(np.array([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]), prices).round(3).tolist()
    [0.25, 1.0]
    """
    above: NDArray[np.float64] = rewards.max(axis=1)
    below = np.zeros_like(above)
    for step in range(_HALVINGS):
        tried = (np.sqrt(below) + np.sqrt(above)) ** 2 / 4 if step else below
        allowed = carried(rewards, tried, prices)[0]
        above, below = np.where(allowed, tried, above), np.where(allowed, below, tried)
    return above


def covers(rewards: NDArray[np.float64], floors: NDArray[np.float64], prices: Prices) -> NDArray[np.float64]:
    """Return the covers, (rewards, nodes), of the recursion's flows, each edge's cut to what its prices allow."""
    _, edges = carried(rewards, floors, prices)
    cover = np.empty_like(rewards)
    incoming = np.zeros(len(rewards))
    for errors in range(rewards.shape[1]):
        cover[:, errors] = (prices.guesses - errors) * edges[:, errors] - errors * incoming
        incoming = prices.cost(edges[:, errors])
    return cover


def carried(
    rewards: NDArray[np.float64], floors: NDArray[np.float64], prices: Prices
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Return whether floors are allowed, (rewards,), and what edges carry, cut to their prices, (rewards, nodes)."""
    last, by_errors = rewards.shape[1] - 1, np.ascontiguousarray((rewards - floors[:, None]).T)
    allowed, edge = np.ones(len(rewards), dtype=bool), np.zeros(len(rewards))
    edges = np.zeros_like(by_errors)
    for errors in range(last + 1):
        asked = np.maximum(by_errors[errors] + errors * prices.cost(edge), 0.0)
        if errors == last:
            return allowed & (asked <= 0), edges.T
        edge = asked / (prices.guesses - errors)
        allowed &= edge <= prices.total
        edge = np.minimum(edge, prices.total)
        edges[errors] = edge
    return allowed, edges.T
