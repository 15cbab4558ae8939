"""The whole path at a tiny size: what it writes, that it continues, and what it refuses before writing anything."""

from __future__ import annotations

import io
import json
import shutil
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import dpaudit
from dpaudit.errors import DamagedRunError, DpauditError, InputError
from dpaudit.pipeline.order import advance, open_audit, open_run
from dpaudit.results import AuditResult
from dpaudit.runs import read_json
from dpaudit.seal import openings

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny: tuple[str, ...]) -> tuple[Path, AuditResult]:
    folder = tmp_path_factory.mktemp("pipeline") / "run"
    return folder, dpaudit.run("quickstart", out=folder, overrides=tiny)


@pytest.fixture
def copied(finished: tuple[Path, AuditResult], tmp_path: Path) -> Path:
    folder = tmp_path / "copy"
    shutil.copytree(finished[0], folder)
    return folder


def test_every_arrow_is_a_file(finished: tuple[Path, AuditResult]) -> None:
    folder, result = finished
    for name in (
        "recipe.yaml",
        "plan.json",
        "target-00/manifest.json",
        "target-00/model.safetensors",
        "target-00/ledger.jsonl",
        "target-00/sealed/coins.npz",
        "scores/target-00/audit_block.parquet",
        "bounds.json",
        "account.json",
        "probes/target-00-linear.json",
        "pictures/reconstructions.png",
        "results.json",
        "report.html",
        "tables/bounds.csv",
    ):
        assert (folder / name).stat().st_size > 0, name
    assert AuditResult.model_validate_json((folder / "results.json").read_text()) == result


def test_the_numbers_of_a_true_promise(finished: tuple[Path, AuditResult]) -> None:
    _, result = finished
    assert result.promise.kind == "accountant"
    assert result.promise.epsilon <= 8.0
    assert [bound.attack for bound in result.bounds if bound.decides] == ["audit_block"]
    for bound in result.bounds:
        if bound.guarantee == "certified" and bound.hypothesis == "accountant":
            assert bound.epsilon <= result.promise.epsilon
    assert {assumption.status for assumption in result.assumptions} <= {"held", "unknown"}
    assert {attack.family for attack in result.attacks} == {"block", "pool"}
    assert result.probes[0].measurements[0].score.value > 0.2


def test_the_plan_was_fixed_before_the_coins_were_opened(finished: tuple[Path, AuditResult]) -> None:
    folder, result = finished
    decided = next(bound for bound in result.bounds if bound.decides)
    assert decided.counts.guesses_in == (result.plans[0].guesses_in,)
    assert decided.counts.guesses_out == (result.plans[0].guesses_out,)
    assert [plan.runs for plan in (*result.plans, *result.more_runs)] == [1, 2]
    assert result.plans[0].hours == result.runs[0].seconds / 3600
    assert len(openings(folder / "target-00")) == 1
    assert (folder / "plan.json").stat().st_mtime < (folder / "target-00" / "manifest.json").stat().st_mtime


def test_nothing_is_computed_twice(copied: Path, tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dpaudit.pipeline.stages.train.train", None)
    monkeypatch.setattr("dpaudit.pipeline.stages.bound.open_coins", None)
    page = (copied / "report.html").stat().st_mtime_ns
    dpaudit.run("quickstart", out=copied, overrides=tiny)
    assert (copied / "report.html").stat().st_mtime_ns == page


def test_a_finished_run_folder_is_a_recipe_of_itself(copied: Path) -> None:
    assert dpaudit.run(copied).verdict == dpaudit.run(copied).verdict


def test_a_changed_recipe_is_refused_with_what_differs(copied: Path, tiny: tuple[str, ...]) -> None:
    before = (copied / "results.json").read_bytes()
    with pytest.raises(InputError, match=r"privacy\.delta: 1e-05 -> 1e-06.*--fresh.*--out") as caught:
        dpaudit.run("quickstart", out=copied, overrides=[*tiny, "privacy.delta=1e-6"])
    assert caught.value.exit_code == 2
    assert (copied / "results.json").read_bytes() == before


def test_a_field_that_a_later_dpaudit_added_changes_nothing(
    copied: Path, tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = read_json(copied / "audit.json")
    del begun["recipe"]["references"], begun["recipe"]["privacy"]["engine"]
    (copied / "audit.json").write_text(json.dumps(begun))
    monkeypatch.setattr("dpaudit.pipeline.stages.train.train", None)
    page = (copied / "report.html").stat().st_mtime_ns
    dpaudit.run("quickstart", out=copied, overrides=tiny)
    assert (copied / "report.html").stat().st_mtime_ns == page


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"schema_version": 1}, "schema_version: 1 -> 2"),
        ({"data fingerprint": "other"}, "data fingerprint: other -> "),
    ],
)
def test_an_older_layout_and_other_data_are_refused(
    copied: Path, tiny: tuple[str, ...], change: dict[str, object], told: str
) -> None:
    (copied / "audit.json").write_text(json.dumps({**read_json(copied / "audit.json"), **change}))
    with pytest.raises(InputError, match=told):
        dpaudit.run("quickstart", out=copied, overrides=tiny)


def test_the_report_section_may_change(copied: Path, tiny: tuple[str, ...]) -> None:
    dpaudit.run("quickstart", out=copied, overrides=[*tiny, "report.public=true"])
    assert len(openings(copied / "target-00")) == 1
    assert "reconstructions" not in (copied / "report.html").read_text()


@pytest.mark.parametrize("name", ["target-00/model.safetensors", "target-00/manifest.json", "plan.json"])
def test_a_damaged_file_is_named_and_nothing_is_rewritten(copied: Path, tiny: tuple[str, ...], name: str) -> None:
    damaged = copied / name
    damaged.write_bytes(damaged.read_bytes()[:-20])
    content = damaged.read_bytes()
    with pytest.raises(DamagedRunError, match=name.rpartition("/")[2].replace(".", r"\.")):
        dpaudit.run("quickstart", out=copied, overrides=tiny)
    assert damaged.read_bytes() == content


def test_fresh_deletes_runs_and_nothing_else(copied: Path, tiny: tuple[str, ...], tmp_path: Path) -> None:
    audit = open_audit("quickstart", out=copied, overrides=[*tiny, "privacy.steps=4"])
    commitment = read_json(copied / "target-00" / "manifest.json")["commitment"]
    advance(audit, "train", fresh=True)
    assert read_json(copied / "target-00" / "manifest.json")["commitment"] != commitment
    assert not (copied / "report.html").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("")
    with pytest.raises(InputError, match="--fresh deletes no other"):
        advance(open_audit("quickstart", out=tmp_path / "mine", overrides=tiny), "train", fresh=True)


def test_an_attack_after_unsealing_is_exploratory(copied: Path) -> None:
    assert dpaudit.attack(copied, "loss", {"label": "later", "masks": 2})[-1] == "later"
    result = dpaudit.run(copied)
    later = [bound for bound in result.bounds if bound.attack == "later"]
    assert later
    assert not any(bound.decides for bound in later)
    assert next(attack for attack in result.attacks if attack.attack == "later").exploratory
    assert result.runs[0].openings == 2
    with pytest.raises(InputError, match="a label that no attack of this run has"):
        dpaudit.attack(copied, "loss", {"label": "later", "masks": 3})


def test_scores_that_knew_the_coins_before_training_stop_the_audit(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dpaudit.metrics.coin_blindness", lambda *_: 1e-9)
    (copied / "stages" / "bound.json").unlink()
    with pytest.raises(
        DpauditError, match=r"loss-pool on target-00: the UNTRAINED model's scores know the coins"
    ) as caught:
        dpaudit.run(copied)
    assert caught.value.exit_code == 1


def test_without_privacy_nothing_is_promised(tmp_path: Path, tiny: tuple[str, ...]) -> None:
    result = dpaudit.run("quickstart", out=tmp_path / "run", overrides=[*tiny, "privacy.epsilon=inf", "probes=[]"])
    assert result.promise.kind == "none"
    assert result.verdict.word == "CONSISTENT"
    assert any("audit_block" in line for line in result.missing)
    rows = [json.loads(line) for line in (tmp_path / "run" / "target-00" / "ledger.jsonl").read_text().splitlines()]
    assert {row["noise_std"] for row in rows} == {0.0}
    assert {row["clip_norm"] for row in rows} == {"Infinity"}


def test_canaries_on_real_coordinates_are_attacked_and_planned_for(tmp_path: Path, tiny: tuple[str, ...]) -> None:
    settings = [
        *tiny,
        "canaries.block=0",
        "canaries.coordinates=5",
        "attacks=[{name: audit_block, family: coordinates, label: real}]",
        "bounds.decide=[{attack: real}]",
        "probes=[]",
    ]
    result = dpaudit.run("quickstart", out=tmp_path / "run", overrides=settings)
    assert {attack.family for attack in result.attacks} == {"coordinates"}
    assert result.plans[0].canaries == result.attacks[0].candidates
    assert result.attacks[0].candidates > 100


def test_references_and_several_targets(tmp_path: Path, tiny: tuple[str, ...]) -> None:
    settings = [*tiny, "runs.count=2", "references.count=1", "probes=[]", "privacy.steps=4"]
    result = dpaudit.run("quickstart", out=tmp_path / "run", overrides=settings)
    assert [run.name for run in result.runs] == ["target-00", "target-01", "reference-00"]
    decided = next(bound for bound in result.bounds if bound.decides)
    assert len(decided.counts.canaries) == 2
    assert len({run.commitment for run in result.runs}) == 3


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("privacy.batch_size=5000", r"privacy\.batch_size = 5000: expected at most the 260 records"),
        ("canaries.inputs.noise=61", r"canaries\.inputs = 61: expected at most the audit pool \(60 records\)"),
        ("canaries.inputs.mislabelled=3", r"canaries\.inputs\.mislabelled = 3: expected 0"),
        ("canaries.block=0", r"audit_block.*expected a run with candidates of block or coordinates"),
        ("bounds.decide.0.method=guesswork", r"bounds\.decide\.0\.method = 'guesswork': expected one of one-run-joint"),
        ("bounds.decide.0.method=clopper-pearson", r"expected a certified method"),
        ("data.split.audit_pool=5000", r"data\.limit = 400: expected at least 5140, the sum of data\.split"),
        ("trainer.size=huge", r"size = 'huge'"),
        ("attacks.1.masks=0", r"masks = 0"),
        ("attacks.1.name=lossy", r"'lossy'.*loss"),
        ("privacy.sampling=full", r"privacy\.batch_size = 32: expected 260, all records"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(
    tmp_path: Path, tiny: tuple[str, ...], setting: str, message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        dpaudit.run("quickstart", out=tmp_path / "run", overrides=[*tiny, setting])
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("corrupt", [True, False])
def test_a_corrupt_image_is_named_before_anything_is_written(tmp_path: Path, corrupt: bool) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16)).save(buffer, "PNG")
    images = [buffer.getvalue()] * 200
    if corrupt:
        images[123] = images[123][:40]
    path = tmp_path / "images.parquet"
    pq.write_table(pa.table({"image": images, "label": [row % 4 for row in range(200)]}), path)
    settings = [
        f"data={{name: parquet, path: {path}, split: {{audit_pool: 60}}}}",
        "privacy.steps=2",
        "privacy.batch_size=32",
        "canaries={block: 100}",
        "probes=[]",
    ]
    if not corrupt:
        assert dpaudit.train("quickstart", out=tmp_path / "run", overrides=settings).is_dir()
        return
    with pytest.raises(InputError, match="row/123"):
        dpaudit.train("quickstart", out=tmp_path / "run", overrides=settings)
    assert not (tmp_path / "run").exists()


def test_only_a_run_folder_can_be_attacked(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a folder that `dpaudit run` or `dpaudit train` has begun"):
        open_run(tmp_path)


def test_a_folder_with_other_things_in_it_is_left_alone(tmp_path: Path, tiny: tuple[str, ...]) -> None:
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(InputError, match="an empty or new folder"):
        dpaudit.run("quickstart", out=tmp_path, overrides=tiny)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
