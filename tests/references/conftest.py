"""A recipe whose references are trained in a second: a perceptron on 8 x 8 digits, without clipping and noise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import pytest

from dpaudit.pipeline.order import open_audit

if TYPE_CHECKING:
    from pathlib import Path

    from dpaudit.pipeline.audit import Audit

RECIPE = """
name: small
data: {name: digits, limit: 320, split: {audit_pool: 120, probe_train: 60}}
trainer: {name: supervised, model: mlp, width: 16, image_size: 8, peak_learning_rate: 1}
privacy: {epsilon: inf, clip_norm: 1, batch_size: 40, steps: 12, delta: 1.0e-5, tuning_runs: 0}
canaries: {block: 0, inputs: {mislabelled: 30}}
runs: {checkpoint_every: 4}
references: {count: 4}
attacks:
  - {name: loss, family: pool, masks: 1}
  - {name: reference_difference, family: pool}
bounds: {decide: []}
"""


class Opened(Protocol):
    """Return the audit of the small recipe with these settings, in a folder of this name."""

    def __call__(self, *settings: str, folder: str = "run") -> Audit: ...


@pytest.fixture
def pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty pool of this test's own."""
    monkeypatch.setenv("DPAUDIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "references"


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    return path


@pytest.fixture
def opened(tmp_path: Path, recipe_file: Path) -> Opened:
    def run(*settings: str, folder: str = "run") -> Audit:
        return open_audit(recipe_file, out=tmp_path / folder, overrides=settings)

    return run
