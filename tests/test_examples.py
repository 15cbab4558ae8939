"""Documented examples run, at a smaller size, on the data that they name."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest

import dpaudit

EXAMPLES = Path(__file__).resolve().parents[1] / "docs" / "examples"


def test_cifar10(cifar10: Path, tmp_path: Path) -> None:
    settings = [
        f"data.path={cifar10 / 'train.parquet'}",
        "data.limit=600",
        "data.split={audit_pool: 120, probe_train: 100, probe_test: 80}",
        "privacy.steps=4",
        "privacy.batch_size=32",
        "canaries.block=3000",
        "canaries.inputs.noise=20",
    ]
    result = dpaudit.run(EXAMPLES / "cifar10.yaml", out=tmp_path / "run", overrides=settings)
    assert {attack.attack for attack in result.attacks} == {"audit_block", "loss-pool", "loss-inputs"}
    assert result.runs[0].facts["candidates of inputs"] == 20
    assert result.probes[0].test_size == 80


SMALL = (
    "data={name: scenes, size: 300, split: {audit_pool: 0, probe_train: 80, probe_test: 60}}",
    "probes=[{name: linear, grid: [0.01]}]",
    "privacy.steps=2",
    "privacy.batch_size=32",
)


@pytest.fixture(scope="module")
def results_table() -> dict[str, object]:
    return runpy.run_path(str(EXAMPLES / "results_table.py"))


def test_the_recipes_of_the_first_results_become_its_tables(tmp_path: Path, results_table: dict[str, object]) -> None:
    vip, cap = tmp_path / "vip-0", tmp_path / "cap-0"
    public = "start.pretrain={data: {name: procedural, size: 64}, batch_size: 16, steps: 2}"
    dpaudit.run(EXAMPLES / "scenes-vip.yaml", out=vip, overrides=[*SMALL, public])
    given = ["start.pretrain=null", f"start.weights={vip / 'start' / 'model.safetensors'}", "privacy.epsilon=inf"]
    result = dpaudit.run(EXAMPLES / "scenes-dp-cap.yaml", out=cap, overrides=[*SMALL, *given])
    assert result.beginning is not None
    assert (result.beginning.kind, result.beginning.trainer) == ("weights", "vip")
    for first in (vip, cap):
        stored = json.loads((first / "results.json").read_text())
        stored["recipe"]["seed"] = 1
        second = tmp_path / f"{first.name}-again"
        second.mkdir()
        (second / "results.json").write_text(json.dumps(stored))
    tables = results_table["tables"]
    assert callable(tables)
    page = tables(tmp_path)
    for row in ("raw pixels", "ViP model, random initialisation", "ViP, epsilon 8", "DP-Cap, epsilon infinity"):
        assert f"| {row} | " in page
    assert page.count("| 0, 1 |") == 7
    assert "| ViP, epsilon 8 - ViP model, synthetic initialisation |" in page


def test_the_contrastive_systems_have_rows_of_their_own(tmp_path: Path, results_table: dict[str, object]) -> None:
    public = "start.pretrain={data: {name: scenes, size: 64, seed: 9, public: true}, batch_size: 16, steps: 2}"
    dpaudit.run(EXAMPLES / "scenes-dp-clip.yaml", out=tmp_path / "clip-0", overrides=[*SMALL, public])
    paired = SMALL[0].replace("scenes, size: 300", "scenes, pairs: same-class, size: 600")
    without = ["privacy.epsilon=inf", "privacy.clip_norm=1"]
    dpaudit.run(EXAMPLES / "scenes-logit-dp.yaml", out=tmp_path / "pairs-0", overrides=[paired, *SMALL[1:], *without])
    tables = results_table["tables"]
    assert callable(tables)
    page = tables(tmp_path)
    stages = ("random initialisation", "public pairs, epsilon 0")
    for row in ("raw pixels", *(f"DP-CLIP model, {stage}" for stage in stages), "DP-CLIP, epsilon 8"):
        assert page.count(f"| {row} | ") == 1
    assert page.count("Logit-DP, epsilon infinity | ") == 1
    assert "| DP-CLIP, epsilon 8 - DP-CLIP model, public pairs, epsilon 0 |" in page


def test_a_row_of_the_audit_block_table_is_read_from_audits(tmp_path: Path) -> None:
    example = runpy.run_path(str(EXAMPLES / "audit_block.py"))
    result = example["audit"](tmp_path, 8, 3000, 1, 0, ["privacy.steps=6", "privacy.batch_size=64"])
    epsilon, canaries, runs, certified, expected, independent, audits = example["row"](8, [result]).split("|")[1:-1]
    assert (epsilon.strip(), canaries.strip(), runs.strip(), audits.strip()) == ("8", "3,000", "1", "1")
    bounds = {bound.method: bound for bound in result.bounds if bound.decides or bound.method == "order-statistics"}
    assert (bounds["one-run-joint"].guarantee, bounds["order-statistics"].guarantee) == (
        "certified",
        "under_independence",
    )
    assert float(certified.split()[0]) == pytest.approx(bounds["one-run-joint"].epsilon, abs=0.005)
    assert float(independent.split()[0]) == pytest.approx(bounds["order-statistics"].epsilon, abs=0.005)
    assert float(expected) == pytest.approx(result.plans[0].expected["accountant"], abs=0.005)


def test_an_interval_is_students_over_seeds(results_table: dict[str, object]) -> None:
    cell = results_table["cell"]
    assert callable(cell)
    assert cell([40.0, 42.0, 44.0]) == "42.0 (37.0 to 47.0)"  # 4.303 x 2 / sqrt(3) = 4.97
    assert cell([-1.0, 2.0], signed=True) == "+0.5 (-18.6 to +19.6)"  # 12.706 x 2.121 / sqrt(2) = 19.06
    assert cell([3.14]) == "3.1 (one seed)"
