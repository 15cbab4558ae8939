"""Pair gradients: every exact way to their norms, and their clipped sum, beside one pair at a time."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from dpaudit.dp.pairs import (
    Towers,
    clipped_pair_sum,
    linear_pair_norms,
    norms_by_jacobians,
    norms_by_pairs,
    pair_norms,
)
from dpaudit.dp.tensors import Batch, Gradients, trainable
from dpaudit.models.initialisation import seeded
from dpaudit.models.pair_losses import InfoNCE, Sigmoid, SpreadOut
from dpaudit.models.pair_towers import LEAST_LENGTH, PairTowers, linear, resnet18, small_convolutions
from dpaudit.rng import Rng


def firsts(model: nn.Module, batch: Batch) -> Tensor:
    assert isinstance(model, PairTowers)
    return model(batch["first"])  # type: ignore[no-any-return]  # a module's call


def seconds(model: nn.Module, batch: Batch) -> Tensor:
    assert isinstance(model, PairTowers)
    return model.seconds(batch["second"])


TOWERS = Towers(firsts=firsts, seconds=seconds)


def problem(n: int, *, shared: bool, kind: str = "small", side: int = 16) -> tuple[PairTowers, Batch]:
    makers = {
        "small": lambda: small_convolutions(embedding=4),
        "linear": lambda: linear(image_size=side, embedding=4),
        "resnet18": lambda: resnet18(embedding=5, norm="group"),
    }
    with seeded(Rng.from_seed(n)):
        model = PairTowers(makers[kind], shared=shared)
        batch = {name: torch.randn(n, 3, side, side) for name in ("first", "second")}
    batch["second"][0] = batch["first"][0]  # a pair of one image: its two terms cancel
    return model, batch


def gradient_of(model: PairTowers, batch: Batch, i: int, j: int) -> Gradients:
    z = (firsts(model, batch)[i] * seconds(model, batch)[j]).sum()
    parameters = trainable(model)
    found = torch.autograd.grad(z, list(parameters.values()), allow_unused=True, materialize_grads=True)
    return dict(zip(parameters, found, strict=True))


def norm_of(gradients: Gradients) -> float:
    return math.sqrt(math.fsum(float(each.double().square().sum()) for each in gradients.values()))


def norms_one_by_one(model: PairTowers, batch: Batch) -> Tensor:
    n = len(batch["first"])
    return torch.tensor([[norm_of(gradient_of(model, batch, i, j)) for j in range(n)] for i in range(n)])


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("kind", ["small", "linear"])
@pytest.mark.parametrize("by", [norms_by_jacobians, norms_by_pairs, pair_norms])
def test_norms_are_those_of_one_pair_at_a_time(by, kind: str, shared: bool) -> None:  # type: ignore[no-untyped-def]  # three functions of one signature
    model, batch = problem(5, shared=shared, kind=kind)
    expected = norms_one_by_one(model, batch)
    torch.testing.assert_close(by(model, TOWERS, batch).float(), expected, rtol=1e-5, atol=2e-3 * float(expected.max()))
    others = ~torch.eye(5, dtype=torch.bool)
    torch.testing.assert_close(by(model, TOWERS, batch).float()[others], expected[others], rtol=2e-5, atol=0.0)


@pytest.mark.parametrize("shared", [True, False])
def test_no_norm_is_taken_too_small(shared: bool) -> None:
    model, batch = problem(6, shared=shared)
    batch["second"] = batch["first"] + 1e-3 * batch["second"]  # gradients that nearly cancel
    expected = norms_one_by_one(model, batch)
    rounding = 2e-6 * expected.max()  # of the float32 derivatives of both ways
    assert bool((norms_by_jacobians(model, TOWERS, batch) >= expected * (1 - 1e-4) - rounding).all())


@pytest.mark.parametrize("shared", [True, False])
def test_linear_towers_have_a_closed_form(shared: bool) -> None:
    model, batch = problem(5, shared=shared, kind="linear")
    batch["first"][1] = 0.0  # shorter than the floor, where nothing is normalised
    batch["first"][2] *= 1e-9
    found = linear_pair_norms((batch["first"].flatten(1), batch["second"].flatten(1)), model.heads(), LEAST_LENGTH)
    expected = norms_one_by_one(model, batch)
    torch.testing.assert_close(found.float(), expected, rtol=1e-4, atol=1e-5)


def test_a_model_with_group_norm_goes_pair_by_pair() -> None:
    model, batch = problem(2, shared=True, kind="resnet18", side=32)
    expected = norms_one_by_one(model, batch)
    torch.testing.assert_close(pair_norms(model, TOWERS, batch).float(), expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("loss", [InfoNCE(temperature=0.5), SpreadOut(), Sigmoid(temperature=0.1)])
def test_the_clipped_sum_is_that_of_one_pair_at_a_time(loss, shared: bool) -> None:  # type: ignore[no-untyped-def]  # any PairLoss
    model, batch = problem(6, shared=shared)
    norms = norms_one_by_one(model, batch)
    clip = float(norms.median())  # half of the pairs are clipped
    found = clipped_pair_sum(model, TOWERS, batch, loss.slopes, clip)
    slopes = loss.slopes(firsts(model, batch).detach() @ seconds(model, batch).detach().t())
    expected = {name: torch.zeros_like(each) for name, each in trainable(model).items()}
    for i in range(6):
        for j in range(6):
            factor = min(1.0, clip / max(float(norms[i, j]), 1e-12))
            for name, each in gradient_of(model, batch, i, j).items():
                expected[name] += float(slopes[i, j]) * factor * each
    largest = max(float(each.abs().max()) for each in expected.values())
    for name, each in expected.items():
        torch.testing.assert_close(found.gradients[name], each, rtol=0, atol=1e-4 * largest)


def test_without_a_clip_norm_the_sum_is_the_gradient_of_the_loss() -> None:
    model, batch = problem(4, shared=True)
    loss = InfoNCE(temperature=0.5)
    z = firsts(model, batch) @ seconds(model, batch).t()
    expected = torch.autograd.grad(loss.losses(z).sum(), list(model.parameters()))
    found = clipped_pair_sum(model, TOWERS, batch, loss.slopes, math.inf)
    assert found.norms is None
    for name, each in zip(found.gradients.values(), expected, strict=True):
        torch.testing.assert_close(name, each, rtol=1e-4, atol=1e-6)


def test_a_batch_changes_neither_parameters_nor_their_gradients() -> None:
    model, batch = problem(3, shared=True)
    before = [each.detach().clone() for each in model.parameters()]
    clipped_pair_sum(model, TOWERS, batch, InfoNCE(temperature=1.0).slopes, 0.1)
    assert all(each.grad is None for each in model.parameters())
    assert all(torch.equal(each, was) for each, was in zip(model.parameters(), before, strict=True))
