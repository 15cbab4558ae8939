"""The first batch is compared in float64: a small meeting of records is refused, an honest model's rounding is not."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor, nn

from dpaudit.dp.bookkeeping import check
from dpaudit.dp.bookkeeping.clipped_sum import bookkeeping_sum
from dpaudit.dp.bookkeeping.wide import in_float64
from dpaudit.dp.loop import loop_sum
from dpaudit.dp.objective import Objective
from dpaudit.dp.precision import InBfloat16
from dpaudit.errors import DpauditError

if TYPE_CHECKING:
    from collections.abc import Callable

    from dpaudit.dp.tensors import Batch


class Between(nn.Module):
    """Two layers with a function of the activations, (n, 3, 4), between them."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.last = nn.Linear(4, 2)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.last(self.function(self.first(x)).float())
        return y


def squares(model: nn.Module, batch: Batch) -> Tensor:
    weights = torch.linspace(1, 2, 6, dtype=torch.float32)
    error: Tensor = model(batch["x"]).flatten(1) - weights
    return error.square().sum(1)


def slightly_centred(x: Tensor) -> Tensor:
    return x - 1e-4 * x.mean(0)


def rounded_by_companions(x: Tensor) -> Tensor:
    """Return x, apart from what is lost when all records' sum is added and taken away."""
    total = 1e7 * x.detach().sum(0)
    return (x + total) - total


def times_a_constant(x: Tensor) -> Tensor:
    """Multiply by a float32 matrix that is neither parameter nor buffer."""
    return x @ CONSTANT


CONSTANT = torch.eye(4).roll(1, 0)


def made(function: Callable[[Tensor], Tensor]) -> tuple[Between, Batch]:
    torch.manual_seed(3)
    return Between(function), {"x": torch.randn(5, 3, 4)}


def is_wide(model: nn.Module, batch: Batch) -> bool:
    return in_float64(Objective(model, squares), batch)[1] is not None


def test_records_that_meet_a_little_are_refused() -> None:
    model, batch = made(slightly_centred)
    with pytest.raises(DpauditError, match="not what each has alone"):
        bookkeeping_sum(model, squares, batch, 1.0)


def test_an_honest_model_that_rounds_badly_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch = made(rounded_by_companions)
    bookkeeping_sum(model, squares, batch, 1.0)
    monkeypatch.setattr(check, "in_float64", lambda _, pair: (pair, None))
    with pytest.raises(DpauditError, match="not what each has alone"):
        bookkeeping_sum(made(rounded_by_companions)[0], squares, batch, 1.0)


@pytest.mark.parametrize("width", [1, 2])
def test_a_norm_over_one_or_two_numbers_passes(width: int) -> None:
    torch.manual_seed(width)
    model = nn.Sequential(nn.Linear(4, width), nn.LayerNorm(width, elementwise_affine=False), nn.Linear(width, 2))
    model[2].requires_grad_(False)  # all that is left is what cancels
    batch = {"x": 300 * torch.randn(5, 3, 4)}
    found, alone = (engine(model, squares, batch, 1.0) for engine in (bookkeeping_sum, loop_sum))
    assert found.losses.tolist() == pytest.approx(alone.losses.tolist(), rel=1e-5)
    norms = found.gradients["0.weight"].norm(), alone.gradients["0.weight"].norm()
    assert max(norms) <= 5 * (1 + 1e-5)


def test_what_a_model_asks_for_in_float32_is_float64() -> None:
    seen = []

    def asking(x: Tensor) -> Tensor:
        found = [
            x,
            x.float(),
            x.to(torch.bfloat16),
            torch.zeros(2),
            torch.tensor(0.5),
            x.new_zeros(2, dtype=torch.half),
        ]
        seen.append({each.dtype for each in found})
        return x

    model, batch = made(asking)
    bookkeeping_sum(model, squares, batch, 1.0)
    bookkeeping_sum(model, InBfloat16(squares), batch, 1.0)
    of_steps = {torch.float32, torch.bfloat16, torch.half}
    assert seen[0] == of_steps
    assert seen[1:5] == [{torch.float64}] * 4  # alone in the attempt, together, and each alone
    assert torch.get_default_dtype() == torch.float32


def test_what_has_no_float64_is_compared_in_its_own_types() -> None:
    model, batch = made(times_a_constant)
    assert is_wide(*made(slightly_centred))
    assert not is_wide(model, batch)
    bookkeeping_sum(model, squares, batch, 1.0)
    model, _ = made(lambda x: times_a_constant(x - x.mean(0)))
    with pytest.raises(DpauditError, match="not what each has alone"):
        bookkeeping_sum(model, squares, batch, 1.0)


def test_the_check_leaves_the_model_as_it_was() -> None:
    model, batch = made(torch.tanh)
    before = {name: each.clone() for name, each in model.state_dict().items()}
    bookkeeping_sum(model, squares, batch, 1.0)
    assert all(torch.equal(each, before[name]) for name, each in model.state_dict().items())
    assert all(each.grad is None and each.dtype == torch.float32 for each in model.parameters())


def test_the_check_keeps_nothing() -> None:
    model, batch = made(torch.relu)
    bookkeeping_sum(model, squares, batch, 1.0)
    gc.collect()
    assert not [each for each in gc.get_objects() if type(each) is Tensor and each.dtype == torch.float64]
