"""Errors of R runs together: never beaten by a pair of mechanisms, nor by adversaries who adapt from run to run."""

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
from dpaudit.bounds.joint.certificate import Box, certify
from dpaudit.bounds.joint.count import JointCount
from dpaudit.bounds.joint.flows import Prices, carried, covers, least_floors
from dpaudit.bounds.joint.induction import Penalised, of_independent, penalised_chances, steps, thinning
from dpaudit.bounds.joint.program import best_certificate
from dpaudit.bounds.tradeoff import EpsilonDelta, Gaussian, TradeOff

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Law = NDArray[np.float64]

MU = 1.2
CANARIES, GUESSES, RUNS = 1000, 150, 4


def counting(canaries: int, guesses: int, runs: int, most: int) -> Penalised:
    return Penalised(canaries, guesses, runs, tuple(range(min(guesses, most + 16 + round(4 * most**0.5)) + 1)))


def outputs_of(canaries: int, guesses: int) -> list[tuple[int, ...]]:
    """Return all guesses of so many of the canaries; -1: not guessed."""
    found = itertools.product((-1, 0, 1), repeat=canaries)
    return [output for output in found if sum(bit >= 0 for bit in output) == guesses]


def wrong_in(coins: tuple[int, ...], output: tuple[int, ...]) -> int:
    return sum(bit not in (-1, coin) for coin, bit in zip(coins, output, strict=True))


def most_of_two_runs(
    curve: TradeOff, canaries: int, guesses: int, penalties: tuple[int, ...], most: int, epsilons: Law
) -> float:
    """Return the largest chance that penalties of two runs add up to `most`, over every pair of mechanisms.

    The second sees the first's coins and output. One linear program: variables P(first output | coins), Q(both outputs
    | all coins), and the positive parts of each test of neighbours in either run.
    """
    coins, outputs = list(itertools.product((0, 1), repeat=canaries)), outputs_of(canaries, guesses)
    S, O = len(coins), len(outputs)  # noqa: N806, E741  # numbers of coins and outputs
    first = np.arange(S * O).reshape(S, O)
    both = S * O + np.arange(S * O * S * O).reshape(S, O, S, O)  # coins, output, second coins, second output
    index = {s: i for i, s in enumerate(coins)}
    pairs = [(i, index[(*s[:c], 1 - s[c], *s[c + 1 :])]) for i, s in enumerate(coins) for c in range(canaries)]
    rows: list[tuple[list[int], list[float], float]] = []
    width = S * O + (S * O) ** 2
    for (one, other), epsilon in itertools.product(pairs, epsilons.tolist()):
        delta, factor = curve.delta_at(epsilon), math.exp(epsilon)
        parts = list(range(width, width + O))
        width += O
        rows += [([first[one, o], first[other, o], parts[o]], [1.0, -factor, -1.0], 0.0) for o in range(O)]
        rows.append((parts, [1.0] * O, delta))
        for s, shown in itertools.product(range(S), range(O)):
            parts = list(range(width, width + O))
            width += O
            for o in range(O):
                at = [both[s, shown, one, o], both[s, shown, other, o], parts[o]]
                rows.append((at, [1.0, -factor, -1.0], 0.0))
            rows.append(([*parts, first[s, shown]], [1.0] * O + [-delta], 0.0))
    equal: list[tuple[list[int], list[float], float]] = []
    for s in range(S):
        equal.append((first[s].tolist(), [1.0] * O, 1.0))
        for shown, second in itertools.product(range(O), range(S)):
            equal.append(([*both[s, shown, second].tolist(), first[s, shown]], [1.0] * O + [-1.0], 0.0))
    gain = np.zeros(width)
    for s, o, t, u in itertools.product(range(S), range(O), range(S), range(O)):
        paid = penalties[wrong_in(coins[s], outputs[o])] + penalties[wrong_in(coins[t], outputs[u])]
        gain[both[s, o, t, u]] = -float(paid <= most) / S**2
    found = linprog(
        gain,
        A_ub=sparse(rows, width),
        b_ub=[row[2] for row in rows],
        A_eq=sparse(equal, width),
        b_eq=[row[2] for row in equal],
        method="highs",
    )
    assert found.fun is not None
    return -float(found.fun)


def sparse(rows: list[tuple[list[int], list[float], float]], width: int) -> Any:  # scipy has no types
    columns = np.concatenate([row[0] for row in rows])
    values = np.concatenate([row[1] for row in rows])
    number = np.repeat(np.arange(len(rows)), [len(row[0]) for row in rows])
    return csr_array((values, (number, columns)), shape=(len(rows), width))


def priced(of: Penalised, most: int, curve: TradeOff) -> Law:
    """Return all epsilons that any certificate on the way has a price at."""
    found = [step.epsilons[(step.prices > 1e-12).any(axis=0)] for step in steps(of, most, curve, 1)]
    return np.unique(np.concatenate(found).round(12))


TWO_RUNS = [
    (1, 1, (0, 1), 0),
    (1, 1, (0, 1), 1),
    (2, 1, (0, 1), 0),
    (2, 1, (0, 1), 1),
    (2, 2, (0, 1, 2), 0),
    (2, 2, (0, 1, 2), 1),
    (2, 2, (0, 2, 3), 3),
    pytest.param(3, 1, (0, 1), 0, marks=pytest.mark.slow),
]
CURVES = [Gaussian(1.0), EpsilonDelta(0.8, 0.02)]


@pytest.mark.parametrize("curve", CURVES, ids=repr)
@pytest.mark.parametrize(("canaries", "guesses", "penalties", "most"), TWO_RUNS)
def test_no_pair_of_mechanisms_does_better(
    curve: TradeOff, canaries: int, guesses: int, penalties: tuple[int, ...], most: int
) -> None:
    check_two_runs(curve, Penalised(canaries, guesses, 2, penalties), most)


@pytest.mark.slow
def test_no_pair_of_mechanisms_of_three_canaries_and_two_guesses_does_better() -> None:
    check_two_runs(EpsilonDelta(0.8, 0.02), Penalised(3, 2, 2, (0, 1, 2)), 1)


def check_two_runs(curve: TradeOff, of: Penalised, most: int) -> None:
    bound = penalised_chances(of, most, curve, 1)[most]
    truth = most_of_two_runs(curve, of.canaries, of.guesses, of.penalties, most, priced(of, most, curve))
    assert truth <= bound + 1e-7
    assert bound == pytest.approx(truth, abs=1e-2), "and some pair does as well"


@pytest.mark.parametrize("fault", ["an error is paid twice", "unguessed canaries", "the edge of the box"])
def test_faults_in_the_induction_are_beaten_by_a_pair_of_mechanisms(fault: str) -> None:
    curve, most = Gaussian(1.0), 1
    canaries, guesses = (2, 1) if fault == "unguessed canaries" else (2, 2)
    penalties = tuple(range(guesses + 1))
    honest = Penalised(canaries, guesses, 2, penalties)
    truth = most_of_two_runs(curve, canaries, guesses, penalties, 0 if guesses == 1 else most, priced(honest, 2, curve))
    if fault == "an error is paid twice":
        wrong = penalised_chances(Penalised(2, 2, 2, (0, 2, 4)), most, curve, 1)[most]
    elif fault == "unguessed canaries":
        wrong = penalised_chances(Penalised(1, 1, 2, penalties), 0, curve, 1)[0]
    else:
        wrong = without_the_last_node(honest, most, curve)
    assert truth > wrong + 0.01


def without_the_last_node(of: Penalised, most: int, curve: TradeOff) -> float:
    """Return V(R, most) if what flows into the last node of the box were forgotten, at prices of one epsilon each."""
    prices = np.geomspace(0.05, 3.0, 30)[:, None]
    chances = np.ones(most + 1)
    for _ in range(of.runs):
        found = []
        for reward in of.rewards(chances):
            bounds = [float(reward.max())]
            for epsilon in np.linspace(0, 3, 13):
                rewards, rows = np.tile(reward, (len(prices), 1)), Prices(of.guesses, np.array([epsilon]), prices)
                gaps = (rewards - covers(rewards, np.zeros(len(prices)), rows))[:, :-1].max(axis=1)
                bounds += (np.maximum(gaps, 0.0) + of.canaries * curve.delta_at(epsilon) * prices[:, 0]).tolist()
            found.append(min(bounds))
        chances = np.array(found)
    return float(chances[most])


def test_the_induction_of_one_run_is_the_program_of_one_count() -> None:
    curve = Gaussian(MU)
    found = penalised_chances(counting(CANARIES, GUESSES, 1, 12), 12, curve, 1)
    for errors in (0, 3, 8):
        run = Guesses(canaries=CANARIES, guesses=GUESSES, correct=GUESSES - errors)
        assert found[errors] == pytest.approx(JointCount().p_value(curve, run), rel=0.02)


@pytest.mark.parametrize("curve", [Gaussian(MU), EpsilonDelta(2.0, 1e-4)], ids=repr)
def test_never_above_the_convolution_and_rising(curve: TradeOff) -> None:
    of = counting(300, 60, 3, 14)
    every = list(steps(of, 14, curve, 1))
    for number, step in enumerate(every):
        bound = of_independent(every[0].chances, number + 1)
        assert (step.chances <= bound * (1 + 1e-3) + 2e-4).all(), "2e-4: what is next to nothing has no program"
        assert (np.diff(step.chances) >= 0).all()
    assert (every[-1].chances < 0.9 * bound)[(bound > 0.01) & (bound < 0.5)].any() or isinstance(curve, EpsilonDelta)


def test_fewer_programs_are_a_little_weaker() -> None:
    curve, most = Gaussian(MU), 16
    found = [penalised_chances(counting(CANARIES, GUESSES, 3, most), most, curve, gap)[most] for gap in (1, 2, 4)]
    assert found[0] <= found[1] * 1.001 <= found[2] * 1.002
    assert found[2] < 1.1 * found[0]


def test_the_flows_of_given_prices_need_no_program() -> None:
    curve, box = Gaussian(MU), Box(canaries=CANARIES, sizes=(GUESSES,), last=(40,))
    for allowed in (0, 3, 9):
        reward = (np.arange(41) <= allowed) * np.linspace(1, 0.3, 41)
        program = best_certificate(box, reward, curve)
        assert program is not None
        floor = least_floors(reward[None], Prices(GUESSES, program.epsilons, program.prices[None]))[0]
        assert floor + program.price(curve) == pytest.approx(program.most(reward, curve), rel=2e-3)


def test_covers_are_those_of_allowed_flows() -> None:
    rng = np.random.default_rng(3)
    of = counting(60, 20, 2, 5)
    epsilons = np.array([0.3, 1.0, 2.2])
    prices = rng.random((6, 3)) / 30 * (rng.random((6, 3)) < 0.7)
    rewards = of.rewards(np.sort(rng.random(6)))
    rows = Prices(20, epsilons, prices)
    floors = least_floors(rewards, rows) * rng.choice([0.5, 1.0], size=6)  # not all of them allowed
    edges, found = carried(rewards, floors, rows)[1], covers(rewards, floors, rows)
    box = Box(canaries=60, sizes=(20,), last=(of.nodes - 1,))
    for state in range(6):
        before = np.cumsum(prices[state]) - prices[state]
        flows = np.clip(edges[state, :-1] - before[:, None], 0.0, prices[state][:, None])
        honest = certify(box, epsilons, prices[state], flows)
        np.testing.assert_allclose(found[state], honest.cover, atol=1e-12)


def test_floats_add_up_to_what_fractions_do() -> None:
    curve, most = Gaussian(1.0), 5
    of = counting(40, 12, 3, most)
    exact = [Fraction(1)] * (most + 1)
    for step in steps(of, most, curve, 1):
        cover = exact_covers(of, step.epsilons.tolist(), step.prices.tolist(), edges_of(of, step))
        deltas = [Fraction(curve.delta_at(epsilon)) for epsilon in step.epsilons.tolist()]
        found = []
        for state in range(most + 1):
            left = [state - penalty for penalty in of.penalties]
            reward = [exact[at] if at >= 0 else Fraction(0) for at in left]
            floor = max(Fraction(0), *(r - c for r, c in zip(reward, cover[state], strict=True)))
            price = sum(Fraction(p) * d for p, d in zip(step.prices[state].tolist(), deltas, strict=True))
            found.append(min(Fraction(1), floor + of.canaries * price))
        exact = [min(found[state:]) for state in range(most + 1)]
        floats = [Fraction(chance) for chance in step.chances.tolist()]
        assert all(e <= f <= e * (1 + Fraction(1, 10**7)) for e, f in zip(exact, floats, strict=True))


def edges_of(of: Penalised, step: Any) -> list[list[Fraction]]:  # a step of the generator
    rows = Prices(of.guesses, step.epsilons, step.prices)
    found = carried(step.rewards, least_floors(step.rewards, rows), rows)[1]
    return [[Fraction(edge) for edge in row] for row in found.tolist()]


def exact_covers(
    of: Penalised, epsilons: list[float], prices: list[list[float]], edges: list[list[Fraction]]
) -> list[list[Fraction]]:
    """Return the covers of what edges carry, smallest epsilons first, cut to the prices; e^eps is the float's value."""
    found = []
    for price, row in zip(prices, edges, strict=True):
        cover = [Fraction(0)] * of.nodes
        for errors in range(of.nodes - 1):
            left = min(row[errors], sum((Fraction(p) for p in price), Fraction(0)))
            for epsilon, most in zip(epsilons, price, strict=True):
                flow = min(left, Fraction(most))
                left -= flow
                cover[errors] += (of.guesses - errors) * flow
                cover[errors + 1] -= Fraction(math.exp(epsilon)) * (errors + 1) * flow
        found.append(cover)
    return found


def test_sizes_alone_say_how_many_programs_there_are() -> None:
    assert thinning(counting(1000, 189, 4, 25), 25) == 1
    assert thinning(counting(1000, 266, 16, 168), 168) == 15
    assert thinning(counting(1000, 200, 32, 96), 96) is None, "a minute and a half"
    assert thinning(counting(1000, 900, 16, 600), 600) is None
