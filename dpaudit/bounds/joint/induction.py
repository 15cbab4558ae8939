"""Errors of R runs together: what no mechanism can earn, run by run, from the last to the first.

Each run has m canaries and r guesses, and e errors cost a penalty s(e) >= 0, a whole number that was fixed before any
coin was seen. Let V(0, b) = 1 for b >= 0, V(n, b) = 0 for b < 0, and let V(n, b) be any bound on the mean of the reward
e -> V(n - 1, b - s(e)) of one run under all mechanisms that keep the curve.

Theorem. P[penalties of R runs add up to T or less]  <=  V(R, T).
Proof. Write b_k for T less the penalties of the first k runs. Fix what the first k - 1 runs showed, outputs and coins.
The coins of run k are fair and independent of all that, whatever of it the mechanism of run k was made to depend on,
and its output keeps the curve. So the mean of V(R - k, b_k) is at most V(R - k + 1, b_(k-1)). Average, and add up the
runs: the mean of V(0, b_R), which is the chance in question, is at most V(R, T). QED

So later runs may depend on earlier ones. V rises with b, as its rewards do; the events are nested in T, so the search
of a family is allowed (`family`).

Convolution. V(1, t) bounds P[s(e) <= t], given all earlier runs, so s(e) is stochastically at least a draw E* with this
distribution function, and T or less has at most the chance that R independent E* have. Also a bound on the same event:
the smaller one holds.

A bound on a mean is a certificate (`certificate`). Its prices come from linear programs for some states (n, b); for the
states between two, prices like theirs are tried, for given prices need no program (`flows`). Whoever proposed the
prices, the flows are cut to them and added up. A certificate of zero is one too: it says V(n, b) <= V(n - 1, b).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dpaudit.bounds.joint.certificate import Box
from dpaudit.bounds.joint.flows import Prices, covers, least_floors
from dpaudit.bounds.joint.program import certificate_at, epsilon_grid
from dpaudit.bounds.tradeoff import EpsilonDelta

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from dpaudit.bounds.joint.certificate import Certificate
    from dpaudit.bounds.tradeoff import TradeOff

__all__ = ["Penalised", "Step", "of_independent", "penalised_chances", "rising", "steps", "thinning"]

_ROUNDING = 1e-9  # relative, of every run: far above what adding up in float64 can lose
_FIRST_POINTS, _POINTS, _MOST_TERMS = 24, 14, 2_400
_NOTHING, _ALL = 1e-4, 0.999  # chances below and above are not worth a certificate
_SCALES = np.array([0.9, 1.0, 1.1])
#: of (epsilon, delta)-DP one epsilon has a price: of these the best, as parts of 1 / guesses
_SINGLE = np.geomspace(0.03, 100.0, 24)
#: programs of states, and edges x epsilons of all programs, that are solved at one curve: some seconds
_PROGRAMS, _TERMS, _THINNEST, _MOST_EDGES = 350, 700_000, 16, 260
_LOOKS = 3  # programs of each run in which epsilons are chosen
_MANY_RUNS = 16  # with more, what is not a program weighs more, and fewer terms are left


@dataclass(frozen=True)
class Penalised:
    """R runs of m canaries and r guesses; penalties[e], rising, is what e errors cost, more errors cost too much."""

    canaries: int
    guesses: int
    runs: int
    penalties: tuple[int, ...]

    @property
    def nodes(self) -> int:
        """Return how many counts of errors have a penalty."""
        return len(self.penalties)

    def rewards(self, chances: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the rewards e -> V(b - s(e)) of V's values, (most + 1,), for every b: (most + 1, nodes)."""
        left = np.arange(len(chances))[:, None] - np.array(self.penalties)
        return np.where(left >= 0, chances[np.maximum(left, 0)], 0.0)


@dataclass(frozen=True, kw_only=True, eq=False)
class Step:
    """One run's rewards, (states, nodes), certificates of them at prices, (states, L), and V, (states,)."""

    rewards: NDArray[np.float64]
    epsilons: NDArray[np.float64]
    prices: NDArray[np.float64]
    covers: NDArray[np.float64]
    chances: NDArray[np.float64]


def rising(chances: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return bounds of chances that rise: each bounds those before as well."""
    return np.minimum.accumulate(np.minimum(chances, 1.0)[::-1])[::-1]


def of_independent(chances: NDArray[np.float64], runs: int) -> NDArray[np.float64]:
    """Return P[sum of `runs` draws <= t] of a distribution function, both (t = 0, 1, ...).

    >>> of_independent(np.array([0.5, 1.0, 1.0]), 2).round(6).tolist()
    [0.25, 0.75, 1.0]
    """
    law = np.diff(chances, prepend=0.0)
    total = law
    for _ in range(runs - 1):
        total = np.convolve(total, law)[: len(law)]
    return np.minimum(1.0, np.cumsum(total) * (1 + _ROUNDING) + 1e-15)


def thinning(of: Penalised, most: int) -> int | None:
    """Return that every so many-th state is given a program of its own, by sizes alone; None if too few could be.

    >>> thinning(Penalised(1000, 150, 4, tuple(range(40))), 20)
    1
    """
    edges = of.nodes - 1
    states = of.runs * (most + 1)
    terms = _TERMS * min(1, _MANY_RUNS / of.runs) ** 2 - of.runs * _LOOKS * edges * _FIRST_POINTS
    if not 0 < edges <= _MOST_EDGES or terms <= 0:
        return None
    gap = max(1, math.ceil(max(states / _PROGRAMS, states * edges * _points(edges) / terms)))
    return gap if gap <= _THINNEST else None


def _points(edges: int) -> int:
    """Return how many epsilons programs of so many edges have."""
    return min(_POINTS, _MOST_TERMS // max(1, edges))


def penalised_chances(of: Penalised, most: int, curve: TradeOff, gap: int) -> NDArray[np.float64]:
    """Return bounds on P[penalties add up to at most b] for b = 0, ..., `most` under all that keep `curve`.

    gap: one program for every so many-th b whose chance is neither next to nothing nor next to 1.
    """
    first = chances = np.ones(most + 1)
    for number, step in enumerate(steps(of, most, curve, gap)):
        chances = step.chances
        first = first if number else chances
    return np.minimum(chances, of_independent(first, of.runs))


def steps(of: Penalised, most: int, curve: TradeOff, gap: int) -> Iterator[Step]:
    """Yield what is certified of 1, 2, ..., R runs: V(1, .), V(2, .), ..."""
    chances = np.ones(most + 1)
    for _ in range(of.runs):
        run = _Run(of, curve, of.rewards(chances))
        paid = run.prices(int((chances < _NOTHING).sum()), gap)
        rows = Prices(of.guesses, run.epsilons, paid)
        cover = covers(run.rewards, least_floors(run.rewards, rows), rows)
        floors = np.maximum((run.rewards - cover).max(axis=1), 0.0)
        chances = rising((floors + paid @ run.deltas) * (1 + _ROUNDING))
        yield Step(rewards=run.rewards, epsilons=run.epsilons, prices=paid, covers=cover, chances=chances)


class _Run:
    """The search for prices of one run's rewards, (states, nodes), at one curve; deltas: m times the curve's."""

    def __init__(self, of: Penalised, curve: TradeOff, rewards: NDArray[np.float64]) -> None:
        self.rewards = rewards
        self._of, self._curve = of, curve
        self._at(epsilon_grid(curve, of.canaries, _FIRST_POINTS))

    def _at(self, epsilons: NDArray[np.float64]) -> None:
        self.epsilons = epsilons
        self.deltas = self._of.canaries * np.array([self._curve.delta_at(epsilon) for epsilon in epsilons.tolist()])

    def prices(self, first: int, gap: int) -> NDArray[np.float64]:
        """Return prices for all states, (states, L), 0 below the `first` and where the chance is next to 1."""
        if isinstance(self._curve, EpsilonDelta):
            return self._of_one_epsilon(first)
        self._look_closer(first)
        solved = self._solved(first, gap)
        found = np.zeros((len(self.rewards), len(self.epsilons)))
        found[list(solved)] = list(solved.values())
        known = np.array(list(solved))
        states = np.setdiff1d(np.arange(first, known[-1]), known)
        if len(states):
            found[states] = self._best(states, _between(states, known, found))
        return found

    def _of_one_epsilon(self, first: int) -> NDArray[np.float64]:
        self._at(self.epsilons[-1:])
        states = np.arange(first, len(self.rewards))
        found = np.zeros((len(self.rewards), 1))
        if len(states):
            found[states] = self._best(states, [np.full((len(states), 1), part / self._of.guesses) for part in _SINGLE])
        return found

    def _look_closer(self, first: int) -> None:
        """Choose epsilons between the neighbours of those that have a price, in a few of the programs."""
        last, most = len(self.epsilons) - 1, len(self.rewards) - 1
        paid = np.zeros(last + 1)
        for state in sorted({min(most, first), min(most, (first + most) // 2), most}):
            paid += self._program(state)[0].prices
        priced = np.flatnonzero(paid > 0)
        if len(priced) and priced[0] < last:
            low, high = max(0, priced[0] - 1), min(last, priced[-1] + 1)
            self._at(np.linspace(self.epsilons[low], self.epsilons[high], _points(self._of.nodes - 1)))

    def _solved(self, first: int, gap: int) -> dict[int, NDArray[np.float64]]:
        """Return the prices of a program for every so many-th state, up to the first whose chance is next to 1."""
        found: dict[int, NDArray[np.float64]] = {}
        last, state = len(self.rewards) - 1, min(first, len(self.rewards) - 1)
        while True:
            certificate, chance = self._program(state)
            found[state] = certificate.prices
            if state == last or chance > _ALL:
                return found
            state = min(last, state + gap)

    def _program(self, state: int) -> tuple[Certificate, float]:
        """Return the certificate of a state's program, and the chance that it says."""
        reward = self.rewards[state]
        rewarded = int(np.count_nonzero(reward)) - 1
        nodes = min(self._of.nodes, rewarded + 17 + round(4 * math.sqrt(max(0, rewarded))))
        box = Box(canaries=self._of.canaries, sizes=(self._of.guesses,), last=(nodes - 1,))
        certificate = certificate_at(box, reward[:nodes], self._curve, self.epsilons)
        return certificate, certificate.most(reward[:nodes], self._curve)

    def _best(self, states: NDArray[np.int64], tried: list[NDArray[np.float64]]) -> NDArray[np.float64]:
        """Return the prices that bound each state's reward best, (states, L), of those tried, each of this shape."""
        prices = np.concatenate(tried)
        rewards = np.tile(self.rewards[states], (len(tried), 1))
        floors = least_floors(rewards, Prices(self._of.guesses, self.epsilons, prices))
        bounds = (floors + prices @ self.deltas).reshape(len(tried), -1)
        best: NDArray[np.float64] = prices.reshape(len(tried), len(states), -1)[
            bounds.argmin(axis=0), np.arange(len(states))
        ]
        return best


def _between(
    states: NDArray[np.int64], known: NDArray[np.int64], prices: NDArray[np.float64]
) -> list[NDArray[np.float64]]:
    """Return what to try for states between known ones, each (states, L): the neighbours' prices, mixed and scaled."""
    right = np.searchsorted(known, states)
    low, high = known[right - 1], known[right]
    part = ((states - low) / (high - low))[:, None]
    totals = [np.maximum(prices[at].sum(axis=1, keepdims=True), 1e-300) for at in (low, high)]
    total = totals[0] ** (1 - part) * totals[1] ** part
    shapes = [prices[low] / totals[0], prices[high] / totals[1]]
    mixed = (1 - part) * shapes[0] + part * shapes[1]
    linear = (1 - part) * prices[low] + part * prices[high]
    tried = [total * shapes[0], total * shapes[1], total * mixed, linear]
    return [float(scale) * one for one in tried for scale in _SCALES]
