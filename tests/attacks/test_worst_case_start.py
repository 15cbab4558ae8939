"""The example of docs/attacks.md on first weights: every training is a row, and begins where it should."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from dpaudit.scores import LabelledScores

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"
FEW = (
    "references.count=4",
    "trainer.width=2",
    "privacy.steps=2",
    "privacy.epsilon=null",
    "privacy.noise_multiplier=0.01",
)
FITTED = "start={pretrain: {data: {name: scenes, size: 40, seed: 1, public: true}, batch_size: 20, steps: 3}}"


@pytest.fixture
def scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., LabelledScores]:
    monkeypatch.setenv("DPAUDIT_CACHE", str(tmp_path / "pool"))
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")  # in this process: others would take longer to start than to train
    found = runpy.run_path(str(EXAMPLES / "worst_case_start.py"))["scores"]
    return lambda name, *settings: found(tmp_path / name, (*FEW, *settings))


def test_half_of_the_trainings_hold_the_canary_and_begin_anew_or_at_one_place(
    scores: Callable[..., LabelledScores],
) -> None:
    anew, fitted = scores("anew"), scores("fitted", FITTED)
    for rows in (anew, fitted):
        assert len(rows) == 4
        assert rows.member.sum() == 2
    assert anew.scores.std() > 10 * fitted.scores[fitted.member].std()  # hardly any noise: only the beginning differs
