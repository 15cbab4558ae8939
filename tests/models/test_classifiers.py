"""The classifiers: published sizes, standardised convolutions as their formula, and one gradient in every engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d

from dpaudit.data.examples import Examples
from dpaudit.dp.engines import engine
from dpaudit.dp.loop import loop_sum
from dpaudit.errors import InputError
from dpaudit.models.classification import SoftmaxRegression, class_losses, labels_of
from dpaudit.models.cnn import TanhCnn
from dpaudit.models.fine_tuned import FineTuned, freeze_unused
from dpaudit.models.shifts import Shifts, draw_shifts, shifted
from dpaudit.models.wide_resnet import StandardisedConvolution, WideResNet
from dpaudit.rng import Rng

if TYPE_CHECKING:
    from torch import Tensor

    from dpaudit.dp.tensors import Batch

KEY = Rng.from_seed(3)


def losses(model: nn.Module, batch: Batch) -> Tensor:
    return class_losses(model(batch["images"]), batch["labels"])


def small(name: str) -> nn.Module:
    torch.manual_seed(4)
    if name == "cnn":
        return TanhCnn(classes=4, image_size=8, width=2)
    if name == "linear":
        return SoftmaxRegression(classes=4, image_size=8)
    return WideResNet(classes=4, depth=10, width=1, standardised=name == "standardised")


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_published_sizes() -> None:
    stages = (896 + 9248) + (18496 + 36928) + (73856 + 147584)
    assert count(TanhCnn(classes=10)) == stages + (2048 * 128 + 128) + 1290 == 550_570
    plain = WideResNet(classes=10, standardised=False)
    standardised = WideResNet(classes=10)
    gains = 16 + 5 * 64 + 5 * 128 + 5 * 256  # one for each output channel: the first, and five convolutions a stage
    assert (count(plain), count(standardised)) == (2_751_562, 2_751_562 + gains)
    deeper = WideResNet(classes=10, depth=40, width=4)
    assert 8.5e6 < count(deeper) < 9e6  # "8.9 M" of a WRN-40-4 (Zagoruyko, Komodakis 2016)


@pytest.mark.parametrize("name", ["cnn", "plain", "standardised", "linear"])
def test_features_are_what_the_head_reads(name: str) -> None:
    model, images = small(name), torch.randn(5, 3, 8, 8)
    assert isinstance(model, TanhCnn | WideResNet | SoftmaxRegression)
    assert model(images).shape == (5, 4)
    torch.testing.assert_close(model.head(model.features(images)), model(images))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [1, 3])
def test_a_standardised_convolution_is_its_formula(kernel: int, stride: int) -> None:
    layer = StandardisedConvolution(5, 7, kernel, stride=stride)
    with torch.no_grad():
        layer.weight.add_(0.3)
        layer.gain.uniform_(0.5, 2)
        layer.bias.normal_()
    centred = layer.weight - layer.weight.mean((1, 2, 3), keepdim=True)
    norm = centred.flatten(1).norm(dim=1)  # sqrt(N var)
    weight = centred * (layer.gain / norm).reshape(-1, 1, 1, 1)
    x = torch.randn(2, 5, 6, 6)
    torch.testing.assert_close(layer(x), conv2d(x, weight, layer.bias, stride, kernel // 2), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["bookkeeping", "functional"])
@pytest.mark.parametrize("name", ["cnn", "plain", "standardised", "linear"])
def test_every_engine_gives_the_gradients_of_the_loop(name: str, kind: str) -> None:
    model = small(name)
    generator = torch.Generator().manual_seed(5)
    images = torch.randn(5, 3, 8, 8, generator=generator)
    batch = {"images": images, "labels": torch.randint(4, (5,), generator=generator)}
    found, expected = engine(kind)(model, losses, batch, 0.5), loop_sum(model, losses, batch, 0.5)
    assert found.norms is not None
    assert expected.norms is not None
    torch.testing.assert_close(found.norms, expected.norms, rtol=1e-4, atol=0)
    largest = max(float(gradient.abs().max()) for gradient in expected.gradients.values())
    for key, gradient in expected.gradients.items():
        assert float((found.gradients[key] - gradient).abs().max()) < 1e-5 * largest, key


def test_shapes_that_no_network_takes_are_refused() -> None:
    with pytest.raises(InputError, match="image_size = 20: expected a positive multiple of 8"):
        TanhCnn(classes=10, image_size=20)
    with pytest.raises(InputError, match="depth = 17: expected 6 k"):
        WideResNet(classes=10, depth=17)


def records(labels: list[int] | None, n: int = 4, size: int = 6) -> Examples:
    pixels = np.random.default_rng(0).integers(0, 256, size=(n, 3, size, size), dtype=np.uint8)
    given = None if labels is None else np.array(labels, dtype=np.int64)
    return Examples(ids=np.array([f"r/{i}" for i in range(n)]), images=pixels, labels=given)


def test_labels_are_checked() -> None:
    assert labels_of(records([0, 1, 2, 2]), 3).tolist() == [0, 1, 2, 2]
    with pytest.raises(InputError, match="labels = None: expected data with labels"):
        labels_of(records(None), 3)
    with pytest.raises(InputError, match=r"label of r/2 = 3: expected 0 to 2"):
        labels_of(records([0, 1, 3, 2]), 3)
    with pytest.raises(InputError, match=r"label of r/0 = -1: expected 0 to 2"):
        labels_of(records([-1, 1, 1, 2]), 3)


def test_shifts_belong_to_the_record_not_to_its_batch() -> None:
    ids = records(None).ids
    drawn = draw_shifts(KEY, ids, padding=3, mirror=True)
    alone = draw_shifts(KEY, ids[2:3], padding=3, mirror=True)
    assert (drawn.pixels[2:3] == alone.pixels).all()
    assert (drawn.mirrored[2:3] == alone.mirrored).all()


def test_every_shift_is_as_likely_and_mirroring_is_fair() -> None:
    ids = np.array([f"r/{i}" for i in range(20_000)])
    drawn = draw_shifts(KEY, ids, padding=1, mirror=True)
    shares = np.bincount(3 * drawn.pixels[:, 0] + drawn.pixels[:, 1] + 4, minlength=9) / len(ids)
    assert np.abs(shares - 1 / 9).max() < 5 * np.sqrt(1 / 9 / len(ids))
    assert abs(drawn.mirrored.mean() - 0.5) < 5 * 0.5 / np.sqrt(len(ids))
    still = draw_shifts(KEY, ids, padding=0, mirror=False)
    assert not still.pixels.any()
    assert not still.mirrored.any()


def test_shifting_is_cropping_the_image_padded_by_its_reflection() -> None:
    images, padding = records(None).images, 4
    shifts = draw_shifts(KEY, records(None).ids, padding=padding, mirror=True)
    assert shifts.mirrored.any()
    assert not shifts.mirrored.all()
    padded = np.pad(images, ((0, 0), (0, 0), (padding, padding), (padding, padding)), mode="symmetric")
    for row, image in enumerate(shifted(images, shifts)):
        top, left = padding - shifts.pixels[row]
        crop = padded[row, :, top : top + 6, left : left + 6]
        np.testing.assert_array_equal(image, crop[:, :, ::-1] if shifts.mirrored[row] else crop)


def test_no_shift_leaves_the_image() -> None:
    images = records(None).images
    still = Shifts(pixels=np.zeros((4, 2), dtype=np.int64), mirrored=np.zeros(4, dtype=np.bool_))
    np.testing.assert_array_equal(shifted(images, still), images)
    assert shifted(images[:0], draw_shifts(KEY, np.array([], dtype=np.str_), padding=1, mirror=True)).shape[0] == 0


def test_only_what_features_depend_on_stays_trained() -> None:
    encoder = nn.ModuleDict({"used": nn.Linear(12, 2), "unused": nn.Linear(2, 2), "frozen": nn.Linear(12, 2)})
    encoder["frozen"].requires_grad_(False)

    def embed(images: Tensor) -> Tensor:
        features: Tensor = encoder["used"](images.flatten(1).float()) + encoder["frozen"](images.flatten(1).float())
        return features

    freeze_unused(encoder, embed, torch.zeros(1, 3, 2, 2, dtype=torch.uint8))
    assert {name for name, each in encoder.named_parameters() if each.requires_grad} == {"used.weight", "used.bias"}
    freeze_unused(encoder, lambda images: images.flatten(1).float(), torch.zeros(1, 3, 2, 2, dtype=torch.uint8))
    assert not any(each.requires_grad for each in encoder.parameters())


def test_a_fine_tuned_head_starts_at_no_opinion_whatever_the_scale_of_features() -> None:
    model = FineTuned(nn.Identity(), width=6, classes=3)
    features = torch.randn(4, 6)
    assert not model(features).any()
    nn.init.normal_(model.head.weight)
    torch.testing.assert_close(model(features), model(1000 * features), rtol=1e-3, atol=1e-4)
