"""Calibrated attacks on a model that was really trained: records differ in difficulty, and references know how."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dpaudit.pipeline.order import advance
from dpaudit.pipeline.stages.bound import read_bounds

if TYPE_CHECKING:
    from dpaudit.results import AttackResult
    from tests.references.conftest import Opened

ATTACKS = (
    "attacks=[{name: loss, masks: 1}, {name: reference_difference, signal: logit}, {name: lira, signal: logit},"
    " {name: lira, label: offline, signal: logit, mode: offline},"
    " {name: lira, label: stabilised, signal: logit, variance: stabilised}, {name: rmia},"
    " {name: rmia, label: rmia-offline, mode: offline}, {name: quantile_regression}]"
)
OVERFIT = ("trainer.width=64", "trainer.peak_learning_rate=0.5", "privacy.steps=300", "privacy.batch_size=100")
SIZES = ("data.limit=900", "data.split.audit_pool=700", "data.split.probe_train=200", "canaries.inputs.mislabelled=0")
CALIBRATED = ("reference_difference", "lira", "offline", "stabilised", "rmia", "rmia-offline")


def results(opened: Opened, *settings: str) -> dict[str, AttackResult]:
    audit = opened(ATTACKS, *SIZES, "reproducible=true", "references.count=16", "runs.checkpoint_every=1000", *settings)
    advance(audit, "bound")
    return {each.attack: each for each in read_bounds(audit).attacks}


@pytest.mark.usefixtures("pool")
def test_calibration_finds_members_that_the_plain_loss_does_not(opened: Opened) -> None:
    found = results(opened, *OVERFIT)
    plain = found["loss"].auc
    for name in CALIBRATED:
        assert found[name].auc.value > plain.value + 0.03, name
    assert max(found[name].auc.low for name in CALIBRATED) > plain.high  # intervals apart
    for each in found.values():
        assert each.coin_blindness_p is not None
        assert each.coin_blindness_p > 1e-3  # the untrained model, beside the same references


@pytest.mark.slow
@pytest.mark.usefixtures("pool")
def test_at_epsilon_1_calibration_finds_nothing(opened: Opened) -> None:
    private = ("privacy.epsilon=1", "privacy.batch_size=200", "privacy.steps=60", "trainer.width=32")
    for name, each in results(opened, *private).items():
        assert each.auc.low < 0.5 + 0.05, name
        assert each.auc.value < 0.62, name
