"""The masked autoencoder: published sizes, patches, and what it may and may not look at."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dpaudit.models.initialisation import seeded
from dpaudit.models.mae import SIZES, MaskedAutoencoder, patchify, unpatchify
from dpaudit.models.vit import Learned
from dpaudit.rng import Rng

#: millions of parameters without position tables: encoder, encoder and decoder (ViP's Table of model sizes)
PUBLISHED = {
    "nano": (5.49, 18.6),
    "tiny": (21.6, 34.8),
    "small": (48.3, 61.6),
    "base": (85.6, 99.0),
    "large": (303.1, 316.6),
}


def trained_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def on_meta(size: str, *, train_positions: bool) -> MaskedAutoencoder:
    with torch.device("meta"):
        return MaskedAutoencoder(SIZES[size], train_positions=train_positions)


def micro(seed: int = 0) -> MaskedAutoencoder:
    with seeded(Rng.from_seed(seed)):
        return MaskedAutoencoder(SIZES["micro"])


def images(n: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(n, 3, 16, 16)).astype(np.float32))


def masks(n: int, seed: int = 1) -> tuple[Tensor, Tensor]:
    order = torch.from_numpy(np.random.default_rng(seed).random((n, 16)).argsort(axis=1))
    return order[:, :4], order[:, 4:]


@pytest.mark.parametrize("size", PUBLISHED)
def test_parameter_counts_are_the_published_ones(size: str) -> None:
    encoder, total = PUBLISHED[size]
    model = on_meta(size, train_positions=False)
    assert trained_parameters(model.encoder) / 1e6 == pytest.approx(encoder, abs=0.05)
    assert trained_parameters(model) / 1e6 == pytest.approx(total, abs=0.05)


def test_dp_phase_of_base_trains_a_quarter_million_more() -> None:
    tables = 197 * (768 + 512)
    frozen, trained = on_meta("base", train_positions=False), on_meta("base", train_positions=True)
    assert trained_parameters(trained) - trained_parameters(frozen) == tables == 252_160


def test_micro_has_at_most_two_hundred_thousand_parameters() -> None:
    assert 100_000 < trained_parameters(on_meta("micro", train_positions=True)) < 200_000
    assert (SIZES["micro"].image_size, SIZES["micro"].tokens) == (16, 16)


def test_every_parameter_belongs_to_a_layer_with_a_clipping_rule() -> None:
    model = micro()
    owned = {
        id(p) for m in model.modules() if isinstance(m, nn.Linear | nn.LayerNorm | Learned) for p in m.parameters()
    }
    assert owned == {id(parameter) for parameter in model.parameters()}


def test_patchify_takes_squares_row_by_row() -> None:
    image = torch.arange(3 * 4 * 4).reshape(1, 3, 4, 4)
    second = patchify(image, 2)[0, 1].tolist()
    assert second == [image[0, c, row, column].item() for row in (0, 1) for column in (2, 3) for c in range(3)]


@pytest.mark.parametrize("patch", [1, 2, 4, 8, 16])
def test_unpatchify_inverts_patchify(patch: int) -> None:
    pictures = images(3)
    assert torch.equal(unpatchify(patchify(pictures, patch), patch), pictures)


def test_positions_are_sines_and_cosines_of_column_then_row() -> None:
    table = micro().encoder.positions.weight.detach().numpy()
    assert table.shape == (17, 64)
    assert not table[0].any()
    row, column, k = 2, 3, 5
    angle = 10000 ** (-4 * k / 64)
    found = [table[1 + 4 * row + column, start + k] for start in (0, 16, 32, 48)]
    expected = [math.sin(column * angle), math.cos(column * angle), math.sin(row * angle), math.cos(row * angle)]
    assert found == pytest.approx(expected, abs=1e-6)


def test_masked_patches_are_never_seen() -> None:
    model, pictures = micro(), images(2)
    visible, masked = masks(2)
    patches = patchify(pictures, 4)
    other = unpatchify(patches.scatter(1, masked.unsqueeze(-1).expand(-1, -1, 48), 9.0), 4)
    assert torch.equal(model(pictures, visible, masked), model(other, visible, masked))
    shown = unpatchify(patches.scatter(1, visible.unsqueeze(-1).expand(-1, -1, 48), 9.0), 4)
    assert not torch.allclose(model(pictures, visible, masked), model(shown, visible, masked))


def test_a_prediction_belongs_to_its_position() -> None:
    model, pictures = micro(), images(1)
    visible, masked = masks(1)
    shuffled = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    expected = model(pictures, visible, masked)[:, shuffled]
    torch.testing.assert_close(model(pictures, visible.flip(1), masked[:, shuffled]), expected, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(
        model(pictures, visible, masked[:, shuffled]), model(pictures, visible, masked), atol=1e-3
    )


def test_features_are_the_mean_patch_tokens_of_every_block() -> None:
    model, pictures = micro(), images(2)
    kept: list[Tensor] = []
    for block in model.encoder.blocks:
        block.register_forward_hook(lambda _module, _inputs, output: kept.append(output))
    found = model.features(pictures)
    assert found.shape == (2, SIZES["micro"].depth * 64)
    torch.testing.assert_close(found, torch.cat([tokens[:, 1:].mean(dim=1) for tokens in kept], dim=1))
    assert torch.equal(model.features(pictures, blocks=1), found[:, -model.size.width :])


def test_initial_weights_come_from_the_key_alone_and_leave_the_global_generator() -> None:
    before = torch.random.get_rng_state()
    first, again, other = micro(1), micro(1), micro(2)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not torch.equal(first.encoder.embed.weight, other.encoder.embed.weight)


def test_branch_scale_shrinks_the_last_layer_of_every_branch_and_nothing_else() -> None:
    models = []
    for scale in (1.0, 0.2):
        with seeded(Rng.from_seed(0)):
            models.append(MaskedAutoencoder(dataclasses.replace(SIZES["micro"], branch_scale=scale)))
    shrunk = 0
    for (name, full), less in zip(models[0].named_parameters(), models[1].parameters(), strict=True):
        last = name.endswith(("attention.out.weight", "narrow.weight"))
        torch.testing.assert_close(less, full * 0.2 if last else full)
        shrunk += last
    assert shrunk == 2 * (3 + 1)
    assert {SIZES[size].branch_scale for size in PUBLISHED} == {1.0}


def test_other_geometries_work() -> None:
    size = dataclasses.replace(SIZES["micro"], image_size=24, patch_size=8)
    model = MaskedAutoencoder(size)
    pictures = torch.zeros(2, 3, 24, 24)
    assert model(pictures, torch.tensor([[0, 4], [1, 2]]), torch.tensor([[1, 2, 3], [0, 3, 8]])).shape == (2, 3, 192)
    assert model.features(pictures).shape == (2, size.depth * size.width)
