"""ViP: masks keyed by record, a loss that is a sum over records, and a model that learns."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from dpaudit.data.examples import Examples
from dpaudit.errors import InputError
from dpaudit.plugins import PerExampleTrainer, Reconstructs
from dpaudit.rng import Rng
from dpaudit.trainers.vip import ViP

KEY = Rng.from_seed(5)


def pictures(n: int, size: int = 16) -> Examples:
    pixels = np.random.default_rng(0).integers(0, 256, size=(n, 3, size, size), dtype=np.uint8)
    return Examples(ids=np.array([f"picture/{i}" for i in range(n)]), images=pixels)


class _Losses(nn.Module):
    """The losses as a module's forward, for torch.func."""

    def __init__(self, trainer: ViP, model: nn.Module) -> None:
        super().__init__()
        self.trainer, self.model = trainer, model

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        return self.trainer.losses(self.model, batch)


def test_it_is_a_per_example_trainer_that_reconstructs() -> None:
    assert isinstance(ViP(), PerExampleTrainer)
    assert isinstance(ViP(), Reconstructs)


def test_options_are_validated_from_plain_values() -> None:
    trainer = TypeAdapter(ViP).validate_python({"size": "tiny", "warmup": 10, "betas": [0.8, 0.9]})
    assert (trainer.image_size, trainer.patch_size, trainer.betas) == (224, 16, (0.8, 0.9))
    assert (ViP().image_size, ViP().patch_size) == (16, 4)
    assert (ViP(image_size=24, patch_size=8).architecture.tokens, ViP(image_size=24).architecture.tokens) == (9, 36)


@pytest.mark.parametrize(
    ("field", "options", "expected"),
    [
        ("size", {"size": "smal"}, "nearest: small"),
        ("size", {"size": "zzz"}, "micro, mini, nano, tiny, small, base, large"),
        ("feature_blocks", {"feature_blocks": 4}, "at most 3"),
        ("image_size", {"image_size": 18}, "multiple of patch_size = 4"),
        ("image_size", {"image_size": -16}, "positive multiple"),
        ("patch_size", {"patch_size": -4}, "positive"),
        ("heads", {"heads": 5}, "0, or a divisor of the width of 64"),
        ("heads", {"heads": -1}, "0, or a divisor of the width of 64"),
        ("mask_ratio", {"mask_ratio": 1.0}, "some but not all of 16"),
        ("mask_ratio", {"mask_ratio": 0.01}, "some but not all of 16"),
        ("mask_ratio", {"mask_ratio": math.nan}, "some but not all of 16"),
        ("peak_learning_rate", {"peak_learning_rate": 0.0}, "positive"),
        ("peak_learning_rate", {"peak_learning_rate": math.nan}, "positive"),
        ("betas", {"betas": (0.9, 1.0)}, "in \\[0, 1\\)"),
        ("weight_decay", {"weight_decay": -1.0}, "not negative"),
        ("warmup", {"warmup": -1}, "0 or more"),
    ],
)
def test_bad_options_are_named(field: str, options: dict[str, Any], expected: str) -> None:
    with pytest.raises(InputError, match=f"^{field} = .*{expected}"):
        ViP(**options)


def test_heads_and_biases_of_the_encoder_can_be_dp_caps() -> None:
    plain, changed = ViP().build(KEY), ViP(heads=2, qkv_bias=False).build(KEY)
    missing = {f"encoder.blocks.{block}.attention.qkv.bias" for block in range(3)}
    assert set(plain.state_dict()) - set(changed.state_dict()) == missing
    assert (ViP(heads=2).architecture.heads, ViP().architecture.heads) == (2, 4)
    images = torch.zeros(1, 3, 16, 16, dtype=torch.uint8)
    assert ViP(heads=2, qkv_bias=False).embed(changed, images).shape == (1, 192)


def test_images_of_another_size_are_refused() -> None:
    with pytest.raises(InputError, match=r"images = \(2, 3, 8, 8\): expected shape \(n, 3, 16, 16\)"):
        ViP().collate(pictures(2, size=8), KEY)


@pytest.mark.parametrize(("options", "masked"), [({}, 12), ({"mask_ratio": 0.5}, 8), ({"image_size": 224}, 2352)])
def test_exactly_the_ratio_is_masked(options: dict[str, Any], masked: int) -> None:
    trainer = ViP(**options)
    batch = trainer.collate(pictures(5, size=trainer.image_size), KEY)
    every = torch.cat([batch["visible"], batch["masked"]], dim=1)
    assert batch["masked"].shape == (5, masked)
    assert torch.equal(every.sort(dim=1).values, torch.arange(trainer.architecture.tokens).expand(5, -1))


def test_every_patch_is_masked_equally_often() -> None:
    batch = ViP().collate(pictures(4000), KEY)
    counts = np.bincount(batch["masked"].numpy().ravel(), minlength=16)
    # 4000 draws of a 3/4 chance: standard deviation 27.4; 5 deviations hold for 16 counts but once in 100,000 keys
    assert np.abs(counts - 3000).max() < 5 * math.sqrt(4000 * 0.75 * 0.25)


def test_a_mask_depends_on_key_and_id_alone() -> None:
    trainer, records = ViP(), pictures(30)
    whole = trainer.collate(records, KEY)
    some = np.array([17, 3, 8])
    for name, rows in trainer.collate(records.take(some), KEY).items():
        assert torch.equal(rows, whole[name][torch.from_numpy(some)])
    assert not torch.equal(trainer.collate(records, KEY.child("next step"))["masked"], whole["masked"])
    assert len({tuple(row) for row in whole["masked"].tolist()}) > 20


def test_collate_leaves_the_records_and_takes_read_only_ones() -> None:
    records = pictures(2)
    records.images.setflags(write=False)
    images = ViP().collate(records, KEY)["images"]
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    expected = (records.images / 255 - mean.reshape(3, 1, 1)) / std.reshape(3, 1, 1)
    assert images.dtype == torch.float32
    np.testing.assert_allclose(images.numpy(), expected, atol=1e-5)


def test_the_loss_is_the_mean_squared_error_of_masked_patches() -> None:
    trainer = ViP()
    model, batch = trainer.build(KEY), trainer.collate(pictures(4), KEY)
    with torch.no_grad():
        predicted = model(batch["images"], batch["visible"], batch["masked"]).numpy()
        losses = trainer.losses(model, batch).numpy()
    for i in range(4):
        image, errors = batch["images"][i].numpy(), []
        for j, patch in enumerate(batch["masked"][i].tolist()):
            row, column = divmod(patch, 4)
            square = image[:, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
            errors += [
                float((predicted[i, j, (4 * y + x) * 3 + c] - square[c, y, x]) ** 2)
                for y in range(4)
                for x in range(4)
                for c in range(3)
            ]
        assert losses[i] == pytest.approx(np.mean(errors), rel=1e-5)


def test_a_loss_depends_on_its_record_alone() -> None:
    trainer = ViP()
    model, batch = trainer.build(KEY), trainer.collate(pictures(6), KEY)
    losses = trainer.losses(model, batch)
    changed = {name: rows.clone() for name, rows in batch.items()}
    changed["images"][3] += 1.0
    moved = (trainer.losses(model, changed) - losses).abs()
    assert moved[3] > 0.01
    assert moved[torch.arange(6) != 3].max() == 0
    alone = torch.cat(
        [trainer.losses(model, {name: rows[i : i + 1] for name, rows in batch.items()}) for i in range(6)]
    )
    torch.testing.assert_close(alone, losses)


def test_an_empty_batch_has_no_losses() -> None:
    trainer = ViP()
    batch = trainer.collate(pictures(0), KEY)
    assert trainer.losses(trainer.build(KEY), batch).shape == (0,)


@pytest.mark.parametrize("train_positions", [True, False])
def test_per_example_gradients_equal_a_one_example_loop(train_positions: bool) -> None:
    trainer = ViP(train_positions=train_positions)
    model, batch = trainer.build(KEY), trainer.collate(pictures(5), KEY)
    wrapped = _Losses(trainer, model)
    trained = {name: p for name, p in wrapped.named_parameters() if p.requires_grad}
    assert ("model.encoder.positions.weight" in trained) is train_positions

    def loss(parameters: dict[str, Tensor], record: dict[str, Tensor]) -> Tensor:
        one = {name: tensor.unsqueeze(0) for name, tensor in record.items()}
        found: Tensor = functional_call(wrapped, parameters, (one,))
        return found.squeeze(0)

    with sdpa_kernel(SDPBackend.MATH):  # the fused kernel has no batching rule
        at_once = vmap(grad(loss), in_dims=(None, 0))({name: p.detach() for name, p in trained.items()}, batch)
    for i in range(5):
        record = {name: rows[i : i + 1] for name, rows in batch.items()}
        gradients = torch.autograd.grad(trainer.losses(model, record).sum(), list(trained.values()))
        for name, gradient in zip(trained, gradients, strict=True):
            assert gradient.abs().max() > 0
            torch.testing.assert_close(at_once[name][i], gradient, atol=1e-5, rtol=1e-5)


def test_losses_are_the_same_bit_for_bit_each_time() -> None:
    trainer, records = ViP(), pictures(8)
    runs = [trainer.losses(trainer.build(KEY), trainer.collate(records, KEY)) for _ in range(2)]
    assert torch.equal(*runs)


def test_learning_rate_is_the_smaller_of_ramp_and_half_cosine() -> None:
    trainer = ViP(peak_learning_rate=4.8e-3, warmup=1000)
    assert trainer.learning_rate(0, 10_000) == pytest.approx(4.8e-6)
    assert trainer.learning_rate(499, 10_000) == pytest.approx(2.4e-3)
    assert trainer.learning_rate(5000, 10_000) == pytest.approx(2.4e-3)
    assert trainer.learning_rate(999, 10_000) == pytest.approx(4.8e-3 * (1 + math.cos(math.pi * 0.0999)) / 2)
    assert trainer.learning_rate(9999, 10_000) < 1e-9
    assert ViP(warmup=0).learning_rate(0, 10) == ViP().peak_learning_rate


def test_the_optimizer_is_adamw_with_decay_on_every_tensor() -> None:
    trainer = ViP(weight_decay=0.5, peak_learning_rate=0.1, warmup=0)
    weight = nn.Parameter(torch.ones(3))
    optimizer = trainer.optimizer([weight], steps=10)
    assert isinstance(optimizer, torch.optim.AdamW)
    weight.grad = torch.tensor([1.0, -2.0, 0.0])
    optimizer.step()
    # one step: decay by 1 - lr * decay, then lr * sign of the gradient
    np.testing.assert_allclose(weight.detach().numpy(), [0.85, 1.05, 0.95], atol=1e-6)


def test_it_overfits_a_few_images() -> None:
    trainer = ViP(peak_learning_rate=3e-3, warmup=0)
    model = trainer.build(KEY)
    batch = trainer.collate(pictures(2), KEY)
    parameters = list(model.parameters())
    optimizer = trainer.optimizer(parameters, steps=80)
    before = trainer.losses(model, batch).mean().item()
    for _ in range(80):
        loss = trainer.losses(model, batch).mean()
        for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
            parameter.grad = gradient
        optimizer.step()
    assert loss.item() < 0.1 * before


def test_reconstruction_shows_what_was_visible_and_paints_the_rest() -> None:
    trainer, records = ViP(), pictures(3)
    model = trainer.build(KEY)
    seen, painted = trainer.reconstruct(model, records, KEY)
    visible = trainer.collate(records, KEY)["visible"]
    shown = np.zeros((3, 16), dtype=bool)
    np.put_along_axis(shown, visible.numpy(), values=True, axis=1)
    pixels = np.kron(shown.reshape(3, 1, 4, 4), np.ones((1, 3, 4, 4))).astype(bool)
    assert {seen.dtype.name, painted.dtype.name} == {"uint8"}
    assert seen.shape == painted.shape == (3, 3, 16, 16)
    assert (seen[pixels] == records.images[pixels]).all()
    assert (painted[pixels] == records.images[pixels]).all()
    assert (seen[~pixels] == 128).all()
    assert (painted[~pixels] != 128).mean() > 0.9


def test_embeddings_take_uint8_and_do_not_depend_on_batch_mates() -> None:
    trainer, images = ViP(), torch.from_numpy(pictures(4).images)
    model = trainer.build(KEY)
    features = trainer.embed(model, images)
    assert features.shape == (4, 3 * 64)
    torch.testing.assert_close(trainer.embed(model, images[2:3]), features[2:3])
    assert features.std(dim=0).min() > 0
    torch.testing.assert_close(ViP(feature_blocks=1).embed(model, images), features[:, -64:])
