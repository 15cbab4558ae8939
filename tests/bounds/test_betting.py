"""The betting test: wealth by hand, false alarms at any stopping time, delta paid, and the fixed grid of the bound."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from dpaudit.bounds.betting import BettingTest, betting_bound, watch
from dpaudit.bounds.guesses import Guesses
from dpaudit.bounds.one_run import Steinke
from dpaudit.bounds.tradeoff import EpsilonDelta
from dpaudit.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

GRID = np.arange(0.0, 8.0, 0.01)


def fed(test: BettingTest, stream: list[bool]) -> BettingTest:
    for right in stream:
        test.update(right=right)
    return test


def test_wealth_is_the_product_of_its_bets() -> None:
    stream = [True, True, False, True]
    q = 1 / (1 + math.exp(-0.7))
    wealth = 0.0
    for k in range(32):
        a = q + (1 - q) * (k + 0.5) / 32
        bet = 1.0
        for right in stream:
            bet *= a / q if right else (1 - a) / (1 - q)
        wealth += bet / 32
    test = fed(BettingTest(promise=EpsilonDelta(0.7, 0.0), canaries=10), stream)
    assert math.exp(test.log_wealth) == pytest.approx(wealth)


def test_wealth_is_a_martingale_where_the_promise_is_used_up() -> None:
    # every history of 8 guesses, weighted by its chance under randomised response at the promise
    q = 1 / (1 + math.exp(-1.0))
    total = 0.0
    for history in range(256):
        stream = [bool(history >> k & 1) for k in range(8)]
        chance = q ** sum(stream) * (1 - q) ** (8 - sum(stream))
        total += chance * math.exp(fed(BettingTest(promise=EpsilonDelta(1.0, 0.0), canaries=8), stream).log_wealth)
    assert total == pytest.approx(1.0)


@pytest.mark.parametrize("eps", [0.0, 1.0, 2.5])
def test_false_alarms_at_any_time_are_rare(eps: float, most_allowed: Callable[[int, float], int]) -> None:
    rng = np.random.default_rng(1)
    q, alarms, fixed_time = 1 / (1 + math.exp(-eps)), 0, 0
    for _ in range(100):
        stream = rng.random(100) < q
        test, worst_fixed = BettingTest(promise=EpsilonDelta(eps, 0.0), canaries=100), 1.0
        for k, right in enumerate(stream.tolist(), start=1):
            test.update(right=right)
            run = Guesses(canaries=100, guesses=k, correct=test.correct)
            if k % 3 == 0:
                worst_fixed = min(worst_fixed, Steinke().p_value(EpsilonDelta(eps, 0.0), run))
        alarms += test.p_value <= 0.2
        fixed_time += worst_fixed <= 0.2
    assert alarms <= most_allowed(100, 0.2)
    if eps <= 1:
        assert fixed_time > most_allowed(100, 0.2), "a test made for one time, looked at again and again, is caught"


def test_name_and_shame_needs_the_price_of_delta(most_allowed: Callable[[int, float], int]) -> None:
    # each of 2000 bits is published with chance delta, then guessed rightly; the rest are not guessed
    rng = np.random.default_rng(3)
    for delta, level in ((5e-5, 0.2), (2e-4, 0.5), (3e-3, 0.2)):
        honest, forgetful = 0, 0
        for published in rng.binomial(2000, delta, size=300).tolist():
            stream = [True] * published
            honest += fed(BettingTest(promise=EpsilonDelta(0.0, delta), canaries=2000), stream).p_value <= level
            forgetful += fed(BettingTest(promise=EpsilonDelta(0.0, 0.0), canaries=2000), stream).p_value <= level
        assert honest <= most_allowed(300, level)
    assert forgetful > most_allowed(300, level)


def test_a_guesser_who_learns_from_revealed_coins_is_covered(most_allowed: Callable[[int, float], int]) -> None:
    # Randomised response at epsilon 1, all answers flipped together by one hidden fair coin: no answer tells its bit
    # until revealed bits have told the hidden coin.
    rng = np.random.default_rng(4)
    eps, alarms, certified = 1.0, 0, 0
    for _ in range(100):
        lies = rng.random(150) > 1 / (1 + math.exp(-eps))
        answers_agree_with_bits = lies == bool(rng.random() < 0.5)
        truth, zero = (BettingTest(promise=EpsilonDelta(e, 0.0), canaries=150) for e in (eps, 0.0))
        agreed = 0
        for k, agrees in enumerate(answers_agree_with_bits.tolist()):
            guess_agrees = agreed * 2 >= k
            for test in (truth, zero):
                test.update(right=agrees == guess_agrees)
            agreed += agrees
        alarms += truth.p_value <= 0.2
        certified += zero.p_value <= 0.05
    assert alarms <= most_allowed(100, 0.2)
    assert certified > 90


def test_it_stops_early_when_twice_the_promise_leaks() -> None:
    rng = np.random.default_rng(5)
    test = BettingTest(promise=EpsilonDelta(1.0, 1e-6), canaries=1000)
    for right in (rng.random(1000) < 1 / (1 + math.exp(-2.0))).tolist():
        test.update(right=right)
        if test.p_value <= 0.05:
            break
    assert test.guesses < 400


def test_the_bound_is_the_grid_point_before_the_first_that_is_kept() -> None:
    rng = np.random.default_rng(6)
    stream = (rng.random(600) < 1 / (1 + math.exp(-3.0))).tolist()
    found = betting_bound(stream, GRID, canaries=600, delta=1e-6, confidence=0.95)
    fixed = Steinke()
    counts = Guesses(canaries=600, guesses=600, correct=sum(stream))
    assert found.epsilon < 3.0
    assert found.epsilon > 2.0
    assert fed(BettingTest(promise=EpsilonDelta(found.epsilon, 1e-6), canaries=600), stream).p_value <= 0.05
    assert fed(BettingTest(promise=EpsilonDelta(found.epsilon + 0.01, 1e-6), canaries=600), stream).p_value > 0.05
    assert fixed.refutes(EpsilonDelta(found.epsilon, 1e-6), counts, 0.05), "stopping at any time costs something"
    assert betting_bound([], GRID, canaries=5, delta=0.0, confidence=0.95).epsilon == 0.0


def test_a_large_delta_leaves_nothing_to_bet_with() -> None:
    assert betting_bound([True] * 100, GRID, canaries=1000, delta=1e-3, confidence=0.95).epsilon == 0.0


def test_impossible_streams_are_refused() -> None:
    with pytest.raises(InputError, match="guesses"):
        betting_bound([True] * 11, GRID, canaries=10, delta=0.0, confidence=0.95)
    with pytest.raises(InputError, match="guesses"):
        fed(BettingTest(promise=EpsilonDelta(1.0, 0.0), canaries=2), [True] * 3)
    with pytest.raises(InputError, match="epsilons"):
        betting_bound([True], np.array([1.0, 0.5]), canaries=10, delta=0.0, confidence=0.95)
    with pytest.raises(InputError, match="canaries"):
        BettingTest(promise=EpsilonDelta(1.0, 0.0), canaries=0)


@pytest.mark.parametrize(("guesses", "accuracy"), [(0, 0.5), (6, 1.0), (6, 0.0), (40, 0.5), (300, 0.8), (300, 0.97)])
def test_the_bound_equals_watching_every_epsilon_guess_by_guess(guesses: int, accuracy: float) -> None:
    stream = (np.random.default_rng(8).random(guesses) < accuracy).tolist()
    grid = np.arange(0.0, 6.0, 0.05)
    refuted = [
        fed(BettingTest(promise=EpsilonDelta(eps, 1e-5), canaries=400), stream).p_value <= 0.05 for eps in grid.tolist()
    ]
    expected = grid[refuted.index(False) - 1] if refuted[0] else 0.0
    assert betting_bound(stream, grid, canaries=400, delta=1e-5, confidence=0.95).epsilon == expected


def test_watching_reads_nothing_beyond_the_guess_that_refutes() -> None:
    test, stream = BettingTest(promise=EpsilonDelta(0.5, 0.0), canaries=1000), iter([False, True] * 3 + [True] * 100)
    stopped = watch(test, stream, 0.05)
    assert stopped == test.guesses == 106 - len(list(stream))
    assert test.p_value <= 0.05
    before = BettingTest(promise=EpsilonDelta(0.5, 0.0), canaries=1000)
    assert watch(before, ([False, True] * 3 + [True] * 100)[: stopped - 1], 0.05) is None
    assert before.p_value > 0.05


@pytest.mark.parametrize("delta", [-1e-5, 1.0, float("nan")])
def test_impossible_deltas_are_refused(delta: float) -> None:
    with pytest.raises(InputError, match="delta"):
        betting_bound([True], canaries=10, delta=delta, confidence=0.95)


@pytest.mark.parametrize("seed", range(20))
def test_no_moment_of_wealth_is_missed(seed: int) -> None:
    rng = np.random.default_rng(seed)
    stream = (rng.random(300) < rng.uniform(0.3, 1)).tolist()
    test, largest = BettingTest(promise=EpsilonDelta(float(rng.uniform(0, 3)), 0.0), canaries=300), 0.0
    for right in stream:
        test.update(right=right)
        largest = max(largest, test.log_wealth)
        assert test.p_value == min(1.0, math.exp(-largest))
