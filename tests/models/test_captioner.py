"""The captioner: published sizes, what each logit may look at, and the loss of a caption."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor, nn

from dpaudit.dp.engines import engine
from dpaudit.errors import InputError
from dpaudit.models.captioner import SIZES, VOCABULARY, Captioner, caption_losses
from dpaudit.models.initialisation import seeded
from dpaudit.rng import Rng

#: millions of trained parameters: encoder, all (DP-Cap's table of model sizes)
PUBLISHED_COUNTS = {
    "nano": (5.5, 20.8),
    "tiny": (21.6, 59.4),
    "small": (48.3, 115.7),
    "base": (85.6, 189.8),
    "large": (303.0, 407.4),
}
WORDS = 23


def count_trained(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def meta_captioner(size: str, *, tied: bool = False) -> Captioner:
    with torch.device("meta"):
        return Captioner(SIZES[size], tied=tied)


def captioner(*, tied: bool = False) -> Captioner:
    with seeded(Rng.from_seed(0)):
        return Captioner(SIZES["micro"], vocabulary=WORDS, tied=tied)


def pairs(n: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(1, WORDS, (n, 9), generator=generator)
    for row, length in enumerate(torch.randint(3, 10, (n,), generator=generator)):
        tokens[row, length:] = 0
    return torch.randn(n, 3, 16, 16, generator=generator), tokens


def losses_of(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    return caption_losses(model(batch["images"], batch["tokens"][:, :-1]), batch["tokens"][:, 1:])


@pytest.mark.parametrize("size", PUBLISHED_COUNTS)
def test_trained_parameters_are_the_published_ones(size: str) -> None:
    encoder, every = PUBLISHED_COUNTS[size]
    model = meta_captioner(size)
    assert count_trained(model.encoder) / 1e6 == pytest.approx(encoder, abs=0.051)
    assert count_trained(model) / 1e6 == pytest.approx(every, abs=0.05)


def test_a_tied_vocabulary_is_one_matrix_less() -> None:
    tied, untied = meta_captioner("base", tied=True), meta_captioner("base")
    assert tied.decoder.head.weight is tied.decoder.embedding.weight
    assert count_trained(untied) - count_trained(tied) == VOCABULARY * 768


def test_class_token_positions_and_types_are_frozen_and_all_else_is_in_layers() -> None:
    model = captioner()
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert frozen == {
        "encoder.token.weight", "encoder.positions.weight", "bridge.positions.weight", "bridge.modality.weight",
        "decoder.positions.weight", "decoder.modality.weight",
    }  # fmt: skip
    layers = (m for m in model.modules() if isinstance(m, nn.Linear | nn.LayerNorm | nn.Embedding))
    owned = {id(parameter) for layer in layers for parameter in layer.parameters()}
    assert owned == {id(parameter) for parameter in model.parameters() if parameter.requires_grad}


def test_query_key_and_value_have_no_bias_and_the_decoders_linear_layers_none_at_all() -> None:
    names = dict(meta_captioner("nano").named_parameters())
    assert not [name for name in names if name.endswith(("query.bias", "key.bias", "value.bias"))]
    blocks = {name for name in names if name.startswith("decoder.blocks")}
    assert {name for name in blocks if name.endswith(".bias")} == {
        f"decoder.blocks.{k}.norm{which}.bias" for k in range(6) for which in (1, 2, 3)
    }


def test_a_logit_depends_on_the_tokens_up_to_its_own_and_on_every_part_of_the_image() -> None:
    model, (images, tokens) = captioner(), pairs(1)
    later = tokens.clone()
    later[:, 5:] = WORDS - 1
    expected, found = model(images, tokens), model(images, later)
    torch.testing.assert_close(found[:, :5], expected[:, :5])
    assert not torch.allclose(found[:, 5:], expected[:, 5:], atol=1e-3)
    for corner in ((0, 0), (12, 12)):
        changed = images.clone()
        changed[:, :, corner[0] : corner[0] + 4, corner[1] : corner[1] + 4] += 3
        assert not torch.allclose(model(changed, tokens)[:, 0], expected[:, 0], atol=1e-4)


def test_padding_changes_nothing() -> None:
    model, (images, tokens) = captioner(), pairs(4)
    padded = torch.cat([tokens, torch.zeros(4, 3, dtype=torch.int64)], dim=1)
    batches = ({"images": images, "tokens": tokens}, {"images": images, "tokens": padded})
    torch.testing.assert_close(losses_of(model, batches[0]), losses_of(model, batches[1]))


def test_the_loss_is_each_captions_own_mean() -> None:
    logits = torch.randn(3, 5, WORDS, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([[4, 2, 0, 0, 0], [1, 2, 3, 4, 5], [0, 0, 0, 0, 0]])
    each = logits.log_softmax(dim=2)
    by_hand = [
        -(each[0, 0, 4] + each[0, 1, 2]) / 2,
        -torch.stack([each[1, t, t + 1] for t in range(5)]).mean(),
        torch.zeros(()),
    ]
    torch.testing.assert_close(caption_losses(logits, targets), torch.stack(by_hand))


def test_without_a_target_there_is_no_gradient() -> None:
    logits = torch.randn(2, 4, WORDS).requires_grad_()
    (found,) = torch.autograd.grad(caption_losses(logits, torch.zeros(2, 4, dtype=torch.int64)).sum(), logits)
    assert not found.any()


@pytest.mark.parametrize("name", ["bookkeeping", "functional"])
@pytest.mark.parametrize("tied", [False, True])
def test_engines_agree_on_it(name: str, *, tied: bool) -> None:
    model, (images, tokens) = captioner(tied=tied), pairs(5)
    batch = {"images": images, "tokens": tokens}
    found, expected = (engine(each)(model, losses_of, batch, 0.5) for each in (name, "loop"))
    largest = max(float(tensor.abs().max()) for tensor in expected.gradients.values())
    for parameter, tensor in expected.gradients.items():
        assert float((found.gradients[parameter] - tensor).abs().max()) < 1e-5 * largest
    assert found.norms is not None
    torch.testing.assert_close(found.norms, expected.norms)


def test_first_logits_are_of_the_size_of_one() -> None:
    for tied in (False, True):
        assert 0.1 < float(captioner(tied=tied)(*pairs(8)).detach().std()) < 3


def test_it_learns_to_name_what_it_sees() -> None:
    size = dataclasses.replace(SIZES["micro"], depth=1, decoder_depth=1)
    with seeded(Rng.from_seed(1)):
        model = Captioner(size, vocabulary=8)
    classes = torch.arange(4).repeat(8)
    images = torch.randn(32, 3, 16, 16, generator=torch.Generator().manual_seed(2)) + classes.reshape(-1, 1, 1, 1)
    tokens = torch.stack([torch.ones_like(classes), classes + 2], dim=1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        loss = losses_of(model, {"images": images, "tokens": tokens}).mean()
        torch.autograd.backward(loss)
        optimizer.step()
    assert float(loss.detach()) < 0.3  # guessing: log 4 = 1.39


def test_a_caption_longer_than_the_context_is_refused() -> None:
    with pytest.raises(InputError, match="tokens = '17 per caption': expected at most the decoder's context of 16"):
        captioner()(torch.zeros(1, 3, 16, 16), torch.ones(1, 17, dtype=torch.int64))


def test_features_are_the_mean_of_the_memory() -> None:
    model, (images, _) = captioner(), pairs(2)
    torch.testing.assert_close(model.features(images), model.memory(images).mean(1))
    assert model.memory(images).shape == (2, 17, 64)
