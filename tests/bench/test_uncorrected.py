"""The practice that is wrong on purpose: it is what it says, the best of all thresholds, and it is found out."""

from __future__ import annotations

import numpy as np
import pytest

from dpaudit.bench.certified import certified
from dpaudit.bench.estimates import estimates
from dpaudit.bench.known import KNOWN, NOISE
from dpaudit.bench.uncorrected import best_clopper_pearson, best_jeffreys, best_jeffreys_of_cosines, uncorrected
from dpaudit.bounds.clopper_pearson import clopper_pearson_bound
from dpaudit.bounds.family import Family, any_family, gaussian_family
from dpaudit.bounds.trials import confusion_at
from dpaudit.scores import LabelledScores


@pytest.mark.parametrize("family", [any_family(delta=1e-5), gaussian_family(delta=1e-5)], ids=["any", "gaussian"])
@pytest.mark.parametrize("decimals", [0, 1, 9])
def test_the_best_threshold_is_the_best_of_a_loop(family: Family, decimals: int) -> None:  # type: ignore[type-arg]  # any curve
    rng = np.random.default_rng(decimals)
    member = np.arange(120) < 60
    scores = np.asarray(np.round(rng.normal(size=120) + 1.5 * member, decimals), dtype=np.float64)
    labelled = LabelledScores(scores=scores, member=member)
    slow = max(
        clopper_pearson_bound(
            family, confusion_at(labelled, threshold, "independent runs"), confidence=0.95, strategy="one of many"
        ).epsilon
        for threshold in np.unique(scores).tolist()
    )
    assert slow > 0
    assert best_clopper_pearson(family, [labelled]) == pytest.approx(slow, abs=1e-5)


@pytest.mark.parametrize("index", range(8))
def test_the_best_of_all_choices_is_no_smaller_than_one_of_them(index: int) -> None:
    candidate = uncorrected()[index]
    asked = (candidate.method, candidate.family.hypothesis, "fixed", candidate.trials)
    (fixed,) = [
        other
        for other in (*certified(), *estimates())
        if (other.method, other.family.hypothesis, other.strategy, other.trials) == asked
    ]
    runs = [KNOWN[1].independent_runs(np.random.default_rng(0), 1000)]
    one = fixed.epsilon(fixed.family, runs)
    assert 0 < one <= candidate.epsilon(candidate.family, runs) + 1e-6


def test_lower_limits_of_the_one_shot_paper() -> None:
    rng = np.random.default_rng(0xBAD5EED)
    scores = np.concatenate([rng.normal(1, 1, 100), rng.normal(0, 1, 100)])
    labelled = LabelledScores(scores=scores, member=np.arange(200) < 100)
    assert best_jeffreys(labelled, delta=1e-2, level=1e-2) == pytest.approx(0.6839449, abs=1e-6)
    for dimension, published in ((200, 1.394838), (2000, 1.3880321)):
        unit = dimension**-0.5
        cosines = np.random.default_rng(0xBAD5EED).normal(unit, unit, 100)
        assert best_jeffreys_of_cosines(cosines, dimension, delta=1e-2, level=1e-2) == pytest.approx(
            published, abs=1e-6
        )


@pytest.mark.parametrize(("index", "share"), [(0, 0.1), (1, 0.1), (4, 0.3), (8, 0.1), (9, 0.4)])
def test_the_best_of_all_choices_accuses_noise_too_often(index: int, share: float) -> None:
    candidate, rng = uncorrected()[index], np.random.default_rng(7)
    draw = NOISE.independent_runs if candidate.trials == "independent runs" else NOISE.one_run
    nothing = NOISE.parameter(candidate.family.hypothesis, candidate.family.delta)
    assert nothing is not None
    wrong = sum(candidate.exceeds([draw(rng, 1000)], nothing) for _ in range(60))
    assert wrong / 60 > share
