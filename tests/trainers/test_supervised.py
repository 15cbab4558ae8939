"""Supervised and fine-tune: labels read and checked, augmentation keyed by record, one loss per record, all engines."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter

from dpaudit.data.digits import Digits
from dpaudit.data.examples import Examples
from dpaudit.dp.engines import engine
from dpaudit.dp.loop import loop_sum
from dpaudit.dp.tensors import trainable
from dpaudit.errors import InputError
from dpaudit.plugins import Classifies, GivenPart, NamesOptimisation, PerExampleTrainer
from dpaudit.rng import Rng
from dpaudit.trainers.fine_tune import FineTune
from dpaudit.trainers.supervised import Supervised

KEY = Rng.from_seed(5)
SMALL = Supervised(image_size=8, width=2)
SMALL_ENCODER = {"name": "supervised", "image_size": 8, "width": 2}


def digits(n: int, size: int = 8) -> Examples:
    data = Digits(image_size=size)
    return data[data.ids()[:n]]


def test_what_they_can() -> None:
    for trainer in (Supervised(), FineTune()):
        assert isinstance(trainer, PerExampleTrainer)
        assert isinstance(trainer, Classifies)
        assert isinstance(trainer, NamesOptimisation)
        assert trainer.modality == {"image", "label"}
    assert isinstance(FineTune(), GivenPart)
    assert not isinstance(Supervised(), GivenPart)


def test_options_are_validated_from_plain_values() -> None:
    trainer = TypeAdapter(Supervised).validate_python({"model": "wrn-16-4", "padding": 4, "flip": True})
    assert (trainer.model, trainer.image_size, trainer.padding) == ("wrn-16-4", 32, 4)
    tuned = TypeAdapter(FineTune).validate_python({"encoder": {"name": "vip", "size": "tiny"}, "layers": "all"})
    assert (tuned.image_size, tuned.layers) == (224, "all")


@pytest.mark.parametrize(
    ("field", "options", "expected"),
    [
        ("classes", {"classes": 1}, "at least 2"),
        ("image_size", {"image_size": 12}, "positive multiple of 8 for cnn"),
        ("image_size", {"image_size": 6, "model": "wrn-16-4"}, "positive multiple of 4"),
        ("image_size", {"image_size": 0, "model": "linear"}, "positive multiple of 1"),
        ("width", {"width": 8, "model": "linear"}, "model = cnn"),
        ("width", {"width": -8}, "number of channels"),
        ("standardised", {"standardised": False}, "true, unless model = wrn-16-4"),
        ("padding", {"padding": 33}, "0 to image_size = 32"),
        ("peak_learning_rate", {"peak_learning_rate": math.inf}, "positive"),
        ("momentum", {"momentum": 1.0}, "in \\[0, 1\\)"),
    ],
)
def test_bad_options_of_supervised_are_named(field: str, options: dict[str, Any], expected: str) -> None:
    with pytest.raises(InputError, match=f"^{field} = .*{expected}"):
        Supervised(**options)


@pytest.mark.parametrize(
    ("field", "options", "expected"),
    [
        ("encoder.name", {"encoder": {"name": "wip"}}, "vip"),
        ("encoder.size", {"encoder": {"name": "vip", "size": "smal"}}, "nearest: small"),
        ("encoder.sise", {"encoder": {"sise": "micro"}}, "size"),
        ("encoder", {"encoder": {"name": 3}}, "name, and its options"),
        ("classes", {"classes": 0}, "at least 2"),
        ("padding", {"padding": -1}, "0 to image_size = 16"),
        ("peak_learning_rate", {"peak_learning_rate": 0.0}, "positive"),
        ("momentum", {"momentum": -0.1}, "in \\[0, 1\\)"),
    ],
)
def test_bad_options_of_fine_tune_are_named(field: str, options: dict[str, Any], expected: str) -> None:
    with pytest.raises(InputError, match=f"^{field} = .*{expected}"):
        FineTune(**options)


@pytest.mark.parametrize("trainer", [SMALL, FineTune(encoder=SMALL_ENCODER)])
def test_records_without_usable_labels_are_refused(trainer: Supervised | FineTune) -> None:
    records = digits(3)
    with pytest.raises(InputError, match="labels = None: expected data with labels"):
        trainer.collate(Examples(ids=records.ids, images=records.images), KEY)
    with pytest.raises(InputError, match="label of digits/1 = 10: expected 0 to 9"):
        trainer.collate(Examples(ids=records.ids, images=records.images, labels=np.array([0, 10, 2])), KEY)
    with pytest.raises(InputError, match=r"images = .*expected shape \(n, 3, 8, 8\)"):
        trainer.collate(digits(2, size=16), KEY)


@pytest.mark.parametrize("trainer", [Supervised(image_size=8, padding=2, flip=True), FineTune(padding=2, flip=True)])
def test_augmentation_belongs_to_the_record(trainer: Supervised | FineTune) -> None:
    records = digits(6, size=trainer.image_size)
    batch, alone = trainer.collate(records, KEY), trainer.collate(records.take(np.array([4])), KEY)
    assert torch.equal(batch["images"][4:5], alone["images"])
    assert not torch.equal(batch["images"], trainer.collate(records, KEY.child("another"))["images"])
    assert batch["labels"].tolist() == [0, 1, 2, 3, 4, 5]


def test_without_augmentation_a_batch_is_the_images() -> None:
    records = digits(2)
    batch = SMALL.collate(records, KEY)
    grey = torch.tensor(records.images[:, 0]).float() / 255
    torch.testing.assert_close(batch["images"][:, 0], (grey - 0.485) / 0.229)
    assert torch.equal(batch["images"], SMALL.collate(records, KEY.child("another"))["images"])


@pytest.mark.parametrize("model", ["cnn", "wrn-16-4", "linear"])
def test_weights_are_of_the_key_and_logits_are_linear_in_the_features(model: str) -> None:
    trainer = TypeAdapter(Supervised).validate_python({"model": model, "image_size": 8, "classes": 12})
    network, images = trainer.build(KEY), torch.tensor(digits(3).images)
    with torch.no_grad():
        logits, features = trainer.logits(network, images), trainer.embed(network, images)
        assert isinstance(network.head, torch.nn.Linear)
        torch.testing.assert_close(network.head(features), logits)
    assert logits.shape == (3, 12)
    again = trainer.build(KEY)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), again.parameters(), strict=True))


def test_head_alone_or_all_that_features_depend_on_is_trained() -> None:
    head = FineTune(encoder=SMALL_ENCODER).build(KEY)
    assert set(trainable(head)) == {"head.weight", "head.bias"}
    encoder = Supervised(image_size=8, width=2).build(KEY)
    every = FineTune(encoder=SMALL_ENCODER, layers="all").build(KEY)
    without_head = {f"encoder.{name}" for name in trainable(encoder) if not name.startswith("head.")}
    assert set(trainable(every)) == {"head.weight", "head.bias"} | without_head
    masked = FineTune(layers="all").build(KEY)
    assert not any("decoder" in name for name in trainable(masked))
    assert any("encoder.encoder.blocks" in name for name in trainable(masked))


@pytest.mark.parametrize("kind", ["bookkeeping", "functional"])
@pytest.mark.parametrize(
    "trainer",
    [
        Supervised(image_size=8, width=2, padding=1, flip=True),
        FineTune(encoder=SMALL_ENCODER),
        FineTune(encoder=SMALL_ENCODER, layers="all"),
        FineTune(layers="all"),
    ],
)
def test_every_engine_gives_the_gradients_of_the_loop(trainer: Supervised | FineTune, kind: str) -> None:
    model = trainer.build(KEY)
    with torch.no_grad():
        assert isinstance(model.head, torch.nn.Linear)
        model.head.weight.normal_(generator=torch.Generator().manual_seed(1))
    batch = trainer.collate(digits(4, size=trainer.image_size), KEY)
    found, expected = engine(kind)(model, trainer.losses, batch, 0.5), loop_sum(model, trainer.losses, batch, 0.5)
    largest = max(float(gradient.abs().max()) for gradient in expected.gradients.values())
    for name, gradient in expected.gradients.items():
        assert float((found.gradients[name] - gradient).abs().max()) < 1e-5 * largest, name


def test_softmax_regression_learns_digits() -> None:
    trainer = Supervised(model="linear", image_size=8, peak_learning_rate=0.02)
    model, records = trainer.build(KEY), digits(400)
    batch = trainer.collate(records, KEY)
    optimizer = trainer.optimizer(list(model.parameters()), 60)
    for _ in range(60):
        optimizer.zero_grad()
        torch.autograd.backward(trainer.losses(model, batch).mean())
        optimizer.step()
    with torch.no_grad():
        right = trainer.logits(model, torch.tensor(records.images)).argmax(1) == batch["labels"]
    assert float(right.float().mean()) > 0.9
    assert trainer.learning_rate(0, 60) == trainer.learning_rate(59, 60) == 0.02
