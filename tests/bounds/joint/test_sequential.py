"""The game of adaptive guesses: equal to a slow twin, never beaten by any mechanism and guesser, faults are caught."""

from __future__ import annotations

import itertools
import math
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pytest
from scipy.optimize import linprog
from scipy.sparse import csr_array
from scipy.special import bdtr, expit

from dpaudit.bounds.guesses import Guesses
from dpaudit.bounds.joint.sequential import Tolls, charge, charge_one, rates
from dpaudit.bounds.joint.tolls import best_tolls
from dpaudit.bounds.tradeoff import EpsilonDelta, Gaussian, TradeOff

if TYPE_CHECKING:
    from collections.abc import Callable

#: which canary is next, its guess, what is done if its coin is 0, and if it is 1; None at the end
Guesser: TypeAlias = "tuple[int, int, Guesser | None, Guesser | None]"


def run_of(canaries: int, guesses: int, errors: int) -> Guesses:
    return Guesses(canaries=canaries, guesses=guesses, correct=guesses - errors)


def every_guesser(canaries: tuple[int, ...], guesses: int) -> list[Guesser]:
    """Return every way to guess so many of the canaries, each next one chosen by the coins revealed before."""
    found: list[Guesser] = []
    for canary, guess in itertools.product(canaries, (0, 1)):
        left = tuple(other for other in canaries if other != canary)
        after: list[Guesser | None] = [*every_guesser(left, guesses - 1)] if guesses > 1 else [None]
        found += [(canary, guess, if_0, if_1) for if_0, if_1 in itertools.product(after, after)]
    return found


def errors_of(guesser: Guesser | None, coins: tuple[int, ...]) -> int:
    if guesser is None:
        return 0
    canary, guess, *after = guesser
    return (guess != coins[canary]) + errors_of(after[coins[canary]], coins)


def mirrored(guesser: Guesser | None, flipped: int) -> Guesser | None:
    """Return the guesser who takes the other side of one coin for this side."""
    if guesser is None:
        return None
    canary, guess, if_0, if_1 = guesser
    if_0, if_1 = mirrored(if_0, flipped), mirrored(if_1, flipped)
    return (canary, 1 - guess, if_1, if_0) if canary == flipped else (canary, guess, if_0, if_1)


def adapts(guesser: Guesser | None) -> bool:
    return guesser is not None and (guesser[2] != guesser[3] or adapts(guesser[2]))


def most_of_all(curve: TradeOff, run: Guesses, epsilons: list[float], *, adaptive: bool = True) -> float:
    """Return the largest P[so few errors] of any mechanism that keeps the profile at `epsilons` and any guesser.

    What is shown may be taken to be the guesser's whole plan. Flipping coins and plans together changes nothing, and
    the constraints are convex, so the law of plans may be taken to be that for all coins 0, mirrored.
    """
    plans = [plan for plan in every_guesser(tuple(range(run.canaries)), run.guesses) if adaptive or not adapts(plan)]
    number, index = len(plans), {plan: i for i, plan in enumerate(plans)}
    plan = np.arange(number)
    rows, columns, values, limits = [], [], [], []
    for test, (canary, epsilon) in enumerate(itertools.product(range(run.canaries), epsilons)):
        other = np.array([index[mirrored(each, canary)] for each in plans])  # type: ignore[index]  # a plan is no None
        here = test * number + plan
        rows += [here, here, here]
        columns += [plan, other, number + here]
        values += [np.ones(number), np.full(number, -math.exp(epsilon)), -np.ones(number)]
        limits.append(curve.delta_at(epsilon))
    excess = len(limits) * number
    rows.append(excess + np.repeat(np.arange(len(limits)), number))
    columns.append(number + np.arange(excess))
    values.append(np.ones(excess))
    matrix: Any = csr_array(
        (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))),
        shape=(excess + len(limits), number + excess),
    )
    few = [errors_of(each, (0,) * run.canaries) <= run.guesses - run.correct for each in plans]
    found = linprog(
        np.append(-np.array(few, dtype=np.float64), np.zeros(excess)),
        A_ub=matrix,
        b_ub=np.append(np.zeros(excess), limits),
        A_eq=np.append(np.ones(number), np.zeros(excess))[None],
        b_eq=[1.0],
    )
    assert found.fun is not None
    return -float(found.fun)


def most_without_symmetry(curve: TradeOff, run: Guesses, epsilons: list[float]) -> float:
    """Return the same from the law of plans for every vector of coins and all ordered pairs of neighbours."""
    plans = every_guesser(tuple(range(run.canaries)), run.guesses)
    coins = list(itertools.product((0, 1), repeat=run.canaries))
    chance = {key: i for i, key in enumerate(itertools.product(coins, plans))}
    pairs = [(s, t) for s, t in itertools.permutations(coins, 2) if sum(a != b for a, b in zip(s, t, strict=True)) == 1]
    tests = list(itertools.product(pairs, epsilons))
    width = len(chance) + len(tests) * len(plans)
    matrix = np.zeros((len(tests) * (len(plans) + 1), width))
    limits: list[float] = []
    for test, ((s, t), epsilon) in enumerate(tests):
        for number, plan in enumerate(plans):
            excess = len(chance) + test * len(plans) + number
            row = matrix[len(limits)]
            row[chance[s, plan]], row[chance[t, plan]], row[excess] = 1.0, -math.exp(epsilon), -1.0
            matrix[(len(tests) - test - 1) - len(tests), excess] = 1.0
            limits.append(0.0)
    limits += [curve.delta_at(epsilon) for _, epsilon in reversed(tests)]
    total = np.zeros((len(coins), width))
    reward = np.zeros(width)
    for (s, plan), i in chance.items():
        total[coins.index(s), i] = 1.0
        reward[i] = -(errors_of(plan, s) <= run.guesses - run.correct) / len(coins)
    found = linprog(reward, A_ub=matrix, b_ub=limits, A_eq=total, b_eq=np.ones(len(coins)))
    assert found.fun is not None
    return -float(found.fun)


def tolled(tolls: Tolls) -> list[float]:
    return list(tolls.epsilons[tolls.tolls > 0].tolist())


CURVES = [Gaussian(0.3), Gaussian(1.0), EpsilonDelta(0.7, 0.0), EpsilonDelta(1.0, 0.02), EpsilonDelta(0.0, 0.1)]


@pytest.mark.parametrize("curve", CURVES, ids=repr)
@pytest.mark.parametrize(("canaries", "guesses"), [(1, 1), (2, 1), (2, 2), (3, 2)])
def test_no_mechanism_with_any_guesser_is_right_more_often(canaries: int, guesses: int, curve: TradeOff) -> None:
    for errors in range(guesses):
        run = run_of(canaries, guesses, errors)
        found = best_tolls(run, curve)
        truth = most_of_all(curve, run, tolled(found))
        assert truth <= found.most(curve) + 1e-9
        if guesses == 1 or curve == EpsilonDelta(0.7, 0.0):
            assert truth == pytest.approx(found.most(curve), abs=1e-5), "and some mechanism is"


@pytest.mark.parametrize("curve", [EpsilonDelta(0.7, 0.0), EpsilonDelta(1.0, 0.02)], ids=repr)
def test_no_mechanism_is_right_more_often_of_three_guesses(curve: EpsilonDelta) -> None:
    for errors in range(3):
        run = run_of(3, 3, errors)
        assert most_of_all(curve, run, [curve.epsilon]) <= best_tolls(run, curve).most(curve) + 1e-9


@pytest.mark.slow
@pytest.mark.parametrize("mu", [0.3, 1.0])
def test_no_mechanism_is_right_more_often_of_three_guesses_under_a_gaussian_promise(mu: float) -> None:
    for errors in range(3):
        run = run_of(3, 3, errors)
        found = best_tolls(run, Gaussian(mu))
        heaviest = np.sort(np.argsort(-found.tolls)[:3])
        only = charge(run, found.epsilons[heaviest], found.tolls[heaviest])[0]
        assert most_of_all(Gaussian(mu), run, tolled(only)) <= only.most(Gaussian(mu)) + 1e-9


@pytest.mark.parametrize("epsilons", [[0.8], [0.4, 1.2]])
def test_symmetry_only_makes_the_program_smaller(epsilons: list[float]) -> None:
    for errors in (0, 1):
        run = run_of(2, 2, errors)
        whole = most_without_symmetry(Gaussian(1.0), run, epsilons)
        assert most_of_all(Gaussian(1.0), run, epsilons) == pytest.approx(whole, abs=1e-7)


ENUMERATED = [(2, 2, [0.3, 0.8, 1.5, 2.5, 4.0]), (3, 2, [0.3, 0.8, 1.5, 2.5, 4.0])]


@pytest.mark.parametrize(
    ("canaries", "guesses", "epsilons"), [*ENUMERATED, pytest.param(3, 3, [0.4, 1.0, 1.6, 2.4], marks=pytest.mark.slow)]
)
def test_where_all_are_enumerated_adaptive_guesses_gain_nothing(
    canaries: int, guesses: int, epsilons: list[float]
) -> None:
    for mu, errors in itertools.product((0.5, 1.0), range(guesses)):
        run = run_of(canaries, guesses, errors)
        fixed = most_of_all(Gaussian(mu), run, epsilons, adaptive=False)
        assert most_of_all(Gaussian(mu), run, epsilons) == pytest.approx(fixed, abs=1e-7)


def test_any_tolls_bound_every_curve() -> None:
    rng = np.random.default_rng(0)
    run, epsilons = run_of(3, 2, 0), np.array([0.5, 1.2])
    for scale in (0.02, 0.2, 1.0, 10.0):
        found, _ = charge(run, epsilons, scale * rng.normal(size=2))
        for curve in (Gaussian(0.5), Gaussian(1.5), EpsilonDelta(1.0, 0.02)):
            assert most_of_all(curve, run, epsilons.tolist()) <= found.most(curve) + 1e-9
    broken, _ = charge(run, epsilons, np.array([np.nan, np.inf]))
    assert broken.most(Gaussian(0.5)) == 1.0, "what is no number certifies nothing"


def test_a_game_without_the_price_of_delta_is_caught() -> None:
    run, curve = run_of(3, 2, 0), EpsilonDelta(1.0, 0.02)
    found = best_tolls(run, curve)
    assert most_of_all(curve, run, [1.0]) > found.most(EpsilonDelta(1.0, 0.0)) + 0.01


def test_forgetting_the_canaries_that_were_not_revealed_is_caught() -> None:
    run, curve = run_of(3, 1, 0), EpsilonDelta(1.0, 0.05)
    forgetful = Tolls(**{**vars(best_tolls(run, curve)), "canaries": 1})
    assert most_of_all(curve, run, [1.0]) > forgetful.most(curve) + 0.01


def test_tolls_paid_at_a_smaller_curve_are_caught() -> None:
    run = run_of(3, 2, 0)
    found = best_tolls(run, Gaussian(1.0))
    assert most_of_all(Gaussian(1.0), run, tolled(found)) > found.most(Gaussian(0.5)) + 0.01


def worth_by_hand(guesses: int, errors: int, epsilons: list[float], tolls: list[float]) -> float:
    """Return V(r, v) by the definition, the maximum over many chances of being right, worse than coins included."""
    chances = [*np.linspace(0.0, 1.0, 101).tolist(), *(1 / (1 + math.exp(-e)) for e in epsilons)]

    def toll(chance: float) -> float:
        return sum(y * max(0.0, chance - 1 / (1 + math.exp(-e))) for e, y in zip(epsilons, tolls, strict=True))

    paid = [(chance, toll(chance)) for chance in chances]

    @cache
    def value(left: int, allowed: int) -> float:
        if allowed < 0:
            return 0.0
        if left == 0:
            return 1.0
        right, wrong = value(left - 1, allowed), value(left - 1, allowed - 1)
        return float(max(chance * right + (1 - chance) * wrong - price for chance, price in paid))

    return value(guesses, errors)


@pytest.mark.parametrize(("guesses", "errors"), [(1, 0), (5, 0), (12, 4), (30, 3), (6, 6)])
def test_the_game_equals_a_slow_recursion(guesses: int, errors: int) -> None:
    rng = np.random.default_rng(guesses)
    for number in (1, 3, 6):
        epsilons, tolls = np.sort(4 * rng.random(number)), 1.5 * rng.random(number) / number
        found, _ = charge(run_of(40, guesses, errors), epsilons, tolls)
        assert found.worth == pytest.approx(
            worth_by_hand(guesses, errors, epsilons.tolist(), tolls.tolist()), abs=1e-12
        )
        assert found.worth >= worth_by_hand(guesses, errors, epsilons.tolist(), found.tolls.tolist()) - 1e-15


@pytest.mark.parametrize(("guesses", "errors"), [(10, 2), (150, 3), (400, 90)])
def test_a_toll_of_one_is_the_binomial(guesses: int, errors: int) -> None:
    run, wrong = run_of(1000, guesses, errors), expit(-1.3)
    assert charge(run, np.array([1.3]), np.ones(1))[0].worth == pytest.approx(bdtr(errors, guesses, wrong), rel=1e-6)
    assert charge_one(run, 1.3).worth == pytest.approx(bdtr(errors, guesses, wrong))


def test_the_excess_is_minus_a_slope_of_a_convex_worth() -> None:
    rng = np.random.default_rng(3)
    run, epsilons = run_of(1000, 60, 4), np.array([0.5, 1.5, 2.5, 4.0])
    here = rng.random(4) / 8
    game, excess = charge(run, epsilons, here)
    for scale in (1e-3, 1e-2, 0.2):
        there = np.maximum(here + scale * rng.normal(size=4), 0.0)
        other, _ = charge(run, epsilons, there / max(1.0, there.sum()))
        assert other.worth >= game.worth - excess @ (other.tolls - here) - 1e-12


@pytest.mark.parametrize("curve", [Gaussian(1.0), EpsilonDelta(2.5, 1e-5)], ids=repr)
def test_players_who_keep_the_lemma_reach_the_bound(curve: TradeOff) -> None:
    # a player chosen at random among best players of many tolls: by the Lemma alone no bound can be smaller
    run = run_of(1000, 150, 3)
    found = best_tolls(run, curve)
    rng = np.random.default_rng(4)
    near = [
        found.tolls * np.exp(scale * rng.normal(size=len(found.tolls))) for scale in (0.0, 0.02, 0.1) for _ in range(60)
    ]
    players = [charge(run, found.epsilons, tolls) for tolls in near]
    wins = np.array([game.worth + excess @ game.tolls for game, excess in players])
    mixed = linprog(
        -wins,
        A_ub=np.vstack([np.array([excess for _, excess in players]).T, np.ones(len(wins))]),
        b_ub=np.append(rates(curve, run.canaries, found.epsilons), 1.0),
    )
    assert mixed.fun is not None
    assert -mixed.fun <= found.most(curve) * (1 + 1e-6)
    assert -mixed.fun >= 0.95 * found.most(curve)


def test_a_leak_that_stops_once_the_outcome_is_decided_is_covered() -> None:
    # right with chance a until errors are too many to matter, in as many runs as the Lemma allows at 300 epsilons
    run, curve = run_of(1000, 150, 3), Gaussian(1.0)
    epsilons = np.linspace(0.0, 10.0, 300)
    allowed, bound = rates(curve, run.canaries, epsilons), best_tolls(run, curve).most(curve)
    reached = []
    for accuracy in np.linspace(0.9, 0.999, 30).tolist():
        law, made = np.eye(4)[0], 0.0
        for _ in range(run.guesses):
            made += law.sum()
            law = accuracy * law + (1 - accuracy) * np.append(0.0, law[:-1])
        excess = made * np.maximum(accuracy - expit(epsilons), 0.0)
        chance = min(1.0, float((allowed[excess > 0] / excess[excess > 0]).min()))
        reached.append(chance * float(law.sum()))
    assert max(reached) <= bound
    assert max(reached) > bound / 5


def hidden_coin(rng: np.random.Generator, epsilon: float, guesses: int) -> list[bool]:
    """Return who is right: randomised response, all answers turned by one hidden coin that revealed bits give away."""
    lies = rng.random(guesses) > 1 / (1 + math.exp(-epsilon))
    agree, agreed, rights = lies == bool(rng.random() < 0.5), 0, []
    for k, agrees in enumerate(agree.tolist()):
        rights.append(agrees == (agreed * 2 >= k))
        agreed += agrees
    return rights


def test_a_guesser_who_learns_from_revealed_coins_is_covered(most_allowed: Callable[[int, float], int]) -> None:
    rng = np.random.default_rng(5)
    refuted = {}
    for epsilon in (1.0, 0.2):
        curve = EpsilonDelta(epsilon, 0.0)
        errors = [60 - sum(hidden_coin(rng, 1.0, 60)) for _ in range(400)]
        p_values = {seen: best_tolls(run_of(60, 60, seen), curve).most(curve) for seen in sorted(set(errors))}
        refuted[epsilon] = sum(p_values[seen] <= 0.2 for seen in errors)
    assert refuted[1.0] <= most_allowed(400, 0.2)
    assert refuted[0.2] > 300
