"""Guesses from scores: counts, ties, and coins that row order must not leak."""

from __future__ import annotations

import numpy as np
import pytest

from dpaudit.bounds.guesses import Guesses, counts_of, guess
from dpaudit.errors import InputError
from dpaudit.scores import LabelledScores


def labelled(scores: list[float], member: list[bool]) -> LabelledScores:
    return LabelledScores(scores=np.array(scores), member=np.array(member))


def test_high_scores_are_guessed_in_and_low_ones_out() -> None:
    run = labelled([5.0, 1.0, 4.0, 2.0, 3.0], [True, True, False, False, True])
    assert guess(run, guesses_in=2, guesses_out=0).correct == 1  # 5 is in, 4 is not
    assert guess(run, guesses_in=0, guesses_out=2).correct == 1  # 1 is in, 2 is not
    assert guess(run, guesses_in=1, guesses_out=1).correct == 1
    everything = guess(run, guesses_in=3, guesses_out=2)
    assert (everything.canaries, everything.guesses, everything.correct) == (5, 5, 3)
    assert guess(run, guesses_in=0, guesses_out=0).correct == 0


def test_more_separation_means_more_right_guesses() -> None:
    rng = np.random.default_rng(0)
    member = rng.random(2000) < 0.5
    noise = rng.normal(size=2000)
    right = [
        guess(LabelledScores(scores=noise + mu * member, member=member), guesses_in=200, guesses_out=200).correct
        for mu in (-2.0, 0.0, 1.0, 4.0)
    ]
    assert right == sorted(right)
    assert right[0] < 100
    assert right[-1] == 400


def test_ties_leak_nothing_when_rows_are_sorted_by_membership() -> None:
    member = np.arange(10_000) < 5000
    for rows in (member, ~member):
        run = guess(LabelledScores(scores=np.zeros(10_000), member=rows), guesses_in=1000, guesses_out=1000)
        assert 900 < run.correct < 1100


def test_breaking_ties_by_row_order_would_leak() -> None:
    member = np.arange(10_000) < 5000
    by_row = np.argsort(-np.zeros(10_000), kind="stable")[:1000]
    assert member[by_row].all(), "the fault that the fixed shuffle is there for"


def test_the_same_scores_give_the_same_guesses() -> None:
    run = labelled([1.0, 1.0, 1.0, 0.0, 1.0], [True, False, True, False, False])
    assert guess(run, guesses_in=2, guesses_out=1) == guess(run, guesses_in=2, guesses_out=1)


def test_guesses_do_not_depend_on_the_coins() -> None:
    rng = np.random.default_rng(1)
    scores = rng.integers(0, 4, size=50).astype(float)
    totals = np.zeros(50)
    for row in range(50):  # one member at a time: a right guess "in" tells which rows are guessed in
        member = np.arange(50) == row
        totals[row] = guess(LabelledScores(scores=scores, member=member), guesses_in=10, guesses_out=0).correct
    assert totals.sum() == 10


def test_counts_of_runs() -> None:
    run = labelled([5.0, 1.0, 4.0], [True, False, False])
    counts = counts_of([guess(run, guesses_in=1, guesses_out=1), guess(run, guesses_in=2, guesses_out=0)])
    assert counts.canaries == (3, 3)
    assert counts.guesses == (2, 2)
    assert counts.correct == (2, 1)
    assert (counts.guesses_in, counts.guesses_out) == ((1, 2), (1, 0))
    assert counts_of([Guesses(canaries=3, guesses=2, correct=1)]).guesses_in == ()


@pytest.mark.parametrize(
    ("canaries", "guesses", "correct", "field"),
    [
        (0, 0, 0, "canaries"),
        (10, 11, 3, "guesses"),
        (10, -1, 0, "guesses"),
        (10, 5, 6, "correct"),
        (10, 5, -1, "correct"),
    ],
)
def test_impossible_counts_are_refused(canaries: int, guesses: int, correct: int, field: str) -> None:
    with pytest.raises(InputError, match=field):
        Guesses(canaries=canaries, guesses=guesses, correct=correct)


def test_more_guesses_than_rows_are_refused() -> None:
    run = labelled([1.0, 2.0], [True, False])
    with pytest.raises(InputError, match="guesses in, out"):
        guess(run, guesses_in=2, guesses_out=1)
    with pytest.raises(InputError, match="guesses in, out"):
        guess(run, guesses_in=-1, guesses_out=1)
