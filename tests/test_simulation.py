"""A simulation keeps noise / batch, learning rate and steps, and promises nothing wherever one looks."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import pytest

import dpaudit
from dpaudit.dp.ledger import read_ledger
from dpaudit.mechanism import Mechanism
from dpaudit.pipeline.promises import recipe_mechanism, recipe_promise
from dpaudit.recipes.recipe import load_recipe
from dpaudit.results import AuditResult
from dpaudit.simulation import simulated
from dpaudit.verdict import decide

if TYPE_CHECKING:
    from pathlib import Path


def test_noise_shrinks_with_the_batch_so_that_a_divided_gradient_is_as_noisy() -> None:
    mechanism = Mechanism(
        sampling="poisson",
        adjacency="add-remove",
        noise_multiplier=2.5,
        sampling_rate=32_768 / 1_281_167,
        steps=18_000,
        clip_norm=1.0,
        batch_size=32_768,
        dataset_size=1_281_167,
    )
    small = simulated(mechanism, 256)
    assert small.noise_multiplier == pytest.approx(2.5 / 128)
    assert small.noise_multiplier / small.batch_size == pytest.approx(2.5 / 32_768)
    assert small.sampling_rate * small.dataset_size == pytest.approx(256)
    assert (small.steps, small.clip_norm) == (mechanism.steps, mechanism.clip_norm)
    assert simulated(mechanism, 32_768) == mechanism


def test_noise_is_calibrated_for_the_real_batch_and_nothing_is_promised() -> None:
    real = recipe_mechanism(load_recipe("quickstart"), 1197)
    loaded = load_recipe("quickstart", ["privacy.simulate_batch=16"])
    small = recipe_mechanism(loaded, 1197)
    assert small.noise_multiplier == pytest.approx(real.noise_multiplier / 16)
    promise = recipe_promise(loaded, small)
    assert (promise.kind, promise.epsilon, promise.mechanism) == ("none", math.inf, small)
    assert "batch 16 of training with batch 256" in promise.note
    assert f"noise multiplier {real.noise_multiplier:.4g}" in promise.note
    verdict = decide(promise, (), (), (), 0.8)
    assert "No privacy was promised" in verdict.sentence
    assert "NOT private" in verdict.sentence


def test_a_simulated_run_is_marked_in_manifest_results_and_page(tmp_path: Path, tiny: tuple[str, ...]) -> None:
    settings = [*tiny, "privacy.batch_size=64", "privacy.steps=2", "canaries.block=300"]
    folder = dpaudit.train("quickstart", out=tmp_path / "run", overrides=settings, simulate_batch=8)
    manifest = json.loads((folder / "target-00" / "manifest.json").read_text())
    assert (manifest["simulation"], manifest["private"]) == (True, False)
    assert {row.divisor for row in read_ledger(folder / "target-00" / "ledger.jsonl")} == {8}
    result = dpaudit.run(folder)
    assert isinstance(result, AuditResult)
    assert result.name == "tiny-simulated"
    assert result.title.startswith("SIMULATION, NOT PRIVATE")
    assert (result.promise.kind, result.guarantees, result.plans) == ("none", (), ())
    assert "it is for choosing settings cheaply" in result.verdict.sentence
    page = (folder / "report.html").read_text()
    assert "SIMULATION, NOT PRIVATE" in page
    assert "nothing is promised" in page


def test_a_real_run_is_marked_private(tmp_path: Path, tiny: tuple[str, ...]) -> None:
    settings = [*tiny, "privacy.steps=1", "canaries.block=50"]
    folder = dpaudit.train("quickstart", out=tmp_path / "run", overrides=settings)
    manifest = json.loads((folder / "target-00" / "manifest.json").read_text())
    assert (manifest["simulation"], manifest["private"]) == (False, True)
