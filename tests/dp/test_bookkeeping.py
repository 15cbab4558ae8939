"""Book-keeping gives the clipped sum of the loop for every layer and every model that is here, whole or in halves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from dpaudit.dp.bookkeeping import halves
from dpaudit.dp.bookkeeping.clipped_sum import bookkeeping_sum
from dpaudit.dp.bookkeeping.forms import Outer, Tied
from dpaudit.dp.bookkeeping.layers import Layer
from dpaudit.dp.clipping import RULES, Flat
from dpaudit.dp.loop import loop_sum
from dpaudit.dp.views import Views
from dpaudit.errors import DpauditError
from dpaudit.models.captioner import SIZES as CAPTIONERS
from dpaudit.models.captioner import Captioner, caption_losses
from dpaudit.models.mae import SIZES, MaskedAutoencoder, patchify
from dpaudit.models.vit import Learned, take_tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dpaudit.dp.clipping import Clipped, ClippingRule, Losses
    from dpaudit.dp.tensors import Batch

RECORDS = 5
FLAT = Flat()


@pytest.fixture(params=["whole", "halves"], autouse=True)
def pieces(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Compute every batch in one piece, or every one in halves, however small."""
    monkeypatch.setattr(halves, "_FEWEST_PRODUCTS", 0 if request.param == "halves" else 10**18)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield request.param
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)


class Of(nn.Module):
    """A model that is a function of its parts."""

    def __init__(self, forward: Callable[[Any, Tensor], Tensor], **parts: nn.Module | nn.Parameter) -> None:
        super().__init__()
        self.function = forward
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


def parameter(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(shape))


def frozen_bias() -> nn.Module:
    layer = nn.Linear(6, 4)
    layer.bias.requires_grad_(False)
    return layer


def frozen_weight(layer: nn.Module) -> nn.Module:
    layer.get_parameter("weight").requires_grad_(False)
    return layer


#: name -> (model, shape of one record)
FLOATS: dict[str, Callable[[], tuple[nn.Module, tuple[int, ...]]]] = {
    "linear": lambda: (nn.Linear(6, 4), (6,)),
    "linear on tokens": lambda: (nn.Sequential(nn.Linear(6, 9, bias=False), nn.Tanh(), nn.Linear(9, 4)), (3, 6)),
    "linear on a grid": lambda: (nn.Linear(6, 4), (2, 3, 6)),
    "linear on many tokens": lambda: (nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)), (40, 3)),
    "linear with a frozen bias": lambda: (frozen_bias(), (3, 6)),
    "linear with a frozen weight": lambda: (frozen_weight(nn.Linear(6, 4)), (3, 6)),
    "linear twice": lambda: (Of(lambda m, x: m.a(m.a(x).tanh()), a=nn.Linear(6, 6)), (3, 6)),
    "linear twice on many tokens": lambda: (Of(lambda m, x: m.a(m.a(x).tanh()), a=nn.Linear(2, 2)), (40, 2)),
    "linear, its weight read": lambda: (Of(lambda m, x: functional.linear(x, m.a.weight), a=nn.Linear(6, 6)), (3, 6)),
    "linear, its input used elsewhere": lambda: (
        Of(lambda m, x: m.a(x) * m.b(x), a=nn.Linear(6, 4), b=nn.Linear(6, 4)),
        (3, 6),
    ),
    "linear with a computed bias": lambda: (
        Of(lambda m, x: functional.linear(x, m.a.weight, m.p.tanh()), a=nn.Linear(6, 4), p=parameter(4)),
        (3, 6),
    ),
    "product": lambda: (Of(lambda m, x: x @ m.p, p=parameter(6, 4)), (3, 6)),
    "product with the transposed": lambda: (
        Of(lambda m, x: x @ m.p.t() + (x @ m.p.T).sin(), p=parameter(4, 6)),
        (3, 6),
    ),
    "patches": lambda: (nn.Conv2d(3, 5, 4, 4), (3, 9, 8)),
    "convolution": lambda: (
        nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.Tanh(), nn.Conv2d(4, 2, (1, 3), dilation=(1, 2))),
        (3, 9, 12),
    ),
    "convolution in groups": lambda: (
        nn.Sequential(
            nn.Conv2d(4, 6, 3, groups=2, padding="same"), nn.Tanh(), nn.Conv2d(6, 6, 3, groups=6, bias=False)
        ),
        (4, 7, 7),
    ),
    "convolution of even size": lambda: (nn.Conv2d(3, 4, (4, 3), padding="same", dilation=(1, 2)), (3, 8, 8)),
    "convolution with a computed bias": lambda: (
        Of(lambda m, x: functional.conv2d(x, m.a.weight, m.p.tanh()), a=nn.Conv2d(3, 4, 3), p=parameter(4)),
        (3, 6, 6),
    ),
    "convolution, circular": lambda: (nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular"), (3, 6, 6)),
    "convolution with a frozen weight": lambda: (frozen_weight(nn.Conv2d(3, 4, 3)), (3, 6, 6)),
    "layer norm": lambda: (nn.LayerNorm(6), (3, 6)),
    "layer norm without bias": lambda: (nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8, bias=False)), (3, 6)),
    "layer norm over a grid": lambda: (nn.LayerNorm([3, 6], eps=0.1), (2, 3, 6)),
    "layer norm twice": lambda: (Of(lambda m, x: m.a(m.a(x).tanh()), a=nn.LayerNorm(6)), (3, 6)),
    "layer norm with a frozen weight": lambda: (frozen_weight(nn.LayerNorm(6)), (3, 6)),
    "group norm": lambda: (nn.Sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8, eps=0.1)), (3, 7, 7)),
    "group norm on vectors": lambda: (nn.GroupNorm(2, 6), (6,)),
    "positions": lambda: (Of(lambda m, x: (x + m.p) * m.q, p=parameter(3, 6), q=parameter(1, 3, 6)), (3, 6)),
    "part of the positions": lambda: (Of(lambda m, x: x + m.p[:, :3].float(), p=parameter(1, 5, 6)), (3, 6)),
    "tokens": lambda: (
        Of(
            lambda m, x: torch.cat(
                [m.p.expand(len(x), -1, -1), m.q.expand(len(x), 2, 6), x, m.r.repeat(len(x), 1, 1)], 1
            ),
            p=parameter(1, 2, 6),
            q=parameter(6),
            r=parameter(1, 1, 6),
        ),
        (3, 6),
    ),
    "a token of its own": lambda: (
        Of(lambda m, x: torch.cat([m.t(len(x)), x], 1), t=Learned(torch.randn(1, 6))),
        (3, 6),
    ),
    "where masked": lambda: (Of(lambda m, x: torch.where(x > 0, m.p, x), p=parameter(6)), (3, 6)),
    "scale": lambda: (Of(lambda m, x: m.s.exp() * x - m.s / (1 + x.square()), s=parameter()), (3, 6)),
    "weight and more": lambda: (Of(lambda m, x: x @ m.p + m.p.sum() * x, p=parameter(6, 6)), (3, 6)),
    "unused": lambda: (Of(lambda m, x: m.a(x), a=nn.Linear(6, 4), p=parameter(3)), (6,)),
}


def tied_by_layer() -> nn.Module:
    model = Of(lambda m, x: m.b(m.a(x).tanh()), a=nn.Embedding(7, 6), b=nn.Linear(6, 7))
    model.b.weight = model.a.weight  # type: ignore[union-attr]  # a module by construction
    return model


#: name -> a model of 5 tokens below 7
TOKENS: dict[str, Callable[[], nn.Module]] = {
    "embedding": lambda: nn.Embedding(7, 6),
    "embedding with padding": lambda: nn.Embedding(7, 6, padding_idx=-4),
    "embedding twice": lambda: Of(lambda m, x: m.a(x) * m.a(x.flip(1)), a=nn.Embedding(7, 6)),
    "embedding of bags": lambda: Of(lambda m, x: m.a(x.reshape(-1, 5, 1)).mean(2), a=nn.Embedding(7, 6)),
    "tied": tied_by_layer,
    "tied by a product": lambda: Of(lambda m, x: m.a(x).tanh() @ m.a.weight.t(), a=nn.Embedding(7, 6)),
    "tied the other way": lambda: Of(
        lambda m, x: m.a(x) + (m.a(x) @ m.p).softmax(2) @ m.a.weight, a=nn.Embedding(7, 6), p=parameter(6, 7)
    ),
    "table and more": lambda: Of(lambda m, x: m.a(x) + m.a.weight.mean() * m.a(x), a=nn.Embedding(7, 6)),
}


def squares(model: nn.Module, batch: Batch) -> Tensor:
    """Return a loss that weighs every output differently."""
    y = model(batch["x"]).flatten(1).float()
    error: Tensor = y - torch.linspace(-1, 1, y.shape[1])
    return error.square().mean(1)


def made(name: str) -> tuple[nn.Module, Batch]:
    torch.manual_seed(sum(map(ord, name)))
    if name in TOKENS:
        return TOKENS[name](), {"x": torch.randint(7, (RECORDS, 5))}
    model, shape = FLOATS[name]()
    for each in model.parameters():
        each.data.normal_()
    return model, {"x": torch.randn(RECORDS, *shape)}


def distance(found: Clipped, expected: Clipped) -> float:
    """Return the largest error of any entry, in units of the largest entry."""
    assert list(found.gradients) == list(expected.gradients)
    errors = [float((found.gradients[name] - each).abs().max()) for name, each in expected.gradients.items()]
    return max(errors) / max(float(each.abs().max()) for each in expected.gradients.values())


def check_parity(
    model: nn.Module, losses: Losses, batch: Batch, rule: ClippingRule = FLAT, tolerance: float = 1e-5
) -> None:
    """Clip about half the records, and compare all that an engine returns."""
    norms = loop_sum(model, losses, batch, 1e6).norms
    assert norms is not None
    clip = float(norms.median())
    expected = loop_sum(model, losses, batch, clip, rule)
    found = bookkeeping_sum(model, losses, batch, clip, rule)
    assert model not in halves._whole, "the halves failed, and what is compared is the whole batch"
    assert distance(found, expected) < tolerance
    for each in ("norms", "contributions", "losses"):
        torch.testing.assert_close(getattr(found, each), getattr(expected, each), rtol=tolerance, atol=tolerance * clip)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("name", [*FLOATS, *TOKENS])
def test_every_layer_equals_the_loop(name: str) -> None:
    check_parity(*_with_losses(name))


@pytest.mark.parametrize("rule", RULES.values(), ids=list(RULES))
@pytest.mark.parametrize("name", ["linear on tokens", "convolution", "weight and more", "tied"])
def test_every_rule_equals_the_loop(name: str, rule: ClippingRule) -> None:
    check_parity(*_with_losses(name), rule)


@pytest.mark.parametrize(
    "name",
    ["linear on tokens", "convolution in groups", "layer norm", "group norm", "positions", "tokens", "scale", "tied"],
)
def test_views_of_a_record_are_clipped_together(name: str) -> None:
    model, batch = made(name)
    other = {"x": batch["x"].flip(0)}
    stacked = {"x": torch.stack([batch["x"], other["x"], batch["x"].roll(1, 0)], 1)}
    check_parity(model, Views(squares, 3), stacked)


@pytest.mark.parametrize("name", ["linear on tokens", "tied", "convolution"])
def test_double_precision_stays(name: str) -> None:
    model, losses, batch = _with_losses(name)
    model.double()
    batch = {key: tensor.double() if tensor.is_floating_point() else tensor for key, tensor in batch.items()}

    def wide(model: nn.Module, batch: Batch) -> Tensor:
        y: Tensor = model(batch["x"])
        return y.flatten(1).square().mean(1)

    check_parity(model, wide, batch, tolerance=1e-10)
    assert losses is squares


def _with_losses(name: str) -> tuple[nn.Module, Losses, Batch]:
    model, batch = made(name)
    return model, squares, batch


# Whole models.


def autoencoder() -> tuple[nn.Module, Losses, Batch]:
    torch.manual_seed(1)
    size = SIZES["micro"]
    order = torch.rand(RECORDS, size.tokens).argsort(1)
    images = torch.randn(RECORDS, 3, size.image_size, size.image_size)
    batch = {"images": images, "visible": order[:, :4].sort(1).values, "masked": order[:, 4:].sort(1).values}

    def losses(model: nn.Module, batch: Batch) -> Tensor:
        wanted = take_tokens(patchify(batch["images"], size.patch_size), batch["masked"])
        error: Tensor = model(batch["images"], batch["visible"], batch["masked"]) - wanted
        return error.square().mean((1, 2))

    return MaskedAutoencoder(size), losses, batch


def captioner(*, tied: bool) -> tuple[nn.Module, Losses, Batch]:
    torch.manual_seed(1)
    batch = {"images": torch.randn(RECORDS, 3, 16, 16), "tokens": torch.randint(30, (RECORDS, 9))}

    def losses(model: nn.Module, batch: Batch) -> Tensor:
        tokens = batch["tokens"]
        return caption_losses(model(batch["images"], tokens[:, :-1]).float(), tokens[:, 1:])

    return Captioner(CAPTIONERS["micro"], vocabulary=30, tied=tied), losses, batch


WHOLE: dict[str, Callable[[], tuple[nn.Module, Losses, Batch]]] = {
    "masked autoencoder": autoencoder,
    "captioner": lambda: captioner(tied=False),
    "captioner, tied": lambda: captioner(tied=True),
}


@pytest.mark.parametrize("rule", RULES.values(), ids=list(RULES))
@pytest.mark.parametrize("name", list(WHOLE))
def test_models_equal_the_loop(name: str, rule: ClippingRule) -> None:
    check_parity(*WHOLE[name](), rule)


@pytest.mark.parametrize("name", list(WHOLE))
def test_models_under_autocast_equal_the_loop_up_to_the_rounding_of_bfloat16(name: str) -> None:
    model, losses, batch = WHOLE[name]()
    with torch.autocast("cpu", torch.bfloat16):
        check_parity(model, losses, batch, tolerance=3e-2)


def test_under_autocast_no_record_contributes_more() -> None:
    model, losses, batch = captioner(tied=True)
    for at in range(3):
        with torch.autocast("cpu", torch.bfloat16):
            alone = bookkeeping_sum(model, losses, {key: each[at : at + 1] for key, each in batch.items()}, 0.01)
        norm = torch.cat([each.flatten() for each in alone.gradients.values()]).double().norm()
        assert float(norm) == pytest.approx(0.01, rel=1e-5)


# Wrong on purpose.


def is_caught(model: nn.Module, losses: Losses, batch: Batch) -> bool:
    try:
        check_parity(model, losses, batch)
    except (AssertionError, DpauditError):
        return True
    return False


def test_a_missing_cross_term_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tied, "_common", lambda form: torch.zeros(len(form.rows.index)))
    assert is_caught(*captioner(tied=True))


def test_another_epsilon_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = torch.native_layer_norm
    monkeypatch.setattr(torch, "native_layer_norm", lambda x, s, w, b, eps: exact(x, s, w, b, 10 * eps))
    model, batch = made("layer norm")
    batch["x"] *= 0.1
    assert is_caught(model, squares, batch)


def test_a_bias_left_out_of_the_norm_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    keep = Layer.keep_sum

    def scaled(layer: Layer, name: str | None, gradients: Tensor, dims: int = 1) -> None:
        keep(layer, name, gradients * (0.0 if name == layer.bias_name else 1.0), dims)

    monkeypatch.setattr(Layer, "keep_sum", scaled)
    assert is_caught(*_with_losses("linear on tokens"))


def test_norms_of_uses_instead_of_their_sum_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def apart(form: Outer, _: Any) -> Tensor:
        norms: Tensor = torch.linalg.vector_norm(form.left, dim=2) * torch.linalg.vector_norm(form.right, dim=2)
        return norms.square().sum(1).sqrt()

    monkeypatch.setattr(Outer, "norms", apart)
    assert is_caught(*_with_losses("linear twice"))
