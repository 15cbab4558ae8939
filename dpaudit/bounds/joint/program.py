"""Which certificate: the dual of a linear program over all laws of the errors, found by HiGHS and never trusted.

Primal: the law p >= 0 of the errors in a box, at most 1 in sum, that earns most while, at each epsilon of a grid,

    sum over edges e -> e + 1_j of ( (r_j - e_j) p(e) - e^eps (e_j + 1) p(e + 1_j) )_+  <=  m d(eps).

Its multipliers are prices and flows (`certificate`), which are made allowed and added up again. So a solver that errs,
a box that is too small or a grid that is too coarse makes a bound weaker, never wrong.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from dpaudit.bounds.joint.certificate import Box, Certificate, certify

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dpaudit.bounds.tradeoff import TradeOff

__all__ = [
    "MOST_TERMS",
    "best_certificate",
    "box_around",
    "certificate_at",
    "epsilon_grid",
    "is_solved",
    "smallest_delta",
    "where_delta_is",
]

#: edges x epsilons of a program that is solved; one of so many takes a second or two
MOST_TERMS = 3_000
_FIRST_POINTS, _POINTS = 6, 16
_SMALLEST = 1e-3  # the grid ends where m delta is this, or delta falls no more
_FIRST_SHARE = 0.3  # of the last epsilon, where the first grid begins: prices below are nearly always 0
_FAR = 650.0  # the last epsilon that is looked at


def box_around(canaries: int, sizes: tuple[int, ...], errors: tuple[int, ...]) -> Box:
    """Return the box that holds `errors` with a margin: the worst law lives on its outer counts as well.

    >>> box_around(1000, (150,), (3,)).last
    (26,)
    """
    last = (min(size, wrong + 16 + round(4 * math.sqrt(wrong))) for size, wrong in zip(sizes, errors, strict=True))
    return Box(canaries=canaries, sizes=sizes, last=tuple(last))


def best_certificate(
    box: Box, reward: NDArray[np.float64], curve: TradeOff, *, terms: int = MOST_TERMS
) -> Certificate | None:
    """Return the certificate that bounds `reward`, of the box's shape, best under `curve`; None above so many terms.

    Solved on a first grid of epsilons, and again on one around those that had a price.
    """
    edges = len(box.edges[0])
    if not is_solved(box, terms):
        return None
    found = certificate_at(box, reward, curve, epsilon_grid(curve, box.canaries, _FIRST_POINTS))
    second = _around_prices(found, min(_POINTS, terms // max(1, edges)))
    if second is None:
        return found
    refined = certificate_at(box, reward, curve, second)
    return min((found, refined), key=lambda certificate: certificate.most(reward, curve))


def is_solved(box: Box, terms: int = MOST_TERMS) -> bool:
    """Return whether the program of a box is small enough to be solved."""
    return _FIRST_POINTS * len(box.edges[0]) <= terms


def epsilon_grid(curve: TradeOff, canaries: int, points: int) -> NDArray[np.float64]:
    """Return epsilons, at most `points` that rise to where `canaries` x delta is a thousandth or falls no more.

    >>> from dpaudit.bounds.tradeoff import EpsilonDelta
    >>> epsilon_grid(EpsilonDelta(2.0, 1e-5), 1000, 3).round(2).tolist()
    [0.6, 1.3, 2.0]
    """
    enough = max(_SMALLEST / canaries, smallest_delta(curve))
    reached = where_delta_is(curve, enough)
    if reached == 0:
        return np.zeros(1)
    return np.linspace(_FIRST_SHARE * reached, reached, points)


def smallest_delta(curve: TradeOff) -> float:
    """Return what the curve's delta falls to, rounded up."""
    return curve.delta_at(_FAR) * (1 + 1e-9)


def where_delta_is(curve: TradeOff, enough: float) -> float:
    """Return the least epsilon, to nine digits, at which the curve's delta is at most `enough`, which it must reach.

    >>> from dpaudit.bounds.tradeoff import Gaussian
    >>> round(where_delta_is(Gaussian(1.0), 1e-5), 3)
    4.377
    """
    above, reached = 0.0, 1.0
    if curve.delta_at(above) <= enough:
        return above
    while curve.delta_at(reached) > enough:
        above, reached = reached, min(_FAR, 2 * reached)
    while reached - above > 1e-9 * reached:
        middle = (above + reached) / 2
        above, reached = (middle, reached) if curve.delta_at(middle) > enough else (above, middle)
    return reached


def _around_prices(certificate: Certificate, points: int) -> NDArray[np.float64] | None:
    """Return as many epsilons between the neighbours of those that have a price.

    None where that changes nothing: no price, or only the last epsilon has one, as under (epsilon, delta)-DP.
    """
    epsilons, priced = certificate.epsilons, np.flatnonzero(certificate.prices > 0)
    if len(priced) == 0 or priced[0] == len(epsilons) - 1:
        return None
    low, high = max(0, priced[0] - 1), min(len(epsilons) - 1, priced[-1] + 1)
    return np.linspace(epsilons[low], epsilons[high], points)


def certificate_at(
    box: Box, reward: NDArray[np.float64], curve: TradeOff, epsilons: NDArray[np.float64]
) -> Certificate:
    """Return the certificate of the program's multipliers at these epsilons, (L,); a reward of the box's shape.

    Variables: p, (nodes,), then the positive part of every edge at every epsilon over m, (L x edges,).
    """
    from scipy.optimize import linprog  # noqa: PLC0415 (slow to import; only joint bounds need it)
    from scipy.sparse import csr_array  # noqa: PLC0415

    source, target, right, wrong = box.edges
    levels, edges, nodes, m = len(epsilons), len(source), math.prod(box.shape), box.canaries
    term = np.arange(levels * edges)
    level, edge = np.divmod(term, edges)
    ones = np.ones(len(term))
    rows = [term, term, term, len(term) + level, np.full(nodes, len(term) + levels)]
    columns = [source[edge], target[edge], nodes + term, nodes + term, np.arange(nodes)]
    values = [right[edge] / m, -np.exp(epsilons)[level] * wrong[edge] / m, -ones, ones, np.ones(nodes)]
    matrix: Any = csr_array(
        (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))),
        shape=(len(term) + levels + 1, nodes + len(term)),
    )
    deltas = [curve.delta_at(epsilon) for epsilon in epsilons.tolist()]
    found = linprog(
        np.concatenate([-reward.ravel(), np.zeros(len(term))]),
        A_ub=matrix,
        b_ub=np.concatenate([np.zeros(len(term)), deltas, [1.0]]),
        bounds=(0, None),
        method="highs-ds",
    )
    multipliers = np.zeros(len(term) + levels)
    if found.ineqlin.marginals is not None and len(found.ineqlin.marginals) > len(multipliers):
        multipliers = -np.asarray(found.ineqlin.marginals)[: len(multipliers)] / m
    return certify(box, epsilons, multipliers[len(term) :], multipliers[: len(term)].reshape(levels, edges))
