"""Threshold strategies on independent trials: what each costs, and that none peeks."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy.special import betainccinv, ndtri

from dpaudit.bounds import trials as module
from dpaudit.bounds.clopper_pearson import Confusion, clopper_pearson_bound
from dpaudit.bounds.family import Family, any_family, gaussian_family
from dpaudit.bounds.strategies import (
    Bonferroni,
    Dkw,
    FixedGuesses,
    FixedThreshold,
    KFold,
    Split,
    ThresholdStrategy,
)
from dpaudit.bounds.tradeoff import EpsilonDelta, Gaussian
from dpaudit.bounds.trials import bound_trials, confusion_at
from dpaudit.errors import InputError
from dpaudit.scores import LabelledScores

if TYPE_CHECKING:
    from collections.abc import Callable

GDP = gaussian_family(delta=1e-5)
GRID = Bonferroni(choices=tuple(FixedThreshold(threshold=t) for t in (-0.5, 0.0, 0.5, 1.0, 1.5)))
STRATEGIES: list[ThresholdStrategy] = [FixedThreshold(threshold=0.5), Split(), KFold(folds=4), Dkw(), GRID]


def trials(rng: np.random.Generator, mu: float, each: int = 200) -> LabelledScores:
    member = np.arange(2 * each) < each
    return LabelledScores(scores=rng.normal(size=2 * each) + mu * member, member=member)


def epsilon(runs: LabelledScores, strategy: ThresholdStrategy) -> float:
    return bound_trials(GDP, runs, strategy, confidence=0.95, trials="independent runs").epsilon


def test_counts_at_a_threshold() -> None:
    runs = LabelledScores(scores=np.array([1.0, 2.0, 2.0, 3.0]), member=np.array([True, True, False, False]))
    counts = confusion_at(runs, 1.0, "independent runs")
    assert (counts.true_positives, counts.in_trials, counts.false_positives, counts.out_trials) == (1, 2, 2, 2)


def test_a_fixed_threshold_is_the_plain_bound() -> None:
    runs = trials(np.random.default_rng(0), 1.5)
    plain = clopper_pearson_bound(
        GDP, confusion_at(runs, 0.5, "independent runs"), confidence=0.95, strategy="fixed: in above 0.5"
    )
    found = bound_trials(GDP, runs, FixedThreshold(threshold=0.5), confidence=0.95, trials="independent runs")
    assert found == plain


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("mu", [0.0, 1.0])
def test_claims_above_the_truth_are_rare(
    strategy: ThresholdStrategy, mu: float, most_allowed: Callable[[int, float], int]
) -> None:
    rng, promise = np.random.default_rng(int(10 * mu)), Gaussian(mu)
    false = 0
    for _ in range(80):
        runs = trials(rng, mu, 60)
        bound = bound_trials(GDP, runs, strategy, confidence=0.8, trials="independent runs", promise=promise)
        assert bound.p_value is not None
        false += bound.p_value <= 0.2
    assert false <= most_allowed(80, 0.2)


def test_the_best_threshold_without_correction_is_caught(most_allowed: Callable[[int, float], int]) -> None:
    rng, level, each = np.random.default_rng(0), 0.2, 2500
    thresholds = np.linspace(-2, 4, 150)
    false = 0
    for _ in range(150):
        outside, inside = np.sort(rng.normal(size=each)), np.sort(rng.normal(size=each) + 0.925)
        above = each - np.searchsorted(outside, thresholds, side="right")
        below = np.searchsorted(inside, thresholds, side="right")
        limits = [
            np.where(k == each, 1.0, betainccinv(k + 1, np.maximum(each - k, 1e-9), level / 2)) for k in (above, below)
        ]
        false += int(np.max(ndtri(1 - limits[0]) - ndtri(limits[1])) > 0.925)
    assert false > most_allowed(150, level)


def test_what_each_strategy_costs() -> None:
    # published means at epsilon 8 (mu 1.666), 500 trials a world: fixed 6.56, DKW 6.07, split 5.67, true 8
    rng = np.random.default_rng(1)
    means = np.zeros(4)
    strategies = (FixedThreshold(threshold=0.833), Dkw(), Split(), KFold(folds=4))
    for _ in range(12):
        runs = trials(rng, 1.666031, 500)
        means += np.array([epsilon(runs, strategy) for strategy in strategies]) / 12
    fixed, dkw, split, folds = means
    assert fixed == pytest.approx(6.5, abs=0.35)
    assert dkw == pytest.approx(6.07, abs=0.35)
    assert split == pytest.approx(5.67, abs=0.45)
    assert split - 0.2 < folds < 8


def test_the_p_value_is_where_the_bound_reaches_the_promise() -> None:
    runs = trials(np.random.default_rng(3), 1.2)
    for strategy in (FixedThreshold(threshold=0.5), Dkw(), GRID):
        promise = Gaussian(0.9)
        p_value = bound_trials(GDP, runs, strategy, confidence=0.95, trials="independent runs", promise=promise).p_value
        assert p_value is not None
        at_p = bound_trials(GDP, runs, strategy, confidence=1 - p_value, trials="independent runs")
        assert at_p.parameter == pytest.approx(0.9, abs=1e-5)


def test_a_bound_says_how_its_threshold_was_chosen() -> None:
    runs = trials(np.random.default_rng(3), 1.2)
    for strategy in STRATEGIES:
        bound = bound_trials(any_family(delta=1e-5), runs, strategy, confidence=0.95, trials="canaries of one run")
        assert bound.strategy == str(strategy)
        assert bound.guarantee == "under_independence"
        assert bound.method == ("dkw" if isinstance(strategy, Dkw) else "clopper-pearson")
        assert bound.counts.canaries[0] in (400, 200, 300)


def test_folds_are_all_rows_once() -> None:
    rows = LabelledScores(scores=np.arange(10.0), member=np.zeros(10, dtype=np.bool_))
    parts = KFold(folds=3).parts(rows)
    assert sorted(score for chosen, _ in parts for score in chosen.scores) == list(range(10))
    for chosen, tested in parts:
        assert not set(chosen.scores) & set(tested.scores)
        assert len(chosen) + len(tested) == 10


def test_both_worlds_are_needed() -> None:
    runs = LabelledScores(scores=np.arange(4.0), member=np.ones(4, dtype=np.bool_))
    with pytest.raises(InputError, match="member"):
        bound_trials(GDP, runs, Dkw(), confidence=0.95, trials="independent runs")


def test_impossible_strategies_are_refused() -> None:
    with pytest.raises(InputError, match="folds"):
        KFold(folds=1)
    with pytest.raises(InputError, match="choices"):
        Bonferroni[FixedThreshold](choices=())
    with pytest.raises(InputError, match="threshold"):
        FixedThreshold(threshold=float("nan"))
    with pytest.raises(InputError, match="guesses"):
        FixedGuesses(guesses_in=-1, guesses_out=2)


def test_epsilon_delta_needs_no_gaussian() -> None:
    runs = trials(np.random.default_rng(5), 2.0, 500)
    promise = EpsilonDelta(0.5, 1e-5)
    bound = bound_trials(
        any_family(delta=1e-5), runs, Split(seed=1), confidence=0.95, trials="independent runs", promise=promise
    )
    assert 1.0 < bound.epsilon < 4.0
    assert bound.p_value is not None
    assert bound.p_value < 1e-4


def tied(rng: np.random.Generator, each: int) -> LabelledScores:
    runs = trials(rng, rng.uniform(0, 3), each)
    return LabelledScores(scores=np.round(runs.scores, int(rng.integers(0, 4))), member=runs.member)


@pytest.mark.parametrize("seed", range(20))
def test_the_corners_refute_whatever_some_threshold_refutes(seed: int) -> None:
    labelled, family = tied(np.random.default_rng(seed), 150), GDP
    everywhere = [
        module._band(confusion_at(labelled, t, "independent runs"), 0.05) for t in np.unique(labelled.scores).tolist()
    ]
    slow = family.largest_refuted(lambda curve: any(curve.inverse_blow_up(1 - a) > b for a, b in everywhere))
    fast = bound_trials(family, labelled, Dkw(), confidence=0.95, trials="independent runs")
    assert fast.epsilon == slow.epsilon


def bound_at(family: Family[Any], counts: Confusion, scale: float, level: float) -> float:
    """Return what one threshold is worth, if the same rates were seen among `scale` times as many rows."""

    def limit(errors: int, trials: int) -> float:
        more, all_trials = scale * errors, scale * trials
        return 1.0 if more >= all_trials else float(betainccinv(more + 1, all_trials - more, level / 2))

    a, b = limit(counts.false_positives, counts.out_trials), limit(counts.false_negatives, counts.in_trials)
    if family.hypothesis == "gaussian":
        return float(ndtri(1 - a) - ndtri(b))
    if max(a, b) >= 1 - family.delta:
        return -math.inf
    return max(math.log((1 - b - family.delta) / a), math.log((1 - a - family.delta) / b))


@pytest.mark.parametrize("family", [GDP, any_family(delta=0.0), any_family(delta=0.3)], ids=["gdp", "pure", "any"])
@pytest.mark.parametrize("seed", range(6))
def test_the_threshold_chosen_is_the_best_of_a_loop(family: Family[Any], seed: int) -> None:
    part = tied(np.random.default_rng(seed), 100)
    for tested, level in ((200, 0.05), (50, 0.2), (800, 0.01)):
        counts = {t: confusion_at(part, t, "independent runs") for t in np.unique(part.scores).tolist()}
        slow = {t: bound_at(family, found, tested / 200, level) for t, found in counts.items()}
        chosen = module._best_threshold(part, tested, family, level)
        assert chosen == max(slow, key=lambda t: slow[t])  # the first of the largest
