"""The gap of two means: exact coverage on Gaussians, and its limits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from dpaudit.bounds.family import gaussian_family
from dpaudit.bounds.gaussian_moments import gaussian_moments_bound, gaussian_moments_p_value
from dpaudit.bounds.tradeoff import Gaussian
from dpaudit.errors import InputError
from dpaudit.scores import LabelledScores

if TYPE_CHECKING:
    from collections.abc import Callable

    GaussianRun = Callable[[np.random.Generator, int, float], LabelledScores]


@pytest.mark.parametrize(("mu", "rows"), [(0.0, 8), (1.0, 30), (3.0, 300)])
def test_p_values_are_uniform_at_the_truth(
    mu: float, rows: int, gaussian_run: GaussianRun, most_allowed: Callable[[int, float], int]
) -> None:
    rng = np.random.default_rng(6)
    p: list[float] = []
    while len(p) < 1500:
        run = gaussian_run(rng, rows, mu)
        if 2 <= run.member.sum() <= rows - 2:
            p.append(gaussian_moments_p_value(Gaussian(mu), run))
    for level in (0.05, 0.5):
        assert sum(value <= level for value in p) <= most_allowed(1500, level)
        assert sum(value > level for value in p) <= most_allowed(1500, 1 - level), "and not slack"


def test_scale_and_shift_do_not_matter(gaussian_run: GaussianRun) -> None:
    run = gaussian_run(np.random.default_rng(0), 500, 1.5)
    moved = LabelledScores(scores=1e-3 * run.scores - 7, member=run.member)
    one, two = (gaussian_moments_bound(gaussian_family(delta=1e-5), r, confidence=0.95) for r in (run, moved))
    assert one.epsilon == pytest.approx(two.epsilon, rel=1e-5)
    assert one.guarantee == "under_independence"


def test_it_is_close_to_the_truth_for_many_rows(gaussian_run: GaussianRun) -> None:
    run = gaussian_run(np.random.default_rng(1), 100_000, 1.666031)
    found = gaussian_moments_bound(gaussian_family(delta=1e-5), run, confidence=0.95, promise=Gaussian(1.0))
    assert 7.7 < found.epsilon < 8.0
    assert found.p_value == pytest.approx(0.0, abs=1e-12)


def test_it_over_claims_on_scores_that_are_not_gaussian(most_allowed: Callable[[int, float], int]) -> None:
    # Randomised response at epsilon 2 has mu-GDP for no mu with epsilon 2 at 1e-5 (0.5016).
    rng = np.random.default_rng(2)
    claims = 0
    for _ in range(50):
        member = rng.random(500) < 0.5
        kept = rng.random(500) < 1 / (1 + np.exp(-2.0))
        scores = (member == kept).astype(float)
        claims += gaussian_moments_p_value(Gaussian(0.501552), LabelledScores(scores=scores, member=member)) <= 0.05
    assert claims > most_allowed(50, 0.05)


@pytest.mark.parametrize(
    ("scores", "member"),
    [([1.0, 2.0, 3.0], [True, True, False]), ([1.0, 1.0, 0.0, 0.0], [True, True, False, False])],
)
def test_too_little_to_see_is_refused(scores: list[float], member: list[bool]) -> None:
    with pytest.raises(InputError):
        gaussian_moments_p_value(Gaussian(0.0), LabelledScores(scores=np.array(scores), member=np.array(member)))
