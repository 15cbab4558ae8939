"""Steinke, Nasr, Jagielski: published numbers, a naive twin, and the false-claim rate on known mechanisms."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from dpaudit.bounds.family import any_family
from dpaudit.bounds.guesses import Guesses, guess
from dpaudit.bounds.max_p import PlannedTest, max_p_bound
from dpaudit.bounds.one_run import Steinke
from dpaudit.bounds.tradeoff import EpsilonDelta

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from dpaudit.scores import LabelledScores

TEST = Steinke()


def epsilon(canaries: int, guesses: int, correct: int, *, delta: float, confidence: float = 0.95) -> float:
    planned = PlannedTest(test=TEST, family=any_family(delta=delta), confidence=confidence)
    return max_p_bound(
        planned, [Guesses(canaries=canaries, guesses=guesses, correct=correct)], strategy="fixed"
    ).epsilon


def naive_p_value(curve: EpsilonDelta, run: Guesses) -> float:
    """The formula of Theorem 5.2, written out."""
    q = 1 / (1 + math.exp(-curve.epsilon))
    r, v = run.guesses, run.correct
    chances = [math.comb(r, k) * q**k * (1 - q) ** (r - k) for k in range(r + 1)]
    beta = sum(chances[v:])
    alpha = max((sum(chances[v - i : v]) / i for i in range(1, v + 1)), default=0.0)
    return min(1.0, beta + 2 * run.canaries * curve.delta * alpha)


@pytest.mark.parametrize(
    ("canaries", "guesses", "correct", "eps", "delta", "p_value"),
    [
        (100, 100, 90, 1.0, 0.0, 2.73581e-05),
        (1000, 100, 90, 1.0, 1e-3, 0.0814204),
        (1000, 1000, 600, 0.25, 1e-5, 0.00882671),
        (1000, 10, 10, 1.0, 1e-6, 0.04406119),
        (10, 10, 9, 0.5, 0.1, 0.47937412),
    ],
)
def test_published_p_values(
    canaries: int, guesses: int, correct: int, eps: float, delta: float, p_value: float
) -> None:
    run = Guesses(canaries=canaries, guesses=guesses, correct=correct)
    assert TEST.p_value(EpsilonDelta(eps, delta), run) == pytest.approx(p_value, rel=2e-6)


@pytest.mark.parametrize("correct", [0, 1, 7, 19, 20])
@pytest.mark.parametrize(("eps", "delta"), [(0.0, 0.0), (0.3, 1e-3), (2.0, 1e-2), (6.0, 0.0)])
def test_equals_the_naive_twin(correct: int, eps: float, delta: float) -> None:
    run, curve = Guesses(canaries=30, guesses=20, correct=correct), EpsilonDelta(eps, delta)
    assert TEST.p_value(curve, run) == pytest.approx(naive_p_value(curve, run), rel=1e-9)


@pytest.mark.parametrize(
    ("guesses", "correct", "delta", "eps"),
    [
        (1000, 600, 0.0, 0.29747),
        (1000, 600, 1e-5, 0.29723),
        (100, 90, 0.0, 1.63082),
        (100, 90, 1e-5, 1.62614),
        (100, 100, 0.0, 3.49297),
        (100, 100, 1e-5, 3.46538),
    ],
)
def test_published_bounds(guesses: int, correct: int, delta: float, eps: float) -> None:
    assert epsilon(1000, guesses, correct, delta=delta) == pytest.approx(eps, abs=1e-4)


@pytest.mark.parametrize(
    ("right", "wrong", "thresholds", "eps"),
    [(2807, 569, 386, 1.13346), (4499, 167, 374, 2.311945), (8223, 10, 140, 4.395568)],
)
def test_bounds_of_jax_privacy(right: int, wrong: int, thresholds: int, eps: float) -> None:
    # 10 000 scores a side at the quantiles of two Gaussians 1, 2, 4 apart; its correction divides by the hull's points.
    found = epsilon(20_000, right + wrong, right, delta=1e-6, confidence=1 - 0.05 / thresholds)
    assert found == pytest.approx(eps, abs=5e-6)


@pytest.mark.parametrize(
    ("canaries", "delta", "eps"),
    [(100, 1e-5, 3.490), (1000, 1e-5, 5.782), (10_000, 1e-5, 7.834), (1000, 0.0, 5.809), (100_000, 0.0, 10.416)],
)
def test_caps_of_a_perfect_attack(canaries: int, delta: float, eps: float) -> None:
    assert epsilon(canaries, canaries, canaries, delta=delta) == pytest.approx(eps, abs=1e-3)


@pytest.mark.parametrize(
    ("canaries", "guesses", "correct", "eps"),
    [
        (1000, 150, 94, 0.227),
        (10_000, 350, 231, 0.465),
        (100_000, 1000, 686, 0.633),
        (100, 50, 33, 0.139),
        (1000, 150, 109, 0.663),
        (10_000, 250, 198, 1.060),
        (100_000, 700, 577, 1.296),
        (100, 25, 21, 0.709),
        (1000, 50, 46, 1.550),
        (10_000, 150, 141, 2.121),
        (100_000, 1500, 1409, 2.462),
        (100, 35, 33, 1.590),
        (1000, 150, 147, 2.917),
        (10_000, 350, 348, 3.881),
        (100_000, 5000, 4954, 4.224),
    ],
)
def test_tight_at_the_expected_counts_of_an_ideal_gaussian(
    canaries: int, guesses: int, correct: int, eps: float
) -> None:
    assert epsilon(canaries, guesses, correct, delta=1e-5) == pytest.approx(eps, rel=0.005, abs=0.001)


def test_p_value_grows_with_epsilon_and_delta_and_falls_with_right_guesses() -> None:
    for canaries, guesses in ((60, 60), (1000, 40)):
        for delta in (0.0, 1e-4, 1e-2):
            p = np.array(
                [
                    [
                        TEST.p_value(EpsilonDelta(eps, delta), Guesses(canaries=canaries, guesses=guesses, correct=v))
                        for eps in np.linspace(0, 4, 41)
                    ]
                    for v in range(guesses // 2, guesses + 1)
                ]
            )
            telling = p[:, :-1] < 0.5
            assert (np.diff(p, axis=1)[telling] >= -1e-12).all()
            assert (np.diff(p, axis=0)[p[1:] < 0.5] <= 1e-12).all()


@pytest.mark.parametrize("guesses", [10, 100, 1000])
@pytest.mark.parametrize("level", [0.01, 0.05, 0.3])
def test_null_claims_at_most_alpha(
    guesses: int,
    level: float,
    binomial: Callable[[int, float], NDArray[np.float64]],
    chance_of_refuting: Callable[..., float],
) -> None:
    law = binomial(guesses, 0.5)
    chance = chance_of_refuting(law, 1000, lambda run: TEST.refutes(EpsilonDelta(0.0, 0.0), run, level))
    assert 0 < chance <= level


@pytest.mark.parametrize("eps", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("canaries", [20, 300, 5000])
def test_coverage_on_randomised_response_is_exact(
    eps: float,
    canaries: int,
    binomial: Callable[[int, float], NDArray[np.float64]],
    chance_of_refuting: Callable[..., float],
) -> None:
    law = binomial(canaries, 1 / (1 + math.exp(-eps)))
    truth = chance_of_refuting(law, canaries, lambda run: TEST.refutes(EpsilonDelta(eps, 0.0), run, 0.05))
    assert truth <= 0.05
    if canaries == 5000:
        assert truth > 0.04, "randomised response is the worst case, so the test is not slack there"
        wrong = chance_of_refuting(law, canaries, lambda run: TEST.refutes(EpsilonDelta(0.9 * eps, 0.0), run, 0.05))
        assert wrong > 0.3, "a truth that is understated by a tenth is found out"


def test_name_and_shame_needs_the_term_with_delta(
    binomial: Callable[[int, float], NDArray[np.float64]],
) -> None:
    # Each of 1000 bits is published with chance 0.01: (0, 0.01)-DP. All published ones are guessed, rightly.
    canaries, delta = 1000, 0.01
    published = binomial(canaries, delta)
    runs = [Guesses(canaries=canaries, guesses=count, correct=count) for count in range(canaries + 1)]
    honest = np.array([TEST.refutes(EpsilonDelta(0.0, delta), run, 0.05) for run in runs])
    forgetful = np.array([TEST.refutes(EpsilonDelta(0.0, 0.0), run, 0.05) for run in runs])
    only_guesses = np.array(
        [
            naive_p_value(
                EpsilonDelta(0.0, delta),
                Guesses(canaries=max(run.guesses, 1), guesses=run.guesses, correct=run.correct),
            )
            <= 0.05
            for run in runs[:60]
        ]
    )
    assert published[honest].sum() <= 0.05
    assert published[forgetful].sum() > 0.9, "without delta the mechanism is slandered"
    assert published[:60][only_guesses].sum() > 0.05, "delta must be paid for every canary, not for the guesses alone"


def test_pure_noise_2000_audits(
    gaussian_run: Callable[[np.random.Generator, int, float], LabelledScores], most_allowed: Callable[[int, float], int]
) -> None:
    rng = np.random.default_rng(20)
    claims, peeking_claims = 0, 0
    designs = [(k, k) for k in (5, 20, 80)] + [(k, 0) for k in (5, 20, 80)]
    pure_noise = EpsilonDelta(0.0, 0.0)
    refuted = {
        (r, v): TEST.refutes(pure_noise, Guesses(canaries=200, guesses=r, correct=v), 0.05)
        for r in (5, 10, 20, 40, 80, 160)
        for v in range(r + 1)
    }
    for _ in range(2000):
        run = gaussian_run(rng, 200, 0.0)
        guessed = [guess(run, guesses_in=inside, guesses_out=outside) for inside, outside in designs]
        found = [refuted[one.guesses, one.correct] for one in guessed]
        claims += found[1]
        peeking_claims += any(found)
    assert claims <= most_allowed(2000, 0.05)
    assert peeking_claims > most_allowed(2000, 0.05), "choosing the best of six designs on the same coins is caught"
