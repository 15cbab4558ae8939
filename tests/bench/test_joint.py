"""`dpaudit bench joint`: what its page prints is what the tests certify now."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dpaudit.bench.joint import bench_joint
from dpaudit.bounds.family import gaussian_family
from dpaudit.bounds.guesses import Guesses
from dpaudit.bounds.joint.count import JointCount
from dpaudit.bounds.max_p import PlannedTest, max_p_bound
from dpaudit.progress import Silent

PAGE = Path(__file__).resolve().parents[2] / "docs" / "statistics" / "joint-bound.md"
ROW = re.compile(r"^ +(\d+)\s+(\d+)\s+(\d+) of (\d+)\s+([\d.]+)\s+([\d.]+)\s+([\d.]+) %", re.MULTILINE)


def test_the_page_prints_what_is_certified() -> None:
    rows = ROW.findall(PAGE.read_text())
    assert len(rows) == 12
    for _, canaries, correct, guesses, recursion, joint, _ in rows[:5]:
        run = Guesses(canaries=int(canaries), guesses=int(guesses), correct=int(correct))
        planned = PlannedTest(test=JointCount(), family=gaussian_family(delta=1e-5), confidence=0.95)
        found = max_p_bound(planned, [run], strategy="fixed").epsilon
        assert found == pytest.approx(float(joint), abs=2e-3)
        assert float(recursion) < found


@pytest.mark.slow
def test_medians_of_simulated_audits_are_what_is_claimed() -> None:
    measured = bench_joint(60, progress=Silent())
    assert measured.groups.joint > 5.0
    found = {row.runs: row for row in measured.runs}
    assert found[8].evidence > 6.8
    assert found[16].evidence > 7.2
    assert all(row.every_run > row.recursion for row in measured.runs)
