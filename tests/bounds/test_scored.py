"""Scores to bounds by a strategy: what a split costs, and that it does not peek."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from dpaudit.bounds.family import any_family, gaussian_family
from dpaudit.bounds.guesses import guess
from dpaudit.bounds.max_p import PlannedTest, max_p_bound
from dpaudit.bounds.one_run import Steinke
from dpaudit.bounds.one_run_fdp import FdpRecursion
from dpaudit.bounds.scored import bound_scores
from dpaudit.bounds.strategies import FixedGuesses, Split
from dpaudit.errors import InputError
from dpaudit.scores import LabelledScores

if TYPE_CHECKING:
    from collections.abc import Callable

    GaussianRun = Callable[[np.random.Generator, int, float], LabelledScores]

GDP = PlannedTest(test=FdpRecursion(), family=gaussian_family(delta=1e-5), confidence=0.95)
PURE = PlannedTest(test=Steinke(), family=any_family(delta=0.0), confidence=0.95)


def test_fixed_guesses_are_the_plain_bound(gaussian_run: GaussianRun) -> None:
    runs = [gaussian_run(np.random.default_rng(seed), 500, 1.5) for seed in (1, 2)]
    strategy = FixedGuesses(guesses_in=40, guesses_out=30)
    guesses = [guess(run, guesses_in=40, guesses_out=30) for run in runs]
    assert bound_scores(GDP, runs, strategy) == max_p_bound(GDP, guesses, strategy="fixed: 40 in, 30 out")


def test_a_split_tests_only_the_rows_it_did_not_choose_on(gaussian_run: GaussianRun) -> None:
    run = gaussian_run(np.random.default_rng(1), 1000, 1.5)
    bound = bound_scores(GDP, [run], Split(fraction=0.3, seed=4))
    assert bound.counts.canaries == (700,)
    assert bound.strategy == "split: chosen on 30% of the rows, tested on the rest"
    assert bound.epsilon > 1.0


def test_the_parts_of_a_split_are_all_rows_once() -> None:
    rows = LabelledScores(scores=np.arange(101.0), member=np.zeros(101, dtype=np.bool_))
    chosen, tested = Split(fraction=0.25, seed=9).parts(rows)
    assert sorted([*chosen.scores, *tested.scores]) == list(range(101))


def test_a_split_that_leaves_a_side_empty_is_refused() -> None:
    few = LabelledScores(scores=np.arange(3.0), member=np.array([True, False, True]))
    for fraction in (0.1, 0.9):
        with pytest.raises(InputError, match="at least one of 3 rows"):
            Split(fraction=fraction).parts(few)


@pytest.mark.parametrize("runs", [1, 2])
def test_pure_noise(runs: int, gaussian_run: GaussianRun, most_allowed: Callable[[int, float], int]) -> None:
    rng = np.random.default_rng(runs)
    audits = 240 // runs
    claims = sum(
        bound_scores(PURE, [gaussian_run(rng, 200, 0.0) for _ in range(runs)], Split(seed=seed)).epsilon > 0
        for seed in range(audits)
    )
    assert claims <= most_allowed(audits, 0.05)


def test_testing_on_the_rows_that_were_chosen_on_is_caught(
    gaussian_run: GaussianRun, most_allowed: Callable[[int, float], int]
) -> None:
    rng = np.random.default_rng(7)
    sizes = (3, 12, 30, 60)
    claims = 0
    for _ in range(120):
        run = gaussian_run(rng, 200, 0.0)
        designs = [FixedGuesses(guesses_in=i, guesses_out=o) for i in sizes for o in sizes]
        claims += any(bound_scores(PURE, [run], design).epsilon > 0 for design in designs)
    assert claims > most_allowed(120, 0.05)


def test_a_split_finds_a_good_number_of_guesses(gaussian_run: GaussianRun) -> None:
    rng = np.random.default_rng(5)
    run = gaussian_run(rng, 20_000, 1.666)
    best = bound_scores(GDP, [run], FixedGuesses(guesses_in=330, guesses_out=330)).epsilon
    assert bound_scores(GDP, [run], Split()).epsilon > 0.85 * best


def test_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match="runs"):
        bound_scores(GDP, [], Split())
    for fraction in (0.0, 1.0):
        with pytest.raises(InputError, match="fraction"):
            Split(fraction=fraction)
