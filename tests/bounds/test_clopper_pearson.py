"""Clopper-Pearson against a curve: published numbers, the closed form, and exact coverage."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.special import bdtr, ndtr, ndtri

from dpaudit.bounds.clopper_pearson import (
    Confusion,
    clopper_pearson_bound,
    refutes_by_rates,
    upper_rate,
)
from dpaudit.bounds.family import any_family, gaussian_family
from dpaudit.bounds.tradeoff import EpsilonDelta, Gaussian, TradeOff
from dpaudit.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


def confusion(true_positives: int, false_positives: int, trials: int = 500) -> Confusion:
    return Confusion(
        true_positives=true_positives, in_trials=trials, false_positives=false_positives, out_trials=trials
    )


def epsilon(counts: Confusion, *, delta: float, confidence: float) -> float:
    return clopper_pearson_bound(any_family(delta=delta), counts, confidence=confidence, strategy="fixed").epsilon


def test_numbers_of_the_2020_audit() -> None:
    assert epsilon(confusion(500, 0), delta=0.0, confidence=0.99) == pytest.approx(4.541915810224092, abs=1e-6)
    assert 1 - upper_rate(0, 500, 0.005) == pytest.approx(0.9894593118113243, abs=1e-12)
    assert epsilon(confusion(500, 500), delta=0.0, confidence=0.99) == 0.0


def test_two_copies_of_a_poisoned_record_halve_pure_epsilon() -> None:
    # group privacy: (epsilon, 0)-DP for one record is (2 epsilon, 0)-DP for two
    assert epsilon(confusion(500, 0), delta=0.0, confidence=0.99) / 2 == pytest.approx(2.27095790511, abs=1e-6)


@pytest.mark.parametrize(
    ("runs", "eps"), [(100, 2.57), (200, 3.28), (500, 4.21), (1000, 4.91), (2000, 5.60), (5000, 6.52), (10_000, 7.21)]
)
def test_caps_of_a_perfect_attack(runs: int, eps: float) -> None:
    assert epsilon(confusion(runs // 2, 0, runs // 2), delta=1e-5, confidence=0.95) == pytest.approx(eps, abs=0.006)


@pytest.mark.parametrize(("runs", "mu"), [(100, 2.94), (1000, 4.88)])
def test_caps_of_a_perfect_attack_on_a_gaussian(runs: int, mu: float) -> None:
    bound = clopper_pearson_bound(
        gaussian_family(delta=1e-5), confusion(runs // 2, 0, runs // 2), confidence=0.95, strategy="fixed"
    )
    assert bound.parameter == pytest.approx(mu, abs=0.006)


@pytest.mark.parametrize(
    ("eps", "trials", "plain", "gaussian"),
    [
        (2, 500, 0.352, 1.047),
        (2, 5000, 0.808, 1.689),
        (4, 50, 0.184, 0.646),
        (4, 500, 1.049, 2.893),
        (4, 2500, 1.588, 3.495),
        (8, 500, 2.328, 6.577),
        (8, 5000, 3.472, 7.542),
    ],
)
def test_tight_at_the_best_threshold_of_an_ideal_gaussian(
    eps: float, trials: int, plain: float, gaussian: float
) -> None:
    mu = {2: 0.501552, 4: 0.924931, 8: 1.666031}[int(eps)]
    best = {"any": 0.0, "gaussian": 0.0}
    for threshold in np.linspace(-4, 5, 181):
        counts = confusion(round(trials * ndtr(mu - threshold)), round(trials * ndtr(-threshold)), trials)
        for family in (any_family(delta=1e-5), gaussian_family(delta=1e-5)):
            bound = clopper_pearson_bound(family, counts, confidence=0.95, strategy="fixed")
            best[family.hypothesis] = max(best[family.hypothesis], bound.epsilon)
    # published at expected counts, here at rounded ones
    assert best["any"] == pytest.approx(plain, rel=0.03, abs=0.02)
    assert best["gaussian"] == pytest.approx(gaussian, rel=0.03, abs=0.02)


@pytest.mark.parametrize(("tp", "fp"), [(480, 20), (500, 0), (300, 250), (20, 0), (500, 490), (100, 400)])
@pytest.mark.parametrize("delta", [0.0, 1e-3])
def test_equals_the_closed_forms(tp: int, fp: int, delta: float) -> None:
    counts = confusion(tp, fp)
    f, n = upper_rate(fp, 500, 0.025), upper_rate(500 - tp, 500, 0.025)
    closed = max(0.0, math.log(max((1 - n - delta) / f, 1e-9)), math.log(max((1 - f - delta) / n, 1e-9)))
    assert epsilon(counts, delta=delta, confidence=0.95) == pytest.approx(closed, abs=1e-6)
    bound = clopper_pearson_bound(gaussian_family(delta=1e-5), counts, confidence=0.95, strategy="fixed")
    assert (bound.parameter or 0.0) == pytest.approx(max(0.0, ndtri(1 - f) - ndtri(n)), abs=1e-6)


@pytest.mark.parametrize("trials", [1, 7, 40])
@pytest.mark.parametrize("level", [0.01, 0.3])
def test_limits_err_with_chance_at_most_the_level(trials: int, level: float) -> None:
    counts = np.arange(trials + 1)
    for rate in np.linspace(0, 1, 101).tolist():
        law = np.diff(bdtr(counts, trials, rate), prepend=0.0)
        above = np.array([upper_rate(k, trials, level) < rate for k in counts.tolist()])
        assert law[above].sum() <= level + 1e-12


@pytest.mark.parametrize(
    ("curve", "tpr", "fpr"),
    [
        (EpsilonDelta(0.0, 0.0), 0.3, 0.3),
        (EpsilonDelta(1.0, 0.0), math.e / (1 + math.e), 1 / (1 + math.e)),
        (EpsilonDelta(1.0, 0.1), 0.1 + math.e * 0.05, 0.05),
        (Gaussian(1.0), float(ndtr(0.5)), float(ndtr(-0.5))),
        (Gaussian(1.0), float(ndtr(-1.0)), float(ndtr(-2.0))),
    ],
    ids=repr,
)
def test_coverage_is_exact_at_the_edge_of_the_hypothesis(
    curve: TradeOff, tpr: float, fpr: float, binomial: Callable[[int, float], NDArray[np.float64]]
) -> None:
    trials, level = 60, 0.1
    law = np.outer(binomial(trials, tpr), binomial(trials, fpr))
    refuted = [[refutes_by_rates(curve, confusion(t, f, trials), level) for f in range(61)] for t in range(61)]
    assert law[np.array(refuted)].sum() <= level
    halved = [[refutes_by_rates(curve, confusion(t, f, trials), 12 * level) for f in range(61)] for t in range(61)]
    assert law[np.array(halved)].sum() > level, "limits that are too tight are found out"


def test_the_p_value_is_where_the_bound_reaches_the_promise() -> None:
    counts, promise = confusion(300, 100), EpsilonDelta(0.7, 1e-5)
    bound = clopper_pearson_bound(any_family(delta=1e-5), counts, confidence=0.95, strategy="fixed", promise=promise)
    assert bound.p_value is not None
    assert epsilon(counts, delta=1e-5, confidence=1 - bound.p_value) == pytest.approx(0.7, abs=1e-5)


def test_canaries_of_one_run_are_not_certified() -> None:
    counts = Confusion(
        true_positives=400, in_trials=500, false_positives=100, out_trials=500, trials="canaries of one run"
    )
    family = any_family(delta=1e-5)
    assert clopper_pearson_bound(family, counts, confidence=0.95, strategy="fixed").guarantee == "under_independence"
    assert clopper_pearson_bound(family, confusion(400, 100), confidence=0.95, strategy="").guarantee == "certified"


def test_counts_in_the_report() -> None:
    counts = confusion(400, 90).counts()
    assert (counts.canaries, counts.guesses, counts.correct) == ((1000,), (1000,), (810,))
    assert (counts.guesses_in, counts.guesses_out) == ((490,), (510,))


@pytest.mark.parametrize(("tp", "fp", "trials"), [(501, 0, 500), (-1, 0, 500), (0, 501, 500), (0, 0, 0)])
def test_impossible_counts_are_refused(tp: int, fp: int, trials: int) -> None:
    with pytest.raises(InputError):
        confusion(tp, fp, trials)
