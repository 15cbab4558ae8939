"""What book-keeping cannot do is refused by name, and leaves the model as it was; no record contributes more than C."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from dpaudit.dp.bookkeeping.clipped_sum import bookkeeping_sum
from dpaudit.dp.clipping import RULES, Flat
from dpaudit.errors import DpauditError

if TYPE_CHECKING:
    from collections.abc import Callable

    from dpaudit.dp.clipping import ClippingRule
    from dpaudit.dp.tensors import Batch


class Net(nn.Module):
    """A function of one inner module or parameter, `inner`, with a layer before it."""

    def __init__(self, inner: nn.Module | nn.Parameter, forward: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.inner = inner
        self.function = forward

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, self.first(x))


class OfItsOwn(torch.autograd.Function):
    """A function that torch cannot see into."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return x * weight.detach()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        return g * weight, (g * x).sum((0, 1))


class Hiding(nn.Module):
    """A layer that keeps its weight in a list, as torch's recurrent ones do."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 4))
        self.kept = [self.weight]

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.kept[0]


def squared(model: nn.Module, batch: Batch) -> Tensor:
    y: Tensor = model(batch["x"])
    return y.flatten(1).square().sum(1)


def batch_of(*shape: int) -> Batch:
    return {"x": torch.randn(*shape, generator=torch.Generator().manual_seed(4))}


def vector(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(*shape, generator=torch.Generator().manual_seed(5)))


UNCOVERED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "a weight that is computed": (
        lambda: Net(vector(4, 4), lambda m, x: functional.linear(x, m.inner / 2)),
        "inner is used by torch's linear",
    ),
    "a parameter among records": (
        lambda: Net(vector(3, 3, 4), lambda m, x: torch.cat([m.inner, x])),
        "inner is used by torch's cat",
    ),
    "a parameter that is changed": (
        lambda: Net(vector(4), lambda m, x: x + m.inner.mul_(2)),
        "inner is used by torch's mul_",
    ),
    "torch's attention": (
        lambda: Net(nn.MultiheadAttention(4, 2, batch_first=True), lambda m, x: m.inner(x, x, x)[0]),
        "inner.in_proj_weight",
    ),
    "a one-dimensional convolution": (
        lambda: Net(nn.Conv1d(3, 3, 1), lambda m, x: m.inner(x)),
        "inner.weight and inner.bias is used by torch's conv1d",
    ),
    "batch normalisation": (
        lambda: Net(nn.BatchNorm1d(3), lambda m, x: m.inner(x)),
        "inner.weight and inner.bias is used by torch's batch_norm",
    ),
    "a function of your own": (
        lambda: Net(vector(4), lambda m, x: OfItsOwn.apply(x, m.inner)),
        "inner is used where book-keeping cannot see",
    ),
    "a weight in a list": (
        lambda: Net(Hiding(), lambda m, x: m.inner(x)),
        "inner.weight is used where book-keeping cannot see",
    ),
    "tokens before records": (
        lambda: Net(nn.Linear(4, 4), lambda m, x: m.inner(x.transpose(0, 1))),
        r"inner.weight meets a tensor of shape \(3, 5, 4\)",
    ),
    "an embedding that is renormed": (
        lambda: Net(nn.Embedding(4, 2, max_norm=1.0), lambda m, x: m.inner(x.argmax(2)) + x.mean()),
        "inner.weight has max_norm",
    ),
    "an embedding that counts": (
        lambda: Net(nn.Embedding(4, 2, scale_grad_by_freq=True), lambda m, x: m.inner(x.argmax(2))),
        "scale_grad_by_freq",
    ),
}


@pytest.mark.parametrize("name", list(UNCOVERED))
def test_what_has_no_rule_is_named(name: str) -> None:
    model, message = UNCOVERED[name][0](), UNCOVERED[name][1]
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(DpauditError, match=message):
        bookkeeping_sum(model, squared, batch_of(5, 3, 4), 1.0)
    assert {type(each) for each in model.parameters()} == {nn.Parameter}
    assert all(torch.equal(each, before[name]) for name, each in model.state_dict().items())


def centred(m: Any, x: Tensor) -> Tensor:
    out: Tensor = m.inner(x - x.mean(0))
    return out


RECORDS_MEET: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], str]] = {
    "a mean over records": (lambda: Net(nn.Linear(4, 4), centred), (5, 3, 4), "not what each has alone"),
    "normalised over records": (
        lambda: Net(nn.BatchNorm1d(3, affine=False), lambda m, x: m.inner(x)),
        (5, 3, 4),
        "not what each has alone",
    ),
    "tokens first, as many as records": (
        lambda: Net(nn.Linear(4, 4), lambda m, x: m.inner(x.transpose(0, 1)).transpose(0, 1)),
        (5, 5, 4),
        "meets a tensor of shape",
    ),
    "tokens first, twice as many": (
        lambda: Net(nn.Linear(4, 4), lambda m, x: m.inner(x.transpose(0, 1)).transpose(0, 1).tanh()),
        (5, 10, 4),
        "used otherwise in a batch of 2",
    ),
    "a table as long as the batch": (
        lambda: Net(vector(5, 4), lambda m, x: x + (m.inner * torch.ones(5, 5, 4)).sum(0)),
        (5, 5, 4),
        "inner is used by torch's mul",
    ),
}


@pytest.mark.parametrize("name", list(RECORDS_MEET))
def test_records_that_meet_are_refused(name: str) -> None:
    build, shape, message = RECORDS_MEET[name]
    with pytest.raises(DpauditError, match=message):
        bookkeeping_sum(build(), squared, batch_of(*shape), 1.0)


def test_a_loss_over_pairs_is_refused_also_on_a_model_that_was_fine() -> None:
    model, batch = Net(nn.Linear(4, 4), lambda m, x: m.inner(x)), batch_of(5, 3, 4)
    bookkeeping_sum(model, squared, batch, 1.0)

    def pairs(model: nn.Module, batch: Batch) -> Tensor:
        y = model(batch["x"]).flatten(1)
        similarity: Tensor = (y @ y.t()).logsumexp(1)
        return similarity

    with pytest.raises(DpauditError, match="not what each has alone"):
        bookkeeping_sum(model, pairs, batch, 1.0)


def test_dropout_is_refused() -> None:
    model = Net(nn.Dropout(0.5), lambda m, x: m.inner(x))
    with pytest.raises(DpauditError, match="draw random numbers"):
        bookkeeping_sum(model, squared, batch_of(5, 3, 4), 1.0)
    assert bookkeeping_sum(model.eval(), squared, batch_of(5, 3, 4), 1.0).norms is not None


def test_an_input_changed_after_its_layer_saw_it_is_an_error() -> None:
    def in_place(m: Any, x: Tensor) -> Tensor:
        out: Tensor = m.inner(x)
        x += out
        return out + x

    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        bookkeeping_sum(Net(nn.Linear(4, 4), in_place), squared, batch_of(5, 3, 4), 1.0)


def test_the_model_is_checked_once() -> None:
    model, calls = Net(nn.Linear(4, 4), lambda m, x: m.inner(x)), []

    def counted(model: nn.Module, batch: Batch) -> Tensor:
        calls.append(len(batch["x"]))
        return squared(model, batch)

    for size in (1, 5, 5, 3):
        bookkeeping_sum(model, counted, batch_of(size, 3, 4), 1.0)
    assert calls == [1, 5, 2, 2, 1, 1, 5, 3]


def test_an_infinite_gradient_names_its_tensor() -> None:
    model = Net(nn.Linear(4, 4), lambda m, x: m.inner(x))
    model.get_submodule("inner").get_parameter("weight").data.fill_(1e30)
    with pytest.raises(DpauditError, match=r"the gradient of inner\.\w+ is not finite for \d of 5 records"):
        bookkeeping_sum(model, squared, batch_of(5, 3, 4), 1.0)


def test_tf32_is_not_used_for_norms_and_sums() -> None:
    seen = []
    model = Net(nn.Linear(4, 4), lambda m, x: m.inner(x))
    torch.set_float32_matmul_precision("medium")
    try:
        exact = bookkeeping_sum(model, squared, batch_of(5, 3, 4), 0.1)
        seen.append(torch.get_float32_matmul_precision())
    finally:
        torch.set_float32_matmul_precision("highest")
    assert seen == ["medium"]
    assert exact.contributions is not None
    assert float(exact.contributions.max()) == pytest.approx(0.1, rel=1e-5)


# No record contributes more than C, over random models.


class Random(nn.Module):
    """A small language model with all forms of gradients, of random sizes."""

    def __init__(self, width: int, vocabulary: int, *, tied: bool, twice: bool) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.position = nn.Parameter(torch.randn(1, 9, width))
        self.layer = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.convolution = nn.Conv2d(1, 2, 3, padding=1)
        self.head = nn.Linear(width, vocabulary)
        self.twice = twice
        if tied:
            self.head.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens) + self.position[:, : tokens.shape[1]]
        for _ in range(1 + self.twice):
            x = x + self.layer(self.norm(x)).tanh()
        x = x + self.convolution(x.unsqueeze(1)).mean(1)
        logits: Tensor = self.head(x)
        return logits


def next_token(model: nn.Module, batch: Batch) -> Tensor:
    logits = model(batch["tokens"][:, :-1])
    return functional.cross_entropy(logits.transpose(1, 2), batch["tokens"][:, 1:], reduction="none").sum(1)


def whole_norm(gradients: dict[str, Tensor]) -> float:
    return math.sqrt(sum(float(each.double().square().sum()) for each in gradients.values()))


@given(
    shape=st.tuples(st.integers(0, 2**31), st.integers(1, 24), st.integers(1, 9)),
    scale=st.floats(0.01, 30),
    clip=st.floats(1e-4, 1e4),
    kind=st.sampled_from([(False, False), (True, False), (True, True)]),
    rule=st.sampled_from(list(RULES.values())),
)
@settings(max_examples=25, deadline=None)
def test_no_record_contributes_more_than_the_clip_norm(
    shape: tuple[int, int, int], scale: float, clip: float, kind: tuple[bool, bool], rule: ClippingRule
) -> None:
    seed, width, tokens = shape
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Random(width, 11, tied=kind[0], twice=kind[1])
        for each in model.parameters():
            each.data.mul_(scale)
        batch = {"tokens": torch.randint(11, (4, tokens + 1))}
    together = bookkeeping_sum(model, next_token, batch, clip, rule)
    others = bookkeeping_sum(model, next_token, {"tokens": batch["tokens"][1:]}, clip, rule)
    alone = bookkeeping_sum(model, next_token, {"tokens": batch["tokens"][:1]}, clip, rule)
    assert whole_norm(alone.gradients) <= clip * (1 + 1e-5)
    left = {name: each - others.gradients[name] for name, each in together.gradients.items()}
    rounding = 1e-6 * (whole_norm(together.gradients) + whole_norm(others.gradients))
    assert whole_norm(left) <= clip * (1 + 1e-5) + rounding
    assert together.contributions is not None
    assert float(together.contributions.max()) <= clip * (1 + 1e-6)


def test_flat_is_the_default() -> None:
    model, batch = Net(nn.Linear(4, 4), lambda m, x: m.inner(x)), batch_of(5, 3, 4)
    default, flat = (bookkeeping_sum(model, squared, batch, 1.0, *rule) for rule in ((), (Flat(),)))
    assert all(torch.equal(each, flat.gradients[name]) for name, each in default.gradients.items())


def test_two_copies_of_a_record_do_not_pass_for_a_check() -> None:
    model, batch = Net(nn.Linear(4, 4), centred), batch_of(5, 3, 4)
    bookkeeping_sum(model, squared, {"x": batch["x"][:1].expand(5, 3, 4)}, 1.0)
    with pytest.raises(DpauditError, match="not what each has alone"):
        bookkeeping_sum(model, squared, {"x": batch["x"][[0, 0, 1]]}, 1.0)
