"""Norms and factors: what clipping promises, number by number."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dpaudit.dp.clipping import clip_factors, record_norms, zero_sums
from dpaudit.errors import DpauditError, InputError

NORMS = st.lists(st.floats(0, 2.0**60, width=32), min_size=1, max_size=20)


@given(norms=NORMS, clip=st.floats(1e-6, 1e6))
@settings(max_examples=60, deadline=None)
def test_no_clipped_norm_is_above_the_clip_norm(norms: list[float], clip: float) -> None:
    raw = torch.tensor(norms)
    factors = clip_factors(raw, clip)
    assert float((raw * factors).max()) <= clip * (1 + 1e-6)
    assert (factors[raw <= clip * (1 - 1e-6)] == 1).all()
    above = raw >= clip
    torch.testing.assert_close((raw * factors)[above], torch.full_like(raw[above], clip))


def test_infinite_clip_norm_keeps_everything() -> None:
    assert clip_factors(torch.tensor([0.0, 3.0, 1e30]), math.inf).tolist() == [1, 1, 1]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("clip", [1.0, math.inf])
def test_a_norm_that_is_no_number_is_an_error(bad: float, clip: float) -> None:
    with pytest.raises(DpauditError, match=r"1 of 3 gradient norms are not finite \(record 1 "):
        clip_factors(torch.tensor([1.0, bad, 2.0]), clip)


@pytest.mark.parametrize("clip", [0.0, -1.0, math.nan])
def test_clip_norm_must_be_positive(clip: float) -> None:
    with pytest.raises(InputError, match="clip norm"):
        clip_factors(torch.ones(1), clip)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_factors_are_float32_or_better(dtype: torch.dtype) -> None:
    assert clip_factors(torch.tensor([3.0], dtype=dtype), 1.0).dtype == torch.float32
    assert clip_factors(torch.tensor([3.0], dtype=torch.float64), 1.0).dtype == torch.float64
    assert record_norms([torch.full((1, 4096), 1.0, dtype=dtype)]).tolist() == [64.0]


def test_norms_are_over_all_tensors_together() -> None:
    generator = torch.Generator().manual_seed(0)
    parts = [torch.randn(3, *shape, generator=generator) for shape in [(), (1,), (2, 3), (4096,), (5000, 2), (0,)]]
    expected = torch.stack([torch.cat([part[i].reshape(-1) for part in parts]).double().norm() for i in range(3)])
    torch.testing.assert_close(record_norms(parts).double(), expected, rtol=1e-6, atol=0)


def test_the_norm_of_a_large_tensor_is_not_rounded_down() -> None:
    # one running float32 sum would be 1e-4 too small here, and the record's clipped gradient as much too long
    wide = torch.rand(1, 6_000_000, generator=torch.Generator().manual_seed(1))
    assert float(record_norms([wide])) == pytest.approx(float(wide.double().norm()), rel=1e-6)


def test_sums_start_at_zero_in_float32_or_better() -> None:
    model = nn.ModuleDict({"low": nn.Linear(2, 3).bfloat16(), "frozen": nn.Linear(2, 2).requires_grad_(False)})
    sums = zero_sums(model)
    assert {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in sums.items()} == {
        "low.weight": ((3, 2), torch.float32),
        "low.bias": ((3,), torch.float32),
    }
    assert not any(tensor.any() for tensor in sums.values())
