"""Every certified bound on every mechanism: how often is the truth refuted? And do audits reach the published numbers?

The fast versions run by default; `-m slow` repeats them with enough audits to see one or two per cent too many.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pytest

from dpaudit.bounds.auc import auc_p_value, pairwise_auc
from dpaudit.bounds.betting import BettingTest
from dpaudit.bounds.clopper_pearson import Confusion, refutes_by_rates
from dpaudit.bounds.family import any_family, gaussian_family
from dpaudit.bounds.gdp import gdp_epsilon
from dpaudit.bounds.guesses import Guesses, guess
from dpaudit.bounds.max_p import PlannedTest, max_p_bound
from dpaudit.bounds.one_run import Steinke
from dpaudit.bounds.one_run_fdp import FdpRecursion
from dpaudit.bounds.strategies import Dkw, KFold, Split
from dpaudit.bounds.tradeoff import EpsilonDelta, Gaussian
from dpaudit.bounds.trials import bound_trials, confusion_at
from dpaudit.scores import LabelledScores

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Draw = Callable[[np.random.Generator, NDArray[np.bool_]], NDArray[np.float64]]

LEVEL = 0.2
CANARIES = 120


@dataclass(frozen=True)
class Known:
    """A mechanism: the scores it shows, and an (epsilon, delta) that it keeps and no smaller epsilon at that delta."""

    name: str
    draw: Draw
    truth: EpsilonDelta


def gaussian_scores(rng: np.random.Generator, member: NDArray[np.bool_]) -> NDArray[np.float64]:
    return np.asarray(rng.normal(size=len(member)) + member, dtype=np.float64)


def laplace_scores(rng: np.random.Generator, member: NDArray[np.bool_]) -> NDArray[np.float64]:
    return np.asarray(rng.laplace(size=len(member)) + 1.5 * member, dtype=np.float64)  # scale 1, sensitivity 1.5


def randomised_response(rng: np.random.Generator, member: NDArray[np.bool_]) -> NDArray[np.float64]:
    truthful = rng.random(len(member)) < 1 / (1 + math.exp(-1.0))
    return np.asarray(member == truthful, dtype=np.float64)


def subsampled_gaussian(rng: np.random.Generator, member: NDArray[np.bool_]) -> NDArray[np.float64]:
    present = member & (rng.random(len(member)) < 0.5)
    return np.asarray(rng.normal(size=len(member)) + present, dtype=np.float64)


def counter_example(rng: np.random.Generator, member: NDArray[np.bool_]) -> NDArray[np.float64]:
    """With chance 0.1 all bits pass randomised response at accuracy 0.9032584, else nothing is shown: exactly 1-GDP."""
    truthful = rng.random(len(member)) < (0.9032584 if rng.random() < 0.1 else 0.5)
    return np.asarray(member == truthful, dtype=np.float64)


def name_and_shame(rng: np.random.Generator, member: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Each bit is published with chance 0.002, else nothing."""
    return np.where(rng.random(len(member)) < 0.002, 2.0 * member - 1, 0.0)


def subsampled_gaussian_delta(epsilon: float, rate: float = 0.5, noise: float = 1.0) -> float:
    """Return the larger hockey-stick divergence of N(0, s^2) and (1 - q) N(0, s^2) + q N(1, s^2), over a grid."""
    y = np.linspace(-8, 9, 200_001)
    out = np.exp(-((y / noise) ** 2) / 2)
    mixed = (1 - rate) * out + rate * np.exp(-(((y - 1) / noise) ** 2) / 2)
    out, mixed = out / out.sum(), mixed / mixed.sum()
    e = math.exp(epsilon)
    return float(max(np.maximum(0, mixed - e * out).sum(), np.maximum(0, out - e * mixed).sum()))


def gdp_at(mu: float, delta: float) -> EpsilonDelta:
    return EpsilonDelta(gdp_epsilon(mu, delta), delta)


MECHANISMS = [
    Known("gaussian", gaussian_scores, gdp_at(1.0, 1e-3)),
    Known("laplace", laplace_scores, EpsilonDelta(1.5, 0.0)),
    Known("randomised response", randomised_response, EpsilonDelta(1.0, 0.0)),
    Known("subsampled gaussian", subsampled_gaussian, EpsilonDelta(2.0, subsampled_gaussian_delta(2.0))),
    Known("counter-example", counter_example, gdp_at(1.0, 1e-3)),
    Known("name and shame", name_and_shame, EpsilonDelta(0.0, 0.002)),
]


def one_run(known: Known, rng: np.random.Generator, canaries: int = CANARIES) -> LabelledScores:
    member = rng.random(canaries) < 0.5
    return LabelledScores(scores=known.draw(rng, member), member=member)


def two_worlds(known: Known, rng: np.random.Generator, trials: int = 60) -> LabelledScores:
    """Every trial is a run of its own."""
    member = np.arange(trials) < trials // 2
    scores = [known.draw(rng, member[i : i + 1])[0] for i in range(trials)]
    return LabelledScores(scores=np.array(scores), member=member)


def by_steinke(known: Known, rng: np.random.Generator) -> bool:
    run = guess(one_run(known, rng), guesses_in=20, guesses_out=20)
    return Steinke().refutes(known.truth, run, LEVEL)


def by_recursion(known: Known, rng: np.random.Generator) -> bool:
    run = guess(one_run(known, rng), guesses_in=30, guesses_out=10)
    return FdpRecursion().refutes(known.truth, run, LEVEL)


def by_two_runs(known: Known, rng: np.random.Generator) -> bool:
    runs = [guess(one_run(known, rng), guesses_in=15, guesses_out=15) for _ in range(2)]
    return all(FdpRecursion().refutes(known.truth, run, math.sqrt(LEVEL)) for run in runs)


def by_betting(known: Known, rng: np.random.Generator) -> bool:
    run = one_run(known, rng)
    test = BettingTest(promise=known.truth, canaries=CANARIES)
    for row in np.argsort(-np.abs(run.scores - np.median(run.scores)), kind="stable").tolist():
        test.update(right=bool(run.member[row] == (run.scores[row] > np.median(run.scores))))
    return test.p_value <= LEVEL


def by_rates(known: Known, rng: np.random.Generator) -> bool:
    return refutes_by_rates(known.truth, confusion_at(two_worlds(known, rng), 0.5, "independent runs"), LEVEL)


def by_area(known: Known, rng: np.random.Generator) -> bool:
    return auc_p_value(known.truth, pairwise_auc(two_worlds(known, rng)), 30) <= LEVEL


def by_strategy(strategy: Dkw | Split | KFold) -> Callable[[Known, np.random.Generator], bool]:
    def refutes(known: Known, rng: np.random.Generator) -> bool:
        family = any_family(delta=known.truth.delta)
        runs = two_worlds(known, rng)
        bound = bound_trials(family, runs, strategy, confidence=1 - LEVEL, trials="independent runs")
        return bound.epsilon > known.truth.epsilon

    return refutes


CERTIFIED = {
    "one-run": by_steinke,
    "one-run-fdp": by_recursion,
    "max-p": by_two_runs,
    "betting": by_betting,
    "clopper-pearson": by_rates,
    "auc-kl": by_area,
    "dkw": by_strategy(Dkw()),
    "split": by_strategy(Split()),
    "folds": by_strategy(KFold(folds=3)),
}


def check(method: str, known: Known, audits: int, most_allowed: Callable[[int, float], int]) -> None:
    rng = np.random.default_rng([audits, len(method), len(known.name)])
    false = sum(CERTIFIED[method](known, rng) for _ in range(audits))
    assert false <= most_allowed(audits, LEVEL), f"{false} of {audits}"


@pytest.mark.parametrize("known", MECHANISMS, ids=lambda known: known.name)
@pytest.mark.parametrize("method", CERTIFIED)
def test_the_truth_is_rarely_refuted(method: str, known: Known, most_allowed: Callable[[int, float], int]) -> None:
    check(method, known, 40, most_allowed)


@pytest.mark.slow
@pytest.mark.parametrize("known", MECHANISMS, ids=lambda known: known.name)
@pytest.mark.parametrize("method", CERTIFIED)
def test_the_truth_is_rarely_refuted_in_many_audits(
    method: str, known: Known, most_allowed: Callable[[int, float], int]
) -> None:
    check(method, known, 2000, most_allowed)


@pytest.mark.parametrize("known", MECHANISMS[:4], ids=lambda known: known.name)
def test_nobody_hides_behind_a_loose_truth(known: Known) -> None:
    rng, rows = np.random.default_rng(0), 400_000
    member = np.arange(rows) < rows // 2
    scores = known.draw(rng, member)
    shown = 0.0
    for threshold in np.quantile(scores, [0.5, 0.8, 0.9, 0.97, 0.99]).tolist():
        rates = [(scores[world] >= threshold).mean() for world in (member, ~member)]
        if rates[1] > 0:
            shown = max(shown, math.log((rates[0] - known.truth.delta) / rates[1]))
    assert 0.8 * known.truth.epsilon < shown < 1.1 * known.truth.epsilon


def test_canaries_counted_as_runs_over_claim_on_the_counter_example() -> None:
    # When it leaks, all canaries leak together: 0.1 of audits are all but certain to accuse it, whatever the level.
    rng, accused = np.random.default_rng(1), 0
    leaking = Known(
        "leak", lambda r, member: (member == (r.random(len(member)) < 0.9032584)).astype(float), gdp_at(1, 1e-3)
    )
    for _ in range(50):
        run = one_run(leaking, rng, 1000)
        counts = confusion_at(run, 0.5, "canaries of one run")
        accused += refutes_by_rates(Gaussian(1.0), counts, 1e-6)
        assert counts.guarantee == "under_independence"
        honest = guess(run, guesses_in=500, guesses_out=500)
        assert not FdpRecursion().refutes(Gaussian(1.0), honest, 0.05)
    assert accused == 50


def test_the_gaussian_hypothesis_over_claims_on_randomised_response() -> None:
    # 5000 runs a world of randomised response at epsilon 2; the Gaussian with that epsilon has mu 0.5016
    q = 1 / (1 + math.exp(-2.0))
    counts = Confusion(
        true_positives=round(5000 * q), in_trials=5000, false_positives=round(5000 * (1 - q)), out_trials=5000
    )
    assert refutes_by_rates(Gaussian(0.501552), counts, 1e-6)
    assert not refutes_by_rates(EpsilonDelta(2.0, 1e-5), counts, 0.05)


@pytest.mark.parametrize(
    ("mu", "canaries", "guesses", "published", "share"),
    [
        (0.268051, 10_000, 1000, 0.599, 0.85),
        (0.501552, 10_000, 350, 1.323, 0.93),
        (0.924931, 1000, 100, 2.324, 0.93),
        (1.666031, 1000, 150, 4.734, 0.93),
    ],
)
def test_the_median_audit_reaches_the_bound_at_the_expected_counts(
    mu: float, canaries: int, guesses: int, published: float, share: float
) -> None:
    rng = np.random.default_rng(11)
    planned = PlannedTest(test=FdpRecursion(), family=gaussian_family(delta=1e-5), confidence=0.95)
    side = guesses // 2
    right = []
    for _ in range(200):
        member = rng.random(canaries) < 0.5
        scores = rng.normal(size=canaries) + mu * member
        order = np.argpartition(scores, (side - 1, canaries - side))
        right.append(int((~member[order[:side]]).sum() + member[order[-side:]].sum()))
    median = Guesses(canaries=canaries, guesses=2 * side, correct=int(np.median(right)))
    assert max_p_bound(planned, [median], strategy="fixed").epsilon >= share * published
