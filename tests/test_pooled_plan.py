"""A plan of runs that are judged together: it says what errors their penalties are made for, and only if asked to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dpaudit.bounds.family import gaussian_family
from dpaudit.bounds.joint.count import JointCount
from dpaudit.bounds.joint.pooled import PooledCount
from dpaudit.bounds.max_p import PlannedTest
from dpaudit.bounds.tradeoff import Gaussian
from dpaudit.mechanism import Mechanism
from dpaudit.planner import plan_guesses

if TYPE_CHECKING:
    from dpaudit.results import Plan

MECHANISM = Mechanism(
    sampling="full",
    adjacency="add-remove",
    noise_multiplier=1 / 1.5,
    sampling_rate=1.0,
    steps=1,
    clip_norm=1.0,
    batch_size=1,
    dataset_size=1,
)


def planned(test: JointCount | PooledCount, runs: int) -> Plan:
    asked = PlannedTest(test=test, family=gaussian_family(delta=1e-5), confidence=0.95, promise=Gaussian(1.5))
    return plan_guesses(MECHANISM, asked, attack="audit_block", canaries=150, runs=runs)


@pytest.mark.slow
def test_runs_together_are_planned_by_their_penalties() -> None:
    pooled, each = planned(PooledCount(), 2), planned(JointCount(), 2)
    assert pooled.method == "one-run-pooled"
    assert pooled.error_rates is not None
    assert pooled.error_rates[0] > pooled.error_rates[1]
    assert "judged together" in pooled.note
    assert each.error_rates is None
    assert pooled.expected_epsilon == pytest.approx(each.expected_epsilon, rel=0.1)
    assert pooled.power > 0.5
    assert pooled.largest_epsilon > pooled.expected_epsilon


def test_one_run_is_planned_as_by_the_joint_count() -> None:
    pooled, joint = planned(PooledCount(), 1), planned(JointCount(), 1)
    assert pooled.error_rates is None
    assert pooled.expected_epsilon == pytest.approx(joint.expected_epsilon)
