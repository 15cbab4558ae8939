"""The law of an ideal canary's score, against closed forms and a simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ndtr

from dpaudit.bounds.ideal_canary import ScoreLaw, ideal_score_law
from dpaudit.mechanism import Mechanism


def mechanism(noise: float, rate: float, steps: int) -> Mechanism:
    return Mechanism(
        sampling="poisson",
        adjacency="add-remove",
        noise_multiplier=noise,
        sampling_rate=rate,
        steps=steps,
        clip_norm=1.0,
        batch_size=1,
        dataset_size=10,
    )


def largest_gap(law: ScoreLaw, chances: np.ndarray, sample: np.ndarray) -> float:
    """Return the Kolmogorov distance between a law and a sample."""
    levels = (np.arange(len(sample)) + 0.5) / len(sample)
    return float(np.abs(np.interp(np.sort(sample), law.scores, np.cumsum(chances)) - levels).max())


def simulated_scores(
    m: Mechanism, *, inside: bool, noise: float, rng: np.random.Generator, size: int, others: int = 0
) -> np.ndarray:
    """Return scores of canaries, each of which shares its coordinate with so many others, in by fair coins."""
    total, present = np.zeros(size), int(inside) + rng.binomial(others, 0.5, size)
    for _ in range(m.steps):
        y = rng.normal(0, noise, size) + rng.binomial(present, m.sampling_rate)
        total += np.log(1 - m.sampling_rate + m.sampling_rate * np.exp((y - 0.5) / m.noise_multiplier**2))
    return total


@pytest.mark.parametrize(("noise", "steps"), [(2.0, 1), (10.0, 100), (0.5, 3)])
def test_without_sampling_it_is_gaussian(noise: float, steps: int) -> None:
    law = ideal_score_law(mechanism(noise, 1.0, steps))
    mu2 = steps / noise**2  # N(-mu^2/2, mu^2) outside, N(mu^2/2, mu^2) inside
    for chances, mean in ((law.outside, -mu2 / 2), (law.inside, mu2 / 2)):
        half_cell = (law.scores[1] - law.scores[0]) / 2
        expected = ndtr((law.scores + half_cell - mean) / mu2**0.5)
        np.testing.assert_allclose(np.cumsum(chances), expected, atol=3e-4)


@pytest.mark.parametrize(("noise", "rate", "steps"), [(1.0, 0.1, 100), (0.5, 0.02, 60), (2.0, 0.3, 7)])
@pytest.mark.parametrize("actual", [1.0, 0.5])
def test_equals_a_simulation(noise: float, rate: float, steps: int, actual: float) -> None:
    m = mechanism(noise, rate, steps)
    law = ideal_score_law(m, actual_noise=actual * noise)
    rng = np.random.default_rng(0)
    for inside, chances in ((True, law.inside), (False, law.outside)):
        sample = simulated_scores(m, inside=inside, noise=actual * noise, rng=rng, size=20_000)
        assert largest_gap(law, chances, sample) < 1.9 / np.sqrt(20_000)  # exceeded with chance 0.0015


@pytest.mark.parametrize("sharing", [2, 8])
@pytest.mark.parametrize("actual", [1.0, 0.5])
def test_canaries_that_share_a_coordinate_equal_a_simulation(sharing: int, actual: float) -> None:
    m = mechanism(1.0, 0.1, 100)
    law = ideal_score_law(m, actual_noise=actual, sharing=sharing)
    rng = np.random.default_rng(1)
    for inside, chances in ((True, law.inside), (False, law.outside)):
        sample = simulated_scores(m, inside=inside, noise=actual, rng=rng, size=20_000, others=sharing - 1)
        assert largest_gap(law, chances, sample) < 1.9 / np.sqrt(20_000)  # exceeded with chance 0.0015
    alone = ideal_score_law(m, actual_noise=actual)
    fewer = simulated_scores(m, inside=True, noise=actual, rng=rng, size=20_000, others=sharing - 1)
    assert largest_gap(alone, alone.inside, fewer) > 0.1, "alone it would be another law"


@pytest.mark.parametrize("sharing", [1, 3])
def test_evidence_is_the_log_of_the_ratio_of_the_laws(sharing: int) -> None:
    law = ideal_score_law(mechanism(1.0, 0.2, 40), sharing=sharing)
    seen = np.minimum(law.inside, law.outside) > 1e-9
    np.testing.assert_allclose(law.evidence[seen], np.log(law.inside[seen] / law.outside[seen]), atol=0.01)
    assert np.isfinite(law.evidence).all()
    assert (np.diff(law.evidence[seen]) > -1e-3).all(), "the more, the surer"


def test_the_simulation_tells_wrong_noise() -> None:
    m = mechanism(1.0, 0.1, 100)
    law = ideal_score_law(m, actual_noise=0.93)
    sample = simulated_scores(m, inside=True, noise=1.0, rng=np.random.default_rng(0), size=20_000)
    assert largest_gap(law, law.inside, sample) > 1.9 / np.sqrt(20_000)


@pytest.mark.parametrize(("noise", "rate", "steps"), [(1.0, 0.01, 6000), (0.6, 0.05, 50), (4.0, 1.0, 30)])
def test_the_score_is_the_log_likelihood_ratio(noise: float, rate: float, steps: int) -> None:
    law = ideal_score_law(mechanism(noise, rate, steps))
    seen = law.outside > 1e-9
    np.testing.assert_allclose(law.inside[seen], law.outside[seen] * np.exp(law.scores[seen]), rtol=0.01, atol=1e-10)
    assert law.inside.sum() == pytest.approx(1.0)
    assert (law.outside >= 0).all()


@pytest.mark.parametrize(("noise", "rate", "steps"), [(0.3, 0.2, 20_000), (0.01, 0.01, 1000)])
def test_laws_that_lie_far_apart_do_not_wrap_around(noise: float, rate: float, steps: int) -> None:
    law = ideal_score_law(mechanism(noise, rate, steps))
    middle = (law.scores @ law.inside + law.scores @ law.outside) / 2
    assert law.outside[law.scores > middle].sum() < 1e-6
    assert law.inside[law.scores < law.scores @ law.outside - 100].sum() < 1e-6
