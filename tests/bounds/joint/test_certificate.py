"""Certificates: never beaten by any mechanism there is, exact in rational arithmetic, and faults in them are caught."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy.optimize import linprog
from scipy.sparse import csr_array

from dpaudit.bounds.guesses import Guesses
from dpaudit.bounds.joint.certificate import Box, Certificate, certify
from dpaudit.bounds.joint.groups import RankGroups, region_of
from dpaudit.bounds.joint.program import best_certificate, box_around, epsilon_grid
from dpaudit.bounds.tradeoff import EpsilonDelta, Gaussian, TradeOff
from dpaudit.errors import InputError
from dpaudit.results import Surest

if TYPE_CHECKING:
    from numpy.typing import NDArray


def every_output(canaries: int, sizes: tuple[int, ...]) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Return (group of each canary or -1, guess of each canary) of every output an attacker can give."""
    labels = [label for label, size in enumerate(sizes) for _ in range(size)]
    labels += [-1] * (canaries - len(labels))
    outputs = []
    for groups in sorted(set(itertools.permutations(labels))):
        guessed = [i for i, group in enumerate(groups) if group >= 0]
        for bits in itertools.product((0, 1), repeat=len(guessed)):
            guesses = [-1] * canaries
            for i, bit in zip(guessed, bits, strict=True):
                guesses[i] = bit
            outputs.append((groups, tuple(guesses)))
    return outputs


def most_of_all_mechanisms(
    curve: TradeOff, box: Box, reward: NDArray[np.float64], epsilons: NDArray[np.float64]
) -> float:
    """Return the largest mean reward of any map from coins to outputs that keeps the curve's profile at `epsilons`.

    Both directions of every pair of neighbours, at every epsilon. All that keep the curve are among these maps, and a
    certificate with prices at these epsilons alone must hold for them all.
    """
    m = box.canaries
    coins, outputs = list(itertools.product((0, 1), repeat=m)), every_output(m, box.sizes)
    index = {s: i for i, s in enumerate(coins)}
    chance = len(coins) * len(outputs)
    neighbours = [(i, index[(*s[:c], 1 - s[c], *s[c + 1 :])]) for i, s in enumerate(coins) for c in range(m)]
    tests = [(pair, epsilon) for pair in neighbours for epsilon in epsilons.tolist()]
    rows, columns, values, limits = [], [], [], []
    for number, ((one, other), epsilon) in enumerate(tests):
        here = number * len(outputs) + np.arange(len(outputs))
        rows += [here, here, here]
        columns += [one * len(outputs) + np.arange(len(outputs)), other * len(outputs) + np.arange(len(outputs))]
        columns += [chance + here]
        values += [np.ones(len(outputs)), np.full(len(outputs), -math.exp(epsilon)), -np.ones(len(outputs))]
        limits.append(curve.delta_at(epsilon))
    slack = len(tests) * len(outputs)
    rows += [slack + np.repeat(np.arange(len(tests)), len(outputs))]
    columns += [chance + np.arange(slack)]
    values += [np.ones(slack)]
    matrix: Any = csr_array(
        (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))),
        shape=(slack + len(tests), chance + slack),
    )
    ones = (np.ones(chance), (np.repeat(np.arange(len(coins)), len(outputs)), np.arange(chance)))
    total: Any = csr_array(ones, shape=(len(coins), chance + slack))
    objective = np.zeros(chance + slack)
    for i, s in enumerate(coins):
        for j, (groups, guesses) in enumerate(outputs):
            errors = [0] * len(box.sizes)
            for group, guess, coin in zip(groups, guesses, s, strict=True):
                if group >= 0 and guess != coin:
                    errors[group] += 1
            objective[i * len(outputs) + j] = -reward[tuple(errors)] / len(coins)
    found = linprog(
        objective,
        A_ub=matrix,
        b_ub=np.concatenate([np.zeros(slack), limits]),
        A_eq=total,
        b_eq=np.ones(len(coins)),
        method="highs",
    )
    assert found.fun is not None
    return -float(found.fun)


def whole_box(canaries: int, *sizes: int) -> Box:
    return Box(canaries=canaries, sizes=sizes, last=sizes)


def weighted(box: Box, weights: tuple[int, ...], most: int) -> NDArray[np.float64]:
    return (np.array(weights) @ box.errors <= most).astype(float).reshape(box.shape)


def certified(box: Box, reward: NDArray[np.float64], curve: TradeOff) -> Certificate:
    found = best_certificate(box, reward, curve)
    assert found is not None
    return found


CURVES = [Gaussian(0.3), Gaussian(1.0), Gaussian(2.0), EpsilonDelta(0.7, 0.0), EpsilonDelta(1.0, 0.02)]
CASES = [
    (whole_box(2, 2), (1,), 0),
    (whole_box(2, 1, 1), (2, 1), 1),
    (whole_box(3, 2), (1,), 0),
    (whole_box(3, 3), (1,), 1),
    (whole_box(3, 1, 2), (2, 1), 2),
    (whole_box(3, 1, 1), (3, 1), 1),
]


@pytest.mark.parametrize("curve", CURVES, ids=repr)
@pytest.mark.parametrize(("box", "weights", "most"), CASES, ids=lambda value: str(getattr(value, "sizes", value)))
def test_no_mechanism_earns_more(box: Box, weights: tuple[int, ...], most: int, curve: TradeOff) -> None:
    reward = weighted(box, weights, most)
    found = certified(box, reward, curve)
    truth = most_of_all_mechanisms(curve, box, reward, found.epsilons[found.prices > 0])
    assert truth <= found.most(reward, curve) + 1e-7
    assert found.most(reward, curve) == pytest.approx(truth, abs=1e-6), "and some mechanism earns as much"


@pytest.mark.parametrize("curve", [Gaussian(1.0), EpsilonDelta(0.8, 0.01)], ids=repr)
def test_no_mechanism_earns_more_of_rewards_that_do_not_fall(curve: TradeOff) -> None:
    rng = np.random.default_rng(0)
    for _ in range(4):
        box = whole_box(3, 1, 2)
        reward = rng.random(box.shape)
        found = certified(box, reward, curve)
        truth = most_of_all_mechanisms(curve, box, reward, found.epsilons[found.prices > 0])
        assert truth <= found.most(reward, curve) + 1e-7


@pytest.mark.slow
@pytest.mark.parametrize("curve", [Gaussian(1.0), EpsilonDelta(0.8, 0.01)], ids=repr)
@pytest.mark.parametrize(
    ("box", "weights", "most"),
    [
        (whole_box(4, 4), (1,), 1),
        (whole_box(4, 2, 2), (2, 1), 1),
        (whole_box(4, 1, 1, 2), (3, 2, 1), 2),
        (whole_box(4, 1, 1, 1), (3, 2, 1), 2),
    ],
    ids=lambda value: str(getattr(value, "sizes", value)),
)
def test_no_mechanism_on_four_canaries_earns_more(
    box: Box, weights: tuple[int, ...], most: int, curve: TradeOff
) -> None:
    reward = weighted(box, weights, most)
    found = certified(box, reward, curve)
    epsilons = found.epsilons[found.prices > 0]
    truth = most_of_all_mechanisms(curve, box, reward, epsilons)
    assert truth <= found.most(reward, curve) + 1e-7
    assert found.most(reward, curve) == pytest.approx(truth, abs=1e-6)


@pytest.mark.parametrize(("guesses", "first"), [(2, 1), (3, 1)])
def test_no_mechanism_is_in_a_region_of_two_groups_more_often(guesses: int, first: int) -> None:
    # the mechanisms keep the profile at 25 epsilons, so a few more of them than keep the curve
    curve, box = Gaussian(1.0), whole_box(3, first, guesses - first)
    surest = Surest(guesses_in=first, guesses_out=0, weight=2, most=1)
    for errors in itertools.product(*(range(size + 1) for size in box.sizes)):
        run = Guesses(
            canaries=3, guesses=guesses, correct=guesses - sum(errors), surest=first, surest_correct=first - errors[0]
        )
        beyond, last = region_of(run, surest)
        weighted, total = 2 * box.errors[0] + box.errors[1], box.errors.sum(axis=0)
        inside = (weighted <= 1) | (total <= last) if beyond else weighted <= last
        truth = most_of_all_mechanisms(curve, box, inside.astype(float).reshape(box.shape), np.linspace(0, 4, 25))
        assert truth <= RankGroups(surest).p_value(curve, run) + 5e-3


def exact_bound(
    box: Box, epsilons: list[float], prices: list[Fraction], flows: list[list[Fraction]], accept: object
) -> tuple[Fraction, list[Fraction]]:
    """Return the floor and the prices of a certificate in rational arithmetic; e^eps is the float's own value."""
    cover = [Fraction(0)] * math.prod(box.shape)
    source, target, right, wrong = (column.tolist() for column in box.edges)
    for level, epsilon in enumerate(epsilons):
        factor = Fraction(math.exp(epsilon))
        for edge in range(len(source)):
            flow = min(max(flows[level][edge], Fraction(0)), prices[level])
            cover[source[edge]] += right[edge] * flow
            cover[target[edge]] -= factor * wrong[edge] * flow
    assert isinstance(accept, list)
    return max([Fraction(0), *(Fraction(a) - c for a, c in zip(accept, cover, strict=True))]), prices


@pytest.mark.parametrize(("sizes", "errors"), [((40,), (3,)), ((10, 12), (1, 2))])
def test_floats_add_up_to_what_fractions_do(sizes: tuple[int, ...], errors: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    box, curve = box_around(100, sizes, errors), Gaussian(1.0)
    reward = weighted(box, tuple(range(len(sizes), 0, -1)), 3)
    epsilons = epsilon_grid(curve, 100, 4)
    prices = rng.random(4) / 50
    flows = rng.random((4, len(box.edges[0]))) / 20
    floats = certify(box, epsilons, prices, flows).most(reward, curve)
    exact = [Fraction(price) for price in prices.tolist()]
    floor, exact = exact_bound(
        box, epsilons.tolist(), exact, [[Fraction(x) for x in row] for row in flows.tolist()], reward.ravel().tolist()
    )
    total = floor + 100 * sum(p * Fraction(curve.delta_at(e)) for p, e in zip(exact, epsilons.tolist(), strict=True))
    assert min(Fraction(1), total) <= Fraction(floats), "floats are rounded up"
    assert Fraction(floats) <= min(Fraction(1), total * Fraction(1 + 1e-8))


def test_whatever_a_solver_says_is_made_allowed() -> None:
    box, curve = whole_box(3, 3), Gaussian(1.0)
    reward = weighted(box, (1,), 1)
    rng = np.random.default_rng(2)
    epsilons = epsilon_grid(curve, 3, 3)
    truth = most_of_all_mechanisms(curve, box, reward, epsilons)
    for scale in (0.01, 0.1, 1.0, 10.0):
        prices, flows = scale * rng.normal(size=3), scale * rng.normal(size=(3, 3))
        assert certify(box, epsilons, prices, flows).most(reward, curve) >= min(1, truth) - 1e-7
    broken = certify(box, epsilons, np.array([np.nan, np.inf, 1.0]), np.full((3, 3), np.nan))
    assert broken.most(reward, curve) == 1.0, "what is no number certifies nothing"


def test_forgetting_the_canaries_that_were_not_guessed_is_caught() -> None:
    box, curve = whole_box(3, 1), Gaussian(1.0)
    reward = weighted(box, (1,), 0)
    forgetful = Certificate(**{**vars(certified(box, reward, curve)), "canaries": 1})
    truth = most_of_all_mechanisms(curve, box, reward, epsilon_grid(curve, 3, 12))
    assert truth > forgetful.most(reward, curve) + 0.01


def test_a_cover_that_takes_no_toll_on_wrong_guesses_is_caught() -> None:
    box, curve = whole_box(3, 3), Gaussian(1.0)
    reward = weighted(box, (1,), 1)
    found = certified(box, reward, curve)
    generous = Certificate(**{**vars(found), "cover": np.maximum(found.cover, 0.0) * 2})
    truth = most_of_all_mechanisms(curve, box, reward, epsilon_grid(curve, 3, 12))
    assert truth > generous.most(reward, curve) + 0.01


def test_flows_that_leave_the_box_unpaid_are_caught() -> None:
    # with an edge to 2 errors in the flow, but the node of 2 errors forgotten, somebody earns more than the "bound"
    curve, whole = Gaussian(1.0), whole_box(3, 3)
    reward = weighted(whole, (1,), 1)
    epsilons = np.array([1.5])
    beaten = []
    for flow in np.linspace(0.2, 1.2, 6).tolist():
        honest = certify(whole, epsilons, np.array([flow]), np.array([[0.27 * flow, flow, 0.0]]))
        cut = Certificate(canaries=3, epsilons=epsilons, prices=np.array([flow]), cover=honest.cover[:2])
        truth = most_of_all_mechanisms(curve, whole, reward, epsilons)
        assert truth <= honest.most(reward, curve) + 1e-7
        beaten.append(truth > cut.most(reward[:2], curve) + 1e-3)
    assert any(beaten)
    small = Box(canaries=3, sizes=(3,), last=(1,))
    assert truth <= certified(small, reward[:2], curve).most(reward[:2], curve) + 1e-7, "no flow out of a box: allowed"


def test_a_narrow_box_is_weaker_but_never_wrong() -> None:
    curve = Gaussian(1.0)
    bounds = []
    for last in (3, 5, 10, 25):
        box = Box(canaries=1000, sizes=(150,), last=(last,))
        reward = weighted(box, (1,), 3)
        bounds.append(certified(box, reward, curve).most(reward, curve))
    assert bounds == sorted(bounds, reverse=True)
    assert bounds[0] > 3 * bounds[-1]


def test_no_certificate_of_a_program_that_is_too_large() -> None:
    box = whole_box(10_000, 3000)
    assert best_certificate(box, weighted(box, (1,), 5), Gaussian(1.0)) is None


def test_boxes_that_make_no_sense_are_refused() -> None:
    for sizes, last in (((), ()), ((3,), (4,)), ((3, 9), (1, 1)), ((3,), (1, 1)), ((3,), (-1,))):
        with pytest.raises(InputError):
            Box(canaries=10, sizes=sizes, last=last)
