"""Losses over pairs: slopes are derivatives, and one record moves them by what is said, and never by more."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from dpaudit.models.pair_losses import InfoNCE, PairLoss, Sigmoid, SpreadOut

if TYPE_CHECKING:
    from dpaudit.mechanism import Adjacency

LOSSES: list[PairLoss] = [
    InfoNCE(temperature=1.0),
    InfoNCE(temperature=0.5),
    InfoNCE(temperature=0.7, two_sided=True),
    SpreadOut(),
    SpreadOut(repulsion=0.3),
    Sigmoid(temperature=0.1),
    Sigmoid(temperature=2.0, bias=-1.5, repulsion=4.0),
]
ADJACENCIES: list[Adjacency] = ["add-remove", "replace-one"]


def similarities(n: int, seed: int, scale: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(n, n, generator=generator, dtype=torch.float64) * 2 - 1) * scale


def last_is_gone(loss: PairLoss, z: Tensor) -> float:
    """Return the L1 change of all slopes when the last record leaves: what unlucky pair gradients make of it."""
    fewer = torch.zeros_like(z)
    if len(z) > 1:
        fewer[:-1, :-1] = loss.slopes(z[:-1, :-1])
    return float((loss.slopes(z) - fewer).abs().sum())


def last_is_another(loss: PairLoss, z: Tensor, other: Tensor) -> float:
    """Return the same when the last record is replaced: its pair gradients are new, so both slopes count in full."""
    one, two = loss.slopes(z), loss.slopes(other)
    shared = (one - two)[:-1, :-1].abs().sum()
    return float(shared + sum(each.abs().sum() - each[:-1, :-1].abs().sum() for each in (one, two)))


def replaced(z: Tensor, seed: int) -> Tensor:
    other, new = z.clone(), similarities(len(z), seed).sign()
    other[-1], other[:, -1] = new[-1], new[:, -1]
    return other


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("n", [1, 2, 5])
def test_slopes_are_the_derivative_of_the_summed_loss(loss: PairLoss, n: int) -> None:
    z = similarities(n, 1).requires_grad_()
    (expected,) = torch.autograd.grad(loss.losses(z).sum(), [z])
    torch.testing.assert_close(loss.slopes(z.detach()), expected, rtol=1e-10, atol=1e-12)


def test_infonce_is_cross_entropy_over_the_batch() -> None:
    z, own = similarities(6, 2), torch.arange(6)
    torch.testing.assert_close(InfoNCE(temperature=0.2).losses(z), cross_entropy(z / 0.2, own, reduction="none"))
    both = (cross_entropy(z / 0.2, own, reduction="none") + cross_entropy(z.t() / 0.2, own, reduction="none")) / 2
    torch.testing.assert_close(InfoNCE(temperature=0.2, two_sided=True).losses(z), both)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("n", [1, 2, 3, 4, 9, 64])
def test_the_worst_similarities_attain_the_bound_of_every_size(loss: PairLoss, n: int) -> None:
    z = loss.worst(n)
    assert last_is_gone(loss, z) == pytest.approx(loss.change("add-remove", n), rel=1e-9, abs=1e-12)
    assert last_is_another(loss, z, z) == pytest.approx(loss.change("replace-one", n), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("adjacency", ADJACENCIES)
def test_the_bound_grows_to_its_cap_and_never_past_it(loss: PairLoss, adjacency: Adjacency) -> None:
    sizes = [loss.change(adjacency, n) for n in (0, 1, 2, 3, 10, 1_000, 10**6, 10**12)]
    cap = loss.change(adjacency)
    assert sizes[0] <= 1e-12
    assert all(size <= cap * (1 + 1e-12) for size in sizes)
    assert sizes[-1] == pytest.approx(cap, rel=1e-6)
    assert sizes[1:] == sorted(sizes[1:])


@pytest.mark.parametrize("temperature", [0.3, 1.0])
def test_the_cap_of_infonce_is_attained_by_a_huge_batch(temperature: float) -> None:
    n, loss = 10**10, InfoNCE(temperature=temperature)
    high, low = math.exp(1 / temperature), math.exp(-1 / temperature)
    own = 2 * (1 - low / ((n - 1) * high + low))  # the last row: unlike itself, like all others
    chosen, others = high / ((n - 1) * low + high), low / ((n - 1) * low + high)  # every other row
    moved = (n - 1) * (low / ((n - 1) * low) - others)
    found = (own + (n - 1) * (chosen + moved)) / temperature
    assert found == pytest.approx(loss.change("add-remove"), rel=1e-6)
    assert found <= loss.change("add-remove") * (1 + 1e-9)


@pytest.mark.parametrize("loss", LOSSES)
def test_no_similarities_exceed_the_bound(loss: PairLoss) -> None:
    for n, seed in itertools.product((1, 2, 3, 5, 8), range(40)):
        drawn = similarities(n, seed, scale=1.0 if seed % 2 else 3.0).clamp(-1, 1)
        assert last_is_gone(loss, drawn) <= loss.change("add-remove", n) * (1 + 1e-9) + 1e-12
        other = replaced(drawn, 100 + seed)
        assert last_is_another(loss, drawn, other) <= loss.change("replace-one", n) * (1 + 1e-9) + 1e-12
        assert float(loss.slopes(drawn).abs().sum()) <= loss.largest(n) * (1 + 1e-9) + 1e-12


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("n", [2, 3])
def test_of_all_extreme_similarities_none_exceeds_the_bound_and_one_attains_it(loss: PairLoss, n: int) -> None:
    corners = [
        torch.tensor(each, dtype=torch.float64).reshape(n, n) for each in itertools.product((-1, 1), repeat=n * n)
    ]
    assert max(last_is_gone(loss, z) for z in corners) == pytest.approx(loss.change("add-remove", n), rel=1e-9)


def test_ordinary_similarities_stay_far_below_the_bound() -> None:
    loss = InfoNCE(temperature=1.0)
    assert last_is_gone(loss, similarities(64, 3, scale=0.3)) < 0.35 * loss.change("add-remove")


# Wrong on purpose: numbers that are not bounds.


def test_a_constant_without_the_temperature_is_exceeded() -> None:
    loss = InfoNCE(temperature=0.5)
    assert last_is_gone(loss, loss.worst(512)) > 1.5 * loss.temperature * loss.change("add-remove")


def test_a_constant_of_one_size_is_exceeded_by_a_larger_batch() -> None:
    loss = InfoNCE(temperature=0.5)
    assert last_is_gone(loss, loss.worst(64)) > 2 * loss.change("add-remove", 16)


@pytest.mark.parametrize("n", [2, 8, 64])
def test_the_constant_of_lemma_4_5_as_its_reviews_quote_it_is_exceeded(n: int) -> None:
    loss, a = InfoNCE(temperature=1.0), math.exp(2)
    assert last_is_gone(loss, loss.worst(n)) > 2 * (1 + (n - 2) * a / (a + n - 1))


def test_a_capped_sigmoid_moves_the_slopes_of_other_rows_too() -> None:
    loss = Sigmoid(temperature=0.05)
    assert last_is_gone(loss, loss.worst(8)) == pytest.approx(4.0, rel=1e-6)  # 1 + 2 repulsion would be 3


def test_sigmoid_weights_of_a_nominal_size_are_exceeded_by_a_larger_batch() -> None:
    loss, nominal, drawn = Sigmoid(temperature=0.05), 8, 12
    slopes = loss.slopes(loss.worst(drawn)).abs() * (drawn - 1) / (nominal - 1)  # weights 1 / (nominal - 1)
    beside = float(slopes[-1, :-1].sum() + slopes[:-1, -1].sum())
    assert 1 + beside > 4.0  # though nothing else changes: 1 + 2 repulsion would be 3


def test_the_sigmoid_is_bounded_at_any_temperature() -> None:
    for temperature in (1e-3, 0.01, 0.1, 1.0, 10.0):
        loss = Sigmoid(temperature=temperature)
        assert loss.change("add-remove") <= 4.0
        assert loss.change("replace-one") <= 6.0
        assert torch.isfinite(loss.slopes(similarities(5, 4))).all()
