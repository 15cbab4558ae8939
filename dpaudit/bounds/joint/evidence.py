"""E-values of a run's errors: how much it speaks against a curve (docs/statistics/joint-bound.md).

With a certificate's cover C and a floor that keeps floor + C(e) at or above 0,

    E(e) = (floor + C(e)) / (floor + price of the curve)

has a mean of at most 1 under every mechanism that keeps the curve: an e-value. The product over runs, each with fresh
fair coins (the runs may depend on earlier ones), is a supermartingale, so it ever reaches 1 / alpha with chance at most
alpha (Ville 1939). Of all covers the one is taken under which log E is largest on average if errors follow the law that
the plan expects: a concave program, solved as a linear one with tangents of the logarithm. Whatever is found is an
e-value; only how strong it is rests on the solver and on the expected law.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import gammaln

from dpaudit.bounds.joint.certificate import Box, Certificate, certify
from dpaudit.bounds.joint.program import epsilon_grid, is_solved

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dpaudit.bounds.tradeoff import TradeOff

__all__ = ["Evidence", "best_evidence", "evidence_box", "expected_errors"]

_ROUNDING = 1e-9
_POINTS = 12
_TANGENTS = np.geomspace(1e-3, 3e4, 84)
#: no E is larger: against a curve that is far off, what one run cannot spend on likely errors goes to less likely ones
_LARGEST = 1e4
_LIKELY = 1e-7  # errors less likely than this under the expected law are kept at 0 or above, nothing more


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """An e-value for every curve: a certificate and its floor, at least 0, and at least minus the least of the cover.

    growth: the mean of log E at the curve and under the law that it was made for.
    """

    certificate: Certificate
    floor: float
    growth: float

    def value(self, errors: int, curve: TradeOff) -> float:
        """Return the e-value of so many errors against `curve`; beyond the box the cover is 0, and less is allowed."""
        cover = self.certificate.cover
        earned = self.floor + float(cover[errors] if errors < len(cover) else min(0.0, cover[-1]))
        total = (self.floor + self.certificate.price(curve)) * (1 + _ROUNDING)
        return max(0.0, earned) / total if total > 0 else 1.0


def expected_errors(guesses: int, error_rate: float, most: int) -> NDArray[np.float64]:
    """Return P[0], ..., P[most] of Binomial(guesses, error_rate), (most + 1,).

    >>> expected_errors(2, 0.5, 2).round(2).tolist()
    [0.25, 0.5, 0.25]
    """
    count = np.arange(most + 1, dtype=np.float64)
    ways = gammaln(guesses + 1) - gammaln(count + 1) - gammaln(guesses - count + 1)
    rate = min(max(error_rate, 1e-9), 1 - 1e-9)
    law: NDArray[np.float64] = np.exp(ways + count * math.log(rate) + (guesses - count) * math.log1p(-rate))
    return law


def best_evidence(canaries: int, guesses: int, error_rate: float, curve: TradeOff) -> Evidence | None:
    """Return the e-value against `curve` that grows fastest if each guess is wrong with chance `error_rate`.

    None where its program would be too large.
    """
    box = evidence_box(canaries, guesses, error_rate)
    if not is_solved(box) or box.last == (0,):
        return None
    law = expected_errors(guesses, error_rate, box.last[0])
    return _solved(box, law, curve, epsilon_grid(curve, canaries, _POINTS))


def evidence_box(canaries: int, guesses: int, error_rate: float) -> Box:
    """Return the box of the e-value's program: the errors that are likely, with a margin.

    >>> evidence_box(1000, 272, 0.04).last
    (47,)
    """
    mean = guesses * error_rate
    most = min(guesses, math.ceil(mean + 6 * math.sqrt(mean)) + 16)
    return Box(canaries=canaries, sizes=(guesses,), last=(most,))


def _solved(box: Box, law: NDArray[np.float64], curve: TradeOff, epsilons: NDArray[np.float64]) -> Evidence:
    """Return the evidence that the program's solution stands for.

    Variables: floor; prices, (L,); flows, (L x edges,); E, (nodes,); log E of the likely nodes, (likely,).
    """
    from scipy.optimize import linprog  # noqa: PLC0415 (slow to import; only joint bounds need it)

    likely = np.flatnonzero(law > _LIKELY)
    program = _Program(box, epsilons, likely)
    deltas = np.array([curve.delta_at(epsilon) for epsilon in epsilons.tolist()])
    objective = np.zeros(program.width)
    objective[program.logs] = -law[likely]
    equal, equal_to = program.equalities(deltas)
    below, below_is = program.inequalities()
    bounds: list[tuple[float | None, float | None]] = [(0, None)] * program.values.start
    bounds += [(0, _LARGEST)] * math.prod(box.shape) + [(None, None)] * len(likely)
    found = linprog(objective, A_ub=below, b_ub=below_is, A_eq=equal, b_eq=equal_to, bounds=bounds, method="highs-ds")
    solution = np.zeros(program.width) if found.x is None else np.asarray(found.x, dtype=np.float64)
    flows = solution[program.flows].reshape(len(epsilons), -1)
    certificate = certify(box, epsilons, solution[program.prices], flows)
    floor = max(float(solution[0]), 0.0, -float(certificate.cover.min()))
    return Evidence(certificate=certificate, floor=floor, growth=-float(objective @ solution))


class _Program:
    """The columns of the program and its rows as sparse matrices."""

    def __init__(self, box: Box, epsilons: NDArray[np.float64], likely: NDArray[np.intp]) -> None:
        self._box, self._epsilons, self._likely = box, epsilons, likely
        levels, edges, nodes = len(epsilons), len(box.edges[0]), math.prod(box.shape)
        self.prices = slice(1, 1 + levels)
        self.flows = slice(self.prices.stop, self.prices.stop + levels * edges)
        self.values = slice(self.flows.stop, self.flows.stop + nodes)
        self.logs = slice(self.values.stop, self.values.stop + len(likely))
        self.width = self.logs.stop

    def equalities(self, deltas: NDArray[np.float64]) -> tuple[Any, NDArray[np.float64]]:
        """Return E = floor + cover at every node, and floor + price = 1."""
        from scipy.sparse import csr_array  # noqa: PLC0415

        source, target, right, wrong = self._box.edges
        levels, edges, nodes = len(self._epsilons), len(source), self.values.stop - self.values.start
        flow, level = self.flows.start + np.arange(levels * edges), np.repeat(np.arange(levels), edges)
        node = np.arange(nodes)
        rows = [np.tile(source, levels), np.tile(target, levels), node, node, np.full(levels + 1, nodes)]
        columns = [flow, flow, np.zeros(nodes, np.int64), self.values.start + node, np.arange(levels + 1)]
        values = [
            np.tile(right, levels) / self._box.canaries,
            -np.exp(self._epsilons)[level] * np.tile(wrong, levels) / self._box.canaries,
            np.ones(nodes),
            -np.ones(nodes),
            np.append(1.0, deltas),
        ]
        matrix = csr_array(
            (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), shape=(nodes + 1, self.width)
        )
        return matrix, np.append(np.zeros(nodes), 1.0)

    def inequalities(self) -> tuple[Any, NDArray[np.float64]]:
        """Return flow <= price, log E below its tangents, log x + (E - x) / x, and E that falls with the errors."""
        from scipy.sparse import csr_array  # noqa: PLC0415

        count = self.flows.stop - self.flows.start
        edges = len(self._box.edges[0])
        tangents, likely = len(_TANGENTS), len(self._likely)
        flow = np.arange(count)
        tangent = count + np.arange(tangents * likely)
        of_node, at = np.tile(np.arange(likely), tangents), np.repeat(_TANGENTS, likely)
        node = np.arange(self.values.start, self.values.stop - 1)
        fall = count + len(tangent) + np.arange(len(node))
        rows = [flow, flow, tangent, tangent, fall, fall]
        columns = [self.flows.start + flow, self.prices.start + flow // edges]
        columns += [self.logs.start + of_node, self.values.start + self._likely[of_node]]
        columns += [node + 1, node]
        values = [
            np.ones(count),
            -np.ones(count),
            np.ones(len(tangent)),
            -1 / at,
            np.ones(len(node)),
            -np.ones(len(node)),
        ]
        matrix = csr_array(
            (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))),
            shape=(count + len(tangent) + len(node), self.width),
        )
        return matrix, np.concatenate([np.zeros(count), np.log(at) - 1, np.zeros(len(node))])
