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
ALL: list[Sampler] = [Poisson(0.3), Fixed(7, 23), Shuffle(7, 23), Full(), Shuffle(7, 23, 5)]


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


def orders(size: int, buffer: int | None, epochs: int) -> NDArray[np.int64]:
    """Return who is drawn at each step of one record, (epochs, size)."""
    found: NDArray[np.int64] = masks(Shuffle(1, size, buffer), epochs * size, size).argmax(1)
    return found.reshape(epochs, size)


def streamed_slowly(count: int, size: int, generator: np.random.Generator) -> list[int]:
    slots = generator.integers(size, size=count - size).tolist()
    buffer, order = list(range(size)), list[int]()
    for later, slot in enumerate(slots, start=size):
        order.append(buffer[slot])
        buffer[slot] = later
    order.extend(generator.permutation(np.sort(buffer)).tolist())
    return order


@pytest.mark.parametrize("buffer", [1, 2, 9, 39])
def test_a_stream_leaves_the_buffer_as_one_simulated_record_by_record(buffer: int) -> None:
    for epoch, order in enumerate(orders(40, buffer, 3)):
        assert order.tolist() == streamed_slowly(40, buffer, RNG.child("epoch", epoch).numpy())


def test_a_buffer_of_one_keeps_the_order_of_storage() -> None:
    assert (orders(30, 1, 3) == np.arange(30)).all()


@pytest.mark.parametrize("buffer", [23, 24, 10**9])
def test_a_buffer_of_all_records_is_no_stream(buffer: int) -> None:
    for count in (10, 23, 1000):
        assert (masks(Shuffle(7, 23, buffer), 8, count) == masks(Shuffle(7, 23), 8, count)).all()


def test_only_a_buffer_of_all_records_is_a_uniform_permutation() -> None:
    def p_value(buffer: int) -> float:
        _, seen = np.unique(orders(4, buffer, 2400) @ [64, 16, 4, 1], return_counts=True)
        return float(stats.chisquare(np.pad(seen, (0, 24 - len(seen)))).pvalue)

    assert p_value(4) > 1e-3
    assert p_value(3) < 1e-9


def test_a_stream_moves_records_as_far_as_its_buffer_reaches() -> None:
    buffer, epochs = 20, 20
    at = orders(300, buffer, epochs).argsort(1)  # where each record came
    waited = at - (np.arange(300) - buffer)  # draws since it entered the buffer
    assert (at > np.arange(300) - buffer).all(), "no record comes a buffer's length early or more"
    inside = waited[:, buffer:140].ravel()  # far from both ends: geometric, one of `buffer` leaves at each draw
    assert inside.min() == 1
    assert inside.mean() == pytest.approx(buffer, abs=5 * buffer / np.sqrt(len(inside)))
    assert stats.binomtest(int((inside == 1).sum()), len(inside), 1 / buffer).pvalue > 1e-3


@pytest.mark.parametrize("count", [0, 1, 10, 23, 1000])
@pytest.mark.parametrize("buffer", [1, 5, 22])
def test_a_stream_uses_every_record_once_per_epoch(buffer: int, count: int) -> None:
    for epoch in np.split(masks(Shuffle(7, 23, buffer), 12, count), 3):
        assert (epoch.sum(0) == 1).all()
        assert epoch.sum(1).tolist() == masks(Shuffle(7, 23), 4, count).sum(1).tolist()


def test_a_stream_of_another_count_has_the_same_share_in_its_buffer() -> None:
    buffer = 218  # of 1000, as 5 of 23
    for epoch in range(20):
        found = masks(Shuffle(7, 23, 5), 4 * (epoch + 1), 1000)[-4:].argmax(0)
        edges = np.array([-(-index * 7 * 1000 // 23) for index in range(4)])
        earliest = np.searchsorted(edges, np.maximum(np.arange(1000) - buffer + 1, 0), side="right") - 1
        assert (found >= earliest).all()
        assert len(set(found[:100])) > 1


def test_full_draws_all() -> None:
    assert masks(Full(), 3, 5).all()


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [("poisson", Poisson(0.25)), ("fixed", Fixed(10, 40)), ("shuffle", Shuffle(10, 40)), ("full", Full())],
)
def test_sampler_is_the_mechanisms(sampling: str, expected: Sampler, mechanism_of: Callable[..., Mechanism]) -> None:
    assert sampler(mechanism_of(sampling=sampling)) == expected


def test_a_stream_is_a_shuffle_and_nothing_else(mechanism_of: Callable[..., Mechanism]) -> None:
    assert sampler(mechanism_of(sampling="shuffle", shuffle_buffer=3)) == Shuffle(10, 40, 3)
    for sampling in ("poisson", "fixed", "full"):
        with pytest.raises(InputError, match=f"shuffle_buffer = 3: expected null with sampling {sampling}"):
            mechanism_of(sampling=sampling, shuffle_buffer=3)


@pytest.mark.parametrize("rate", [0.0, -0.1, 1.5, float("nan")])
def test_rate_must_be_a_chance(rate: float) -> None:
    with pytest.raises(InputError, match="sampling rate"):
        Poisson(rate)


@pytest.mark.parametrize(("batch_size", "dataset_size"), [(0, 5), (6, 5)])
def test_batch_must_fit_the_data(batch_size: int, dataset_size: int) -> None:
    for kind in (Fixed, Shuffle):
        with pytest.raises(InputError, match="batch size"):
            kind(batch_size, dataset_size)


@pytest.mark.parametrize("buffer", [0, -3])
def test_a_buffer_holds_at_least_one_record(buffer: int) -> None:
    with pytest.raises(InputError, match=f"^shuffle buffer = {buffer}: expected a whole number of at least 1$"):
        Shuffle(7, 23, buffer)
