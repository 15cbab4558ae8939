"""Every engine computes the same clipped sum as one record at a time, and lets no record contribute more than C."""

from __future__ import annotations

import copy
import itertools
import math
from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from dpaudit.dp.engines import ENGINES, engine
from dpaudit.dp.loop import loop_sum, unclipped_sum
from dpaudit.dp.tensors import trainable
from dpaudit.errors import DpauditError, InputError

if TYPE_CHECKING:
    from dpaudit.dp.clipping import Clipped, ClippedSum
    from dpaudit.dp.tensors import Batch

FAST = [name for name in ENGINES if name != "loop"]


class Odd(nn.Module):
    """A small transformer with all that engines get wrong: tied, raw, scalar, frozen, unused and counted."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 8)
        self.position = nn.Parameter(torch.randn(6, 8))
        self.scale = nn.Parameter(torch.tensor(0.7))
        self.qkv = nn.Linear(8, 24)
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 11, bias=False)
        self.head.weight = self.embedding.weight
        self.unused = nn.Parameter(torch.randn(3))
        self.frozen = nn.Linear(8, 8).requires_grad_(False)
        self.register_buffer("calls", torch.zeros(()))
        self.calls: Tensor

    def forward(self, tokens: Tensor) -> Tensor:
        self.calls.add_(1)
        x = self.embedding(tokens) + self.position
        q, k, v = self.qkv(self.norm(x)).unflatten(2, (3, 2, 4)).permute(2, 0, 3, 1, 4)
        x = x + functional.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)
        logits: Tensor = self.head(self.frozen(x)) * self.scale
        return logits


class Convolutional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, 4)
        self.norm = nn.GroupNorm(2, 8)
        self.head = nn.Linear(8, 11)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(functional.gelu(self.norm(self.patches(images))).mean((2, 3)))
        return logits


def token_losses(model: nn.Module, batch: Batch) -> Tensor:
    logits = model(batch["tokens"])[:, :-1]
    return functional.cross_entropy(logits.transpose(1, 2), batch["tokens"][:, 1:], reduction="none").mean(1)


def image_losses(model: nn.Module, batch: Batch) -> Tensor:
    return functional.cross_entropy(model(batch["images"]), batch["labels"], reduction="none")


def error_losses(model: nn.Module, batch: Batch) -> Tensor:
    error: Tensor = model(batch["x"]) - batch["y"]
    return error.square().sum(1)


def case(name: str) -> tuple[nn.Module, Batch]:
    torch.manual_seed(2)
    if name == "odd":
        return Odd(), {"tokens": torch.randint(11, (9, 6))}
    return Convolutional(), {"images": torch.randn(9, 3, 8, 8), "labels": torch.randint(11, (9,))}


LOSSES = {"odd": token_losses, "convolutional": image_losses}


def worst_error(found: Clipped, expected: Clipped) -> float:
    """Return the largest error of any gradient entry, in units of the largest entry."""
    assert found.gradients.keys() == expected.gradients.keys()
    pairs = [(found.gradients[name], expected.gradients[name]) for name in expected.gradients]
    return max(float((a - b).abs().max()) for a, b in pairs) / max(float(b.abs().max()) for _, b in pairs)


def norm_of(clipped: Clipped) -> float:
    return math.sqrt(sum(float(tensor.double().square().sum()) for tensor in clipped.gradients.values()))


@pytest.mark.parametrize("name", FAST)
@pytest.mark.parametrize("kind", list(LOSSES))
@pytest.mark.parametrize("clip", [0.05, 1.0, 1e6, math.inf])
def test_engine_equals_the_loop(name: str, kind: str, clip: float) -> None:
    model, batch = case(kind)
    found = engine(name)(model, LOSSES[kind], batch, clip)
    expected = loop_sum(model, LOSSES[kind], batch, clip)
    assert worst_error(found, expected) < 1e-5
    assert found.norms is not None
    assert expected.norms is not None
    torch.testing.assert_close(found.norms, expected.norms, rtol=1e-5, atol=0)
    torch.testing.assert_close(found.losses, expected.losses)


@pytest.mark.parametrize("kind", list(LOSSES))
def test_the_loop_is_the_sum_of_clipped_gradients_written_out(kind: str) -> None:
    model, batch = case(kind)
    total = [torch.zeros_like(parameter) for parameter in trainable(model).values()]
    for i in range(9):
        model.zero_grad()
        one = {key: tensor[i : i + 1] for key, tensor in batch.items()}
        torch.autograd.backward(LOSSES[kind](model, one).sum())
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in trainable(model).values()]
        norm = torch.cat([gradient.reshape(-1) for gradient in gradients]).norm()
        for sums, gradient in zip(total, gradients, strict=True):
            sums.add_(gradient * min(1.0, 0.3 / float(norm)))
    found = loop_sum(model, LOSSES[kind], batch, 0.3)
    for sums, gradient in zip(total, found.gradients.values(), strict=True):
        torch.testing.assert_close(gradient, sums)


@pytest.mark.parametrize("kind", list(LOSSES))
def test_unclipped_is_the_ordinary_gradient(kind: str) -> None:
    model, batch = case(kind)
    found = unclipped_sum(model, LOSSES[kind], batch)
    assert worst_error(found, loop_sum(model, LOSSES[kind], batch, math.inf)) < 1e-5
    assert found.norms is None


@pytest.mark.parametrize(
    "run", [*ENGINES.values(), lambda *args: unclipped_sum(*args[:3])], ids=[*ENGINES, "unclipped"]
)
def test_nothing_of_the_model_changes(run: ClippedSum) -> None:
    model, batch = case("odd")
    before = copy.deepcopy(model.state_dict())
    run(model, token_losses, batch, 1.0)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert model.training


def test_trainable_names_tied_parameters_once_and_frozen_ones_never() -> None:
    names = set(trainable(case("odd")[0]))
    assert names == {
        "embedding.weight", "position", "scale", "qkv.weight", "qkv.bias", "norm.weight", "norm.bias", "unused",
    }  # fmt: skip


def random_case(seed: int, widths: list[int], scale: float) -> tuple[nn.Module, Batch]:
    generator = torch.Generator().manual_seed(seed)
    layers: list[nn.Module] = []
    for i, (inner, outer) in enumerate(itertools.pairwise(widths)):
        layers += [nn.Linear(inner, outer), [nn.Tanh(), nn.ReLU(), nn.GELU(), nn.LayerNorm(outer)][(seed + i) % 4]]
    model = nn.Sequential(*layers)
    for parameter in model.parameters():
        parameter.data.normal_(std=scale, generator=generator)
    x, y = (torch.randn(4, width, generator=generator) * scale for width in (widths[0], widths[-1]))
    return model, {"x": x, "y": y}


# A norm over one or two numbers magnifies rounding until a record in a batch and the same alone differ, which the
# book-keeping engine refuses.
@given(
    seed=st.integers(0, 2**31),
    widths=st.lists(st.integers(8, 40), min_size=2, max_size=4),
    scale=st.floats(1e-3, 10),
    clip=st.floats(1e-4, 1e4),
)
@settings(max_examples=12, deadline=None)
@pytest.mark.parametrize("name", list(ENGINES))
def test_no_record_contributes_more_than_the_clip_norm(
    name: str, seed: int, widths: list[int], scale: float, clip: float
) -> None:
    model, batch = random_case(seed, widths, scale)
    alone = engine(name)(model, error_losses, {key: tensor[:1] for key, tensor in batch.items()}, clip)
    assert norm_of(alone) <= clip * (1 + 1e-5)
    together = engine(name)(model, error_losses, batch, clip)
    others = engine(name)(model, error_losses, {key: tensor[1:] for key, tensor in batch.items()}, clip)
    difference = {name: together.gradients[name] - others.gradients[name] for name in together.gradients}
    rounding = 1e-5 * (norm_of(together) + norm_of(others))
    left = math.sqrt(sum(float(tensor.double().square().sum()) for tensor in difference.values()))
    assert left <= clip * (1 + 1e-5) + rounding


@pytest.mark.parametrize("name", list(ENGINES))
def test_low_precision_around_the_engine_does_not_loosen_the_clip(name: str) -> None:
    model, batch = random_case(1, [30, 40, 20], 1.0)
    for i in range(4):
        one = {key: tensor[i : i + 1] for key, tensor in batch.items()}
        with torch.autocast("cpu", torch.bfloat16):
            alone = engine(name)(model, error_losses, one, 0.01)
        assert norm_of(alone) == pytest.approx(0.01, rel=1e-5)


@pytest.mark.parametrize("name", list(ENGINES))
def test_bfloat16_parameters_are_summed_in_float32(name: str) -> None:
    model, batch = random_case(1, [30, 40, 20], 1.0)
    for i in range(4):
        half = {key: tensor[i : i + 1].bfloat16() for key, tensor in batch.items()}
        alone = engine(name)(model.bfloat16(), error_losses, half, 0.01)
        assert {tensor.dtype for tensor in alone.gradients.values()} == {torch.float32}
        assert norm_of(alone) == pytest.approx(0.01, rel=1e-5)


@pytest.mark.parametrize("name", list(ENGINES))
def test_a_gradient_that_is_no_number_is_an_error(name: str) -> None:
    model, batch = random_case(1, [3, 2], 1.0)
    batch["x"][2] = math.inf
    with pytest.raises(DpauditError, match="not finite"):
        engine(name)(model, error_losses, batch, 1.0)
    with pytest.raises(DpauditError, match="expected a number"):
        unclipped_sum(model, error_losses, batch)


@pytest.mark.parametrize("name", list(ENGINES))
def test_a_mean_over_the_batch_is_no_loss_per_record(name: str) -> None:
    model, batch = random_case(1, [3, 2], 1.0)
    with pytest.raises(DpauditError, match=r"losses of \d records have shape \(\)"):
        engine(name)(model, lambda m, b: error_losses(m, b).mean(), batch, 1.0)


@pytest.mark.parametrize("name", list(ENGINES))
def test_a_batch_has_one_length(name: str) -> None:
    model, batch = random_case(1, [3, 2], 1.0)
    with pytest.raises(DpauditError, match=r"first dimensions \[3, 4\]"):
        engine(name)(model, error_losses, {"x": batch["x"], "y": batch["y"][:3]}, 1.0)


def test_randomness_inside_the_losses_is_refused_by_the_functional_engine() -> None:
    model, batch = random_case(1, [3, 2], 1.0)
    with pytest.raises(RuntimeError, match="random"):
        engine("functional")(model, lambda m, b: error_losses(m, b) * torch.rand(1), batch, 1.0)


def test_an_unknown_engine_is_an_input_error() -> None:
    with pytest.raises(InputError, match="bookkeeping, functional, loop"):
        engine("ghost")
