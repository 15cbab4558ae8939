"""R runs: published medians, the false-claim rate, and rules that look right and are not."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import bdtr

from dpaudit.bounds.family import any_family, gaussian_family
from dpaudit.bounds.guesses import Guesses
from dpaudit.bounds.max_p import PlannedTest, max_p_bound, max_p_value
from dpaudit.bounds.one_run import Steinke
from dpaudit.bounds.one_run_fdp import FdpRecursion
from dpaudit.bounds.tradeoff import EpsilonDelta, Gaussian
from dpaudit.errors import InputError

GDP = PlannedTest(test=FdpRecursion(), family=gaussian_family(delta=1e-5), confidence=0.95)


def ideal_runs(mu: float, canaries: int, guesses: int, runs: int) -> list[Guesses]:
    """`runs` copies of the median worst run of an ideal Gaussian, guessing the surest."""
    z = np.linspace(-12, 12, 20_001)
    density = (np.exp(-((z - mu / 2) ** 2) / 2) + np.exp(-((z + mu / 2) ** 2) / 2)) / 2
    order = np.argsort(-np.abs(z))
    mass = np.cumsum(density[order]) / density.sum()
    right = np.cumsum((density / (1 + np.exp(-mu * np.abs(z))))[order]) / density.sum()
    accuracy = np.interp(guesses / canaries, mass, right) * canaries / guesses
    counts = np.arange(guesses + 1)
    median = int(np.argmax(bdtr(counts, guesses, accuracy) >= 1 - 0.5 ** (1 / runs)))
    return [Guesses(canaries=canaries, guesses=guesses, correct=median)] * runs


@pytest.mark.parametrize(
    ("mu", "canaries", "medians"),
    [
        (0.268051, 10_000, {1: 0.596, 2: 0.688, 4: 0.742, 8: 0.769, 16: 0.781}),
        (0.501552, 1000, {1: 1.002, 2: 1.196, 4: 1.286, 8: 1.356, 16: 1.356}),
        (0.924931, 10_000, {1: 2.755, 2: 3.128, 4: 3.334, 8: 3.462, 16: 3.557}),
        (1.666031, 1000, {1: 4.731, 2: 5.549, 4: 6.027, 8: 6.405, 16: 6.626}),
    ],
)
def test_published_medians(mu: float, canaries: int, medians: dict[int, float]) -> None:
    # The best of the numbers of guesses that the table tried; a finer grid finds a little more.
    for runs, published in medians.items():
        found = max(
            max_p_bound(GDP, ideal_runs(mu, canaries, guesses, runs), strategy="fixed").epsilon
            for guesses in (100, 150, 250, 350, 500, 700, 1000, 1500, 2500)
            if guesses <= canaries
        )
        assert found == pytest.approx(published, rel=0.006), runs


def test_one_run_is_the_plain_test() -> None:
    run = Guesses(canaries=1000, guesses=100, correct=90)
    assert max_p_value(FdpRecursion(), Gaussian(0.5), [run]) == FdpRecursion().p_value(Gaussian(0.5), run)


def test_the_bound_is_where_the_p_value_reaches_alpha() -> None:
    runs = [Guesses(canaries=500, guesses=100, correct=correct) for correct in (80, 77, 85)]
    parameter = max_p_bound(GDP, runs, strategy="fixed").parameter
    assert parameter is not None
    assert max_p_value(FdpRecursion(), Gaussian(parameter), runs) == pytest.approx(0.05, rel=1e-4)


def test_a_bound_says_what_it_is() -> None:
    run = Guesses(canaries=500, guesses=100, correct=80, guesses_in=60, guesses_out=40)
    promise = EpsilonDelta(1.0, 1e-5)
    planned = PlannedTest(test=Steinke(), family=any_family(delta=1e-5), confidence=0.99, promise=promise)
    bound = max_p_bound(planned, [run, run], strategy="fixed: 60 in, 40 out")
    assert (bound.method, bound.hypothesis, bound.guarantee) == ("one-run", "any", "certified")
    assert (bound.confidence, bound.delta, bound.strategy) == (0.99, 1e-5, "fixed: 60 in, 40 out")
    assert bound.counts.guesses_in == (60, 60)
    assert bound.p_value == Steinke().p_value(promise, run) ** 2


def test_false_claims_of_three_runs_and_of_rules_that_are_wrong() -> None:
    # Randomised response at epsilon 1 is the worst case of Steinke's test, so its p-values are nearly uniform.
    rng = np.random.default_rng(3)
    guesses, truth = 2000, EpsilonDelta(1.0, 0.0)
    correct = rng.binomial(guesses, 1 / (1 + np.exp(-1.0)), size=(4000, 3))
    p_of = {
        v: Steinke().p_value(truth, Guesses(canaries=guesses, guesses=guesses, correct=v))
        for v in np.unique(correct).tolist()
    }
    p = np.vectorize(p_of.__getitem__)(correct)
    assert 0.15 < (p.max(axis=1) ** 3 <= 0.2).mean() <= 0.2 + 0.02
    assert (p.min(axis=1) ** 3 <= 0.2).mean() > 0.8, "one lucky run of three is no refutation"
    assert (p.min(axis=1) <= 0.2).mean() > 0.4, "nor is the best of three at the plain level"


def test_missing_runs_and_wrong_confidences_are_refused() -> None:
    with pytest.raises(InputError, match="runs"):
        max_p_bound(GDP, [], strategy="fixed")
    for confidence in (0.0, 1.0, 95.0):
        with pytest.raises(InputError, match="confidence"):
            PlannedTest(test=FdpRecursion(), family=gaussian_family(delta=1e-5), confidence=confidence)
