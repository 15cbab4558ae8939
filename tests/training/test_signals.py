"""Signals of records: published numbers, one record at a time, and what is refused."""

from __future__ import annotations

from typing import cast

import numpy as np
import pytest
import torch

from dpaudit.data.digits import Digits
from dpaudit.data.scenes.source import Scenes
from dpaudit.dp.tensors import trainable
from dpaudit.errors import DpauditError
from dpaudit.mechanism import Mechanism
from dpaudit.plugins import SIGNALS, Target
from dpaudit.rng import Rng
from dpaudit.trainers.dp_cap import DPCap
from dpaudit.trainers.supervised import Supervised
from dpaudit.trainers.vip import ViP
from dpaudit.training.signals import class_signal
from dpaudit.training.targets import ModelTarget

ROOT = Rng.from_seed(2)
LOGITS, LABELS = np.array([[1.0, 2.0, -3.0], [-1.0, 1.0, 0.0]]), np.array([1, 2])
MECHANISM = Mechanism(
    sampling="full",
    adjacency="add-remove",
    noise_multiplier=1.0,
    sampling_rate=1.0,
    steps=1,
    clip_norm=1.0,
    batch_size=4,
    dataset_size=4,
)


def target(trainer: object, *, access: str = "outputs") -> ModelTarget:
    model = trainer.build(ROOT.child("model")).eval()  # type: ignore[attr-defined]  # any trainer
    first = trainer.build(ROOT.child("first")).eval()  # type: ignore[attr-defined]  # any trainer
    return ModelTarget(trainer=trainer, model=model, untrained=lambda: first, mechanism=MECHANISM, access=access)  # type: ignore[arg-type]  # any trainer


def test_class_signals_are_those_of_tensorflow_privacy() -> None:
    # advanced_mia_test.py: confidence, its log-odds, the hinge
    np.testing.assert_allclose(class_signal("confidence", LOGITS, LABELS), [0.72747516, 0.24472847], rtol=1e-6)
    np.testing.assert_allclose(class_signal("logit", LOGITS, LABELS), [0.98185009, -1.12692802], rtol=1e-6)
    np.testing.assert_allclose(class_signal("hinge", LOGITS, LABELS), [1.0, -1.0], rtol=1e-12)


def test_the_log_odds_do_not_round_to_infinity() -> None:
    assert class_signal("logit", np.array([[800.0, 0.0]]), np.array([0])).tolist() == [800.0]


def test_signals_of_a_classifier_agree_with_its_loss() -> None:
    records = Scenes(size=20, image_size=16)[Scenes(size=20).ids()]
    seen = target(Supervised(classes=8, image_size=16, width=4))
    confidence = seen.signal("confidence", records, ROOT)
    np.testing.assert_allclose(-np.log(confidence), seen.signal("loss", records, ROOT), rtol=1e-4)
    with pytest.raises(DpauditError, match="this target is no CaptionLikelihood: Supervised does not offer that"):
        seen.signal("caption", records, ROOT)
    with pytest.raises(DpauditError, match="signal 'fame' is not known to this target; it has: loss, confidence"):
        seen.signal("fame", records, ROOT)


def test_the_caption_signal_is_minus_the_loss_of_dp_cap() -> None:
    records = Scenes(size=20, image_size=16)[Scenes(size=20).ids()]
    seen = target(DPCap(tokenizer="scenes", context=24))
    assert SIGNALS["caption"].sign == -SIGNALS["loss"].sign
    np.testing.assert_allclose(
        seen.signal("caption", records, ROOT), -seen.signal("loss", records, ROOT), rtol=1e-4, atol=1e-5
    )
    each = seen.token_log_likelihoods(records)
    counts = np.isfinite(each).sum(axis=1)
    assert counts.min() > 3
    assert all(np.isfinite(row[:count]).all() for row, count in zip(each, counts, strict=True))


def test_gradients_are_those_of_each_record_alone() -> None:
    digits = Digits(image_size=16)
    records, seen = digits[digits.ids()[:35]], target(ViP(), access="final weights")
    found = np.stack(list(seen.gradients(records, ROOT)))
    parameters = trainable(seen.model)
    for row in (0, 31, 32, 34):
        batch = ViP().collate(records.take(slice(row, row + 1)), ROOT)
        gradient = torch.autograd.grad(ViP().losses(seen.model, batch).sum(), list(parameters.values()))
        alone = torch.cat([part.flatten() for part in gradient]).numpy()
        np.testing.assert_allclose(found[row], alone, rtol=1e-3, atol=1e-5)
    assert found.shape[1] == sum(value.size for value in seen.weights().values())
    first = np.stack(list(seen.gradients(records.take(slice(0, 2)), ROOT, "initial")))
    assert np.abs(first - found[:2]).max() > 1e-3


def test_who_sees_outputs_gets_no_weights() -> None:
    seen = cast("Target", target(Supervised(classes=8, image_size=16, width=4)))
    with pytest.raises(DpauditError, match="sees outputs, no weights: its needs must say access `final weights`"):
        seen.weights()
    with pytest.raises(DpauditError, match="has no trace of the family 'block'"):
        seen.trace("block")
