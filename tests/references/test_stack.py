"""Stacked models: the same weights as one model after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from safetensors.numpy import load_file

from dpaudit.pipeline.stages.references import audit_references
from dpaudit.progress import Silent
from dpaudit.references.reference import train_reference
from dpaudit.references.stack import GROUP, group_size, train_stacked

if TYPE_CHECKING:
    from pathlib import Path

    from tests.references.conftest import Opened

NONE = ()
ADAM = ("optimizer={name: adamw, learning_rate: 0.01, schedule: {name: cosine, warmup: 3}}", "trainer.padding=1")
NOISY = ("privacy.epsilon=null", "privacy.noise_multiplier=1")
PRIVATE = (*NOISY, "trainer.peak_learning_rate=0.5")
PER_LAYER = (*PRIVATE, "privacy.clipping=per-layer", "privacy.physical_batch_size=16")
AVERAGE = ("weights={ema_decay: 0.9, evaluate: ema}", "trainer.momentum=0.5")


@pytest.mark.usefixtures("pool")
@pytest.mark.parametrize("settings", [NONE, ADAM, PRIVATE, PER_LAYER, AVERAGE], ids=str)
def test_stacked_weights_are_those_of_the_loop(opened: Opened, settings: tuple[str, ...]) -> None:
    audit = opened("references.count=3", *settings)
    references = audit_references(audit)
    assert group_size(references[0]) > 1
    train_stacked(references, Silent())
    stacked = [load_file(each.job.run / "model.safetensors") for each in references]
    for reference, tensors in zip(references, stacked, strict=True):
        train_reference(reference, Silent())
        alone = load_file(reference.entry.weights)
        assert alone.keys() == tensors.keys()
        assert max(abs(alone[name] - tensors[name]).max() for name in alone) < 1e-5
    assert abs(stacked[0]["hidden.weight"] - stacked[1]["hidden.weight"]).max() > 0.01


@pytest.mark.usefixtures("pool")
@pytest.mark.parametrize(
    ("settings", "size"),
    [
        (("trainer.model=linear", "trainer.width=0"), GROUP),
        (("trainer.model=cnn", "trainer.width=4"), 1),  # convolutions
        (("trainer.width=600",), 1),  # 121,810 parameters
        (("privacy.augmentations=2",), 1),
        (("optimizer={name: lars, learning_rate: 0.1}",), 1),  # its norms are of whole tensors
        ((*NOISY, "trainer.width=400", "privacy.batch_size=200"), 1),  # gradients of 200 records
    ],
    ids=str,
)
def test_which_models_are_stacked(opened: Opened, settings: tuple[str, ...], size: int) -> None:
    assert group_size(audit_references(opened(*settings))[0]) == size


def test_the_work_of_a_stack_is_nobody_elses(opened: Opened, pool: Path) -> None:
    references = audit_references(opened("references.count=3"))
    train_stacked(references, Silent())
    assert len({each.job.run for each in references}) == 3
    assert all(pool in each.job.run.parents for each in references)
