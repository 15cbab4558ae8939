"""The noise has the scale that was said, and streams never meet."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from dpaudit.dp import noise
from dpaudit.dp.noise import CHUNK, Noise, NoiseMeasure, add_noise, gaussian_like
from dpaudit.errors import InputError
from dpaudit.rng import Rng

RNG = Rng.from_seed(21)


def scale_p(measure: NoiseMeasure, std: float) -> float:
    """Return the two-sided chi-square p-value of "the noise added has this std"."""
    tail = float(stats.chi2(measure.count).cdf(measure.sum_of_squares / std**2))
    return 2 * min(tail, 1 - tail)


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("std", [1e-3, 0.7, 30.0])
@pytest.mark.parametrize("size", [2000, 200_001])
def test_scale_is_inside_its_interval_and_wrong_ones_are_outside(std: float, size: int, secure: bool) -> None:
    _, measure = add_noise(torch.zeros(size), std, RNG, secure=secure)
    assert measure.count == size
    assert scale_p(measure, std) > 1e-3
    for wrong in (2 / 3, 3 / 2):
        assert scale_p(measure, wrong * std) < 1e-9
        assert scale_p(add_noise(torch.zeros(size), wrong * std, RNG, secure=secure)[1], std) < 1e-9


def test_the_measure_is_of_what_was_added() -> None:
    before = torch.randn(100_000, generator=torch.Generator().manual_seed(0)) * 5
    after, measure = add_noise(before, 0.5, RNG)
    assert measure.sum_of_squares == pytest.approx(float((after - before).double().square().sum()), rel=1e-12)
    assert scale_p(measure, 0.5) > 1e-3


@pytest.mark.parametrize("secure", [False, True])
def test_noise_is_gaussian(secure: bool) -> None:
    draws = add_noise(torch.zeros(50_001), 2.0, RNG, secure=secure)[0].numpy()
    assert stats.kstest(draws / 2, "norm").pvalue > 1e-3
    assert stats.kstest(draws / 2.06, "norm").pvalue < 1e-3


@pytest.mark.parametrize("secure", [False, True])
def test_tensors_and_steps_have_independent_noise(secure: bool) -> None:
    keys = [RNG.child(step, name) for step in range(12) for name in ("encoder.weight", "encoder.bias")]
    draws = np.stack([add_noise(torch.zeros(5000), 1.0, key, secure=secure)[0].numpy() for key in keys])
    correlation = np.corrcoef(draws)[np.triu_indices(len(keys), 1)]
    assert np.abs(correlation).max() < 5 / np.sqrt(5000)
    assert stats.kstest(correlation * np.sqrt(5000), "norm").pvalue > 1e-3


def test_the_same_key_gives_the_same_noise_whatever_was_drawn_before() -> None:
    first = gaussian_like(torch.zeros(3, 4), 1.0, RNG.child(7, "w"))
    torch.rand(5)
    gaussian_like(torch.zeros(9), 1.0, RNG.child(8, "w"))
    assert torch.equal(first, gaussian_like(torch.zeros(3, 4), 1.0, RNG.child(7, "w")))


def test_torchs_generator_is_not_used() -> None:
    state = torch.get_rng_state()
    gaussian_like(torch.zeros(10), 1.0, RNG)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("shape", [(), (3,), (2, 0), (2, 3, 4)])
def test_shape_and_type_are_the_tensors(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    drawn = gaussian_like(torch.ones(shape, dtype=dtype), 1.0, RNG)
    assert (drawn.shape, drawn.dtype) == (torch.Size(shape), dtype)


def test_no_noise_is_exactly_none() -> None:
    before = torch.randn(10)
    after, measure = add_noise(before, 0.0, RNG)
    assert torch.equal(before, after)
    assert measure == NoiseMeasure(0.0, 10)


@pytest.mark.parametrize("secure", [False, True])
def test_chunks_of_one_stream_are_independent(secure: bool) -> None:
    draws = add_noise(torch.zeros(12 * CHUNK), 1.0, RNG, secure=secure)[0].numpy().reshape(12, CHUNK)
    correlation = np.corrcoef(draws)[np.triu_indices(12, 1)]
    assert np.abs(correlation).max() < 5 / np.sqrt(CHUNK)
    assert stats.kstest(correlation * np.sqrt(CHUNK), "norm").pvalue > 1e-3


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("size", [1, 7, CHUNK - 1, CHUNK, CHUNK + 1, 5 * CHUNK + 3])
def test_any_number_of_threads_draws_the_same(size: int, secure: bool) -> None:
    sums = {"a": torch.ones(size), "b": torch.ones(3)}
    drawn = [Noise(std=0.3, secure=secure, threads=threads).add(sums, RNG.child) for threads in (1, 2, 4, None)]
    assert all(torch.equal(noisy["a"], drawn[0][0]["a"]) for noisy, _ in drawn)
    assert all(measure == drawn[0][1] for _, measure in drawn)
    assert drawn[0][1].count == size + 3


@pytest.mark.parametrize("together", [1, 10, 2 * CHUNK, 10**9])
def test_which_tensors_are_drawn_together_does_not_matter(together: int, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = [(3, 2), (2 * CHUNK,), (), (5,), (CHUNK + 1, 2)]
    sums = {str(at): torch.ones(size) for at, size in enumerate(sizes)}
    alone = {name: Noise(std=0.3).add({name: each}, RNG.child)[0][name] for name, each in sums.items()}
    monkeypatch.setattr(noise, "_TOGETHER", together)
    noisy, measure = Noise(std=0.3, threads=2).add(sums, RNG.child)
    assert list(noisy) == list(sums)
    assert all(torch.equal(noisy[name], alone[name]) for name in sums)
    assert measure.count == sum(each.numel() for each in sums.values())


def test_a_longer_tensor_begins_with_the_noise_of_a_shorter_one_in_whole_chunks() -> None:
    whole, part = (gaussian_like(torch.zeros(size), 1.0, RNG) for size in (2 * CHUNK + 5, 2 * CHUNK))
    assert torch.equal(whole[: 2 * CHUNK], part)


def test_secure_sums_lie_on_a_grid_that_hides_the_last_bits() -> None:
    std = 0.75  # the grid is 2^-21
    sums = torch.rand(20_000, generator=torch.Generator().manual_seed(2))
    noisy = add_noise(sums, std, RNG, secure=True)[0]
    steps = noisy.double() * 2.0**21
    assert torch.equal(steps, steps.round())
    plain = add_noise(sums, std, RNG)[0].double() * 2.0**21
    assert not torch.equal(plain, plain.round())
    assert len(torch.unique(steps.long() % 8)) == 8  # no residue of the sum's own bits: every remainder occurs


def test_secure_noise_is_another_stream_than_the_fast_one_and_both_are_repeatable() -> None:
    fast, secure, again = (
        add_noise(torch.zeros(1000), 1.0, RNG, secure=flag)[0].numpy() for flag in (False, True, True)
    )
    assert np.array_equal(secure, again)
    assert abs(np.corrcoef(fast, secure)[0, 1]) < 5 / np.sqrt(1000)


def test_secure_tails_go_as_far_as_64_bits_do() -> None:
    class Least:
        """A key whose stream holds only zeros."""

        def stream(self, length: int, _: int) -> bytes:
            return bytes(length)

    out = np.empty(2)
    noise._fill_secure(out, Least(), 0)  # type: ignore[arg-type]  # stands in for a key
    assert out[0] == pytest.approx(np.sqrt(2 * 65 * np.log(2)))


@pytest.mark.parametrize("std", [-1.0, float("inf"), float("nan")])
def test_what_is_no_scale_is_refused(std: float) -> None:
    with pytest.raises(InputError, match="noise std"):
        Noise(std=std)


def test_threads_are_counted_from_one() -> None:
    with pytest.raises(InputError, match="threads"):
        Noise(std=1.0, threads=0)
