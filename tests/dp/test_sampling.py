"""Who is drawn: rates, independence, random access, conservation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy import stats

from dpaudit.dp.sampling import Fixed, Full, Poisson, Sampler, Shuffle, sampler
from dpaudit.errors import InputError
from dpaudit.rng import Rng

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from dpaudit.mechanism import Mechanism

RNG = Rng.from_seed(11)
ALL: list[Sampler] = [Poisson(0.3), Fixed(7, 23), Shuffle(7, 23), Full()]


def masks(draws: Sampler, steps: int, count: int, rng: Rng = RNG) -> NDArray[np.bool_]:
    return np.stack([draws.draw(step, count, rng) for step in range(steps)])


def size_variance_p(sizes: NDArray[np.int64], count: int, rate: float) -> float:
    """Return the two-sided p-value that batch sizes vary as Poisson sampling's do (binomial)."""
    variance = count * rate * (1 - rate)
    statistic = float(((sizes - count * rate) ** 2).sum() / variance)
    tail = float(stats.chi2(len(sizes)).cdf(statistic))
    return 2 * min(tail, 1 - tail)


@pytest.mark.parametrize("draws", ALL)
def test_a_step_needs_no_earlier_step(draws: Sampler) -> None:
    forwards = masks(draws, 12, 23)
    backwards = np.stack([draws.draw(step, 23, RNG) for step in reversed(range(12))])[::-1]
    assert (forwards == backwards).all()
    assert forwards.dtype == np.bool_


@pytest.mark.parametrize("draws", ALL[:3])
def test_another_key_or_step_draws_others(draws: Sampler) -> None:
    first = masks(draws, 12, 23)
    assert not (first == masks(draws, 12, 23, Rng.from_seed(12))).all()
    assert len({row.tobytes() for row in first}) > 8


def test_poisson_rate_is_exact_for_every_record() -> None:
    found = masks(Poisson(0.13), 4000, 50).sum(0)
    p = np.array([stats.binomtest(int(k), 4000, 0.13).pvalue for k in found])
    assert p.min() > 0.01 / 50
    assert stats.kstest(p, "uniform").pvalue > 1e-3


def test_poisson_draws_are_independent_of_each_other() -> None:
    centred = (masks(Poisson(0.2), 4000, 30) - 0.2) / np.sqrt(0.2 * 0.8)
    correlation = centred.T @ centred / 4000
    off_diagonal = correlation[~np.eye(30, dtype=bool)]
    assert np.abs(off_diagonal).max() < 5 / np.sqrt(4000)
    consecutive = (centred[1:] * centred[:-1]).mean(0)
    assert np.abs(consecutive).max() < 5 / np.sqrt(4000)


def test_poisson_batch_sizes_vary_and_fixed_ones_are_told_apart() -> None:
    assert size_variance_p(masks(Poisson(0.3), 2000, 23).sum(1), 23, 0.3) > 1e-3
    assert size_variance_p(masks(Fixed(7, 23), 2000, 23).sum(1), 23, 7 / 23) < 1e-9


def test_poisson_does_not_depend_on_how_many_come_after() -> None:
    assert (Poisson(0.4).draw(3, 100, RNG)[:60] == Poisson(0.4).draw(3, 60, RNG)).all()


def test_poisson_rate_one_draws_all() -> None:
    assert masks(Poisson(1.0), 20, 50).all()


def test_fixed_draws_exactly_its_size_uniformly() -> None:
    found = masks(Fixed(7, 23), 4000, 23)
    assert (found.sum(1) == 7).all()
    spread = float(((found.sum(0) - 4000 * 7 / 23) ** 2).sum() / (4000 * (7 / 23) * (16 / 23)))
    # sums over records are tied to 7 per step: 22 free directions, each scaled by 23 / 22
    assert 1e-3 < stats.chi2(22).cdf(spread * 22 / 23) < 1 - 1e-3


def test_fixed_keeps_its_rate_over_another_count() -> None:
    sizes = masks(Fixed(7, 23), 6000, 10).sum(1)
    assert set(sizes) == {3, 4}
    assert stats.binomtest(int((sizes == 4).sum()), 6000, 70 / 23 - 3).pvalue > 1e-3


@pytest.mark.parametrize(
    ("batch_size", "dataset_size", "count"), [(7, 23, 23), (5, 20, 20), (7, 23, 10), (7, 23, 1000)]
)
def test_shuffle_uses_every_record_once_per_epoch(batch_size: int, dataset_size: int, count: int) -> None:
    draws = Shuffle(batch_size, dataset_size)
    assert draws.steps_per_epoch == -(-dataset_size // batch_size)
    found = masks(draws, 3 * draws.steps_per_epoch, count)
    for epoch in np.split(found, 3):
        assert (epoch.sum(0) == 1).all()
    first, second, _ = np.split(found, 3)
    assert not (first == second).all()


def test_shuffle_batches_have_the_size_and_the_last_what_is_left() -> None:
    assert masks(Shuffle(7, 23), 4, 23).sum(1).tolist() == [7, 7, 7, 2]


def test_full_draws_all() -> None:
    assert masks(Full(), 3, 5).all()


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [("poisson", Poisson(0.25)), ("fixed", Fixed(10, 40)), ("shuffle", Shuffle(10, 40)), ("full", Full())],
)
def test_sampler_is_the_mechanisms(sampling: str, expected: Sampler, mechanism_of: Callable[..., Mechanism]) -> None:
    assert sampler(mechanism_of(sampling=sampling)) == expected


@pytest.mark.parametrize("rate", [0.0, -0.1, 1.5, float("nan")])
def test_rate_must_be_a_chance(rate: float) -> None:
    with pytest.raises(InputError, match="sampling rate"):
        Poisson(rate)


@pytest.mark.parametrize(("batch_size", "dataset_size"), [(0, 5), (6, 5)])
def test_batch_must_fit_the_data(batch_size: int, dataset_size: int) -> None:
    for kind in (Fixed, Shuffle):
        with pytest.raises(InputError, match="batch size"):
            kind(batch_size, dataset_size)
