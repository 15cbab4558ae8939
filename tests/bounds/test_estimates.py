"""Ratios of proportions and the Bayesian interval: published numbers, and why they are called estimates."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from dpaudit.bounds.clopper_pearson import Confusion
from dpaudit.bounds.joint_beta import credible_interval, joint_beta_estimate, posterior_chance
from dpaudit.bounds.ratio import Limit, adjusted_log, bailey, inverse_sinh, katz_log, ratio_estimate
from dpaudit.bounds.tradeoff import EpsilonDelta
from dpaudit.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

TYPICAL = Confusion(true_positives=473, in_trials=984, false_positives=755, out_trials=1705)
PERFECT = Confusion(true_positives=500, in_trials=500, false_positives=0, out_trials=500)
LIMITS: list[Limit] = [katz_log, adjusted_log, bailey, inverse_sinh]


@pytest.mark.parametrize(
    ("limit", "typical", "perfect"),
    [
        (katz_log, 1.01166194, 37.31696140),
        (adjusted_log, 1.01189079, 37.35421695),
        (bailey, 1.01148934, 108.47420518),
        (inverse_sinh, 1.01167669, 35.46128691),
    ],
)
def test_numbers_of_tensorflow_privacy(limit: Limit, typical: float, perfect: float) -> None:
    assert limit(TYPICAL, 0.05) == pytest.approx(typical, abs=1e-8)
    assert limit(PERFECT, 0.01) == pytest.approx(perfect, abs=1e-7)


@pytest.mark.parametrize("limit", LIMITS)
def test_corners_have_an_answer(limit: Limit) -> None:
    for tp, fp in ((0, 0), (0, 10), (10, 10), (10, 0), (1, 1), (5, 0)):
        counts = Confusion(true_positives=tp, in_trials=10, false_positives=fp, out_trials=10)
        value = limit(counts, 0.05)
        assert math.isfinite(value)
        assert value >= 0


@pytest.mark.parametrize("limit", LIMITS)
def test_limits_are_below_the_ratio_and_fall_with_confidence(limit: Limit) -> None:
    limits = [limit(TYPICAL, level) for level in (0.001, 0.05, 0.3)]
    assert limits == sorted(limits)
    assert limits[-1] < (473 / 984) / (755 / 1705)


def test_an_estimate_is_the_logarithm() -> None:
    found = ratio_estimate("katz-log", katz_log, PERFECT, confidence=0.99, strategy="fixed")
    assert found.epsilon == pytest.approx(math.log(37.31696140))
    assert (found.guarantee, found.delta) == ("estimate", 0.0)
    chance = Confusion(true_positives=50, in_trials=100, false_positives=50, out_trials=100)
    assert ratio_estimate("katz-log", katz_log, chance, confidence=0.95, strategy="fixed").epsilon == 0.0


@pytest.mark.parametrize(
    ("limit", "tpr", "fpr"),
    [(katz_log, 0.99, 0.99), (adjusted_log, 0.99, 0.99), (bailey, 0.999, 0.1), (inverse_sinh, 0.999, 0.1)],
)
def test_they_can_err_more_often_than_they_say(
    limit: Limit, tpr: float, fpr: float, binomial: Callable[[int, float], np.ndarray]
) -> None:
    # the exact chance, over 60 trials a world, that an 80 % limit is above the true ratio
    n, level = 60, 0.2
    law = np.outer(binomial(n, tpr), binomial(n, fpr))
    above = [
        [
            limit(Confusion(true_positives=t, in_trials=n, false_positives=f, out_trials=n), level) > tpr / fpr
            for f in range(n + 1)
        ]
        for t in range(n + 1)
    ]
    assert law[np.array(above)].sum() > 1.2 * level


def test_the_interval_of_privacy_estimates() -> None:
    counts = Confusion(true_positives=487, in_trials=487, false_positives=512, out_trials=513)
    low, high = credible_interval(counts, delta=1e-5, confidence=0.9)
    assert low == pytest.approx(0.1439, abs=1e-3)
    assert high == pytest.approx(6.416, abs=5e-3)
    assert low == pytest.approx(0.145, abs=0.01)  # the published one, whose search stops at 1e-2
    assert high == pytest.approx(6.399, abs=0.03)


def test_the_posterior_equals_a_simulation() -> None:
    counts = Confusion(true_positives=60, in_trials=100, false_positives=20, out_trials=100)
    curve = EpsilonDelta(1.0, 0.01)
    rng = np.random.default_rng(0)
    fnr, fpr = rng.beta(40.5, 60.5, 40_000), rng.beta(20.5, 80.5, 40_000)
    e = math.e
    lower = np.maximum(0, np.maximum(0.99 - e * fnr, (0.99 - fnr) / e))
    upper = np.minimum(1, np.minimum(1 + (0.01 - fnr) / e, 0.01 + (1 - fnr) * e))
    assert posterior_chance(counts, curve) == pytest.approx(((fpr >= lower) & (fpr <= upper)).mean(), abs=0.01)


def test_a_credible_interval_says_so() -> None:
    counts = Confusion(true_positives=60, in_trials=100, false_positives=20, out_trials=100)
    found = joint_beta_estimate(counts, delta=1e-5, confidence=0.95, strategy="fixed")
    assert found.guarantee == "estimate"
    assert "credible" in found.note
    assert 0.4 < found.epsilon < math.log(3)
    nothing = Confusion(true_positives=50, in_trials=100, false_positives=50, out_trials=100)
    assert joint_beta_estimate(nothing, delta=1e-5, confidence=0.95, strategy="fixed").epsilon < 0.02
    with pytest.raises(InputError, match="confidence"):
        credible_interval(counts, delta=1e-5, confidence=1.0)
