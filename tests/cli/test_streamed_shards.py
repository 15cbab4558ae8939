"""Shards read in sequence through a shuffle buffer, as web-scale training does, and never accounted as random."""

from __future__ import annotations

import io
import json
import tarfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

import dpaudit
from dpaudit.dp.step import DpStep
from dpaudit.pipeline.order import open_audit

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dpaudit.mechanism import Adjacency

    Cli = Callable[..., tuple[int, str, str]]

SHARDS, EACH = 8, 40
PREMISE = "sampling is what is accounted"


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, pixels = tmp_path_factory.mktemp("shards"), np.random.default_rng(0)
    for shard in range(SHARDS):
        with tarfile.open(folder / f"{shard:05d}.tar", "w") as tar:
            for row in range(EACH):
                buffer = io.BytesIO()
                Image.fromarray(pixels.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(buffer, "PNG")
                info = tarfile.TarInfo(f"{row:05d}.png")
                info.size = buffer.tell()
                buffer.seek(0)
                tar.addfile(info, buffer)
    return folder


def streamed(shards: Path, *more: str) -> list[str]:
    return [
        "name=streamed",
        f"data={{name: webdataset, path: {shards}, split: {{audit_pool: 60}}}}",
        "privacy.batch_size=32",
        "privacy.steps=20",  # two epochs
        "privacy.sampling=shuffle",
        "privacy.shuffle_buffer=10",
        "privacy.tuning_runs=0",
        "canaries.block=400",
        "canaries.inputs.noise=10",
        "attacks=[audit_block]",
        "bounds.decide=[]",  # the ledger alone decides: no bound may refute by chance, or for cause
        "probes=[]",
        "report.pictures=0",
        *more,
    ]


def run(cli: Cli, out: Path, settings: list[str]) -> tuple[int, dict[str, Any]]:
    flags = [flag for setting in settings for flag in ("--set", setting)]
    code, _, _ = cli("run", "quickstart", "--out", str(out), "-q", *flags)
    return code, json.loads((out / "results.json").read_text())


def judged(result: dict[str, Any]) -> tuple[str, str]:
    return next((each["status"], each["evidence"]) for each in result["assumptions"] if each["name"] == PREMISE)


def test_a_stream_that_claims_what_poisson_accounting_prints_is_unsound(cli: Cli, tmp_path: Path, shards: Path) -> None:
    code, result = run(cli, tmp_path / "run", streamed(shards))
    status, evidence = judged(result)
    assert (code, status) == (3, "violated")
    assert "streamed in storage order through a buffer of 10 of 320" in evidence
    assert (result["promise"]["kind"], result["verdict"]["word"]) == ("claim", "UNSOUND")
    assert any(PREMISE in reason and "nearly fixed" in reason for reason in result["verdict"]["reasons"])
    assert {each["epsilon"] for each in result["guarantees"]} == {None}
    page = (tmp_path / "run" / "report.html").read_text()
    assert "shuffle (streamed in storage order, buffer 10)" in page


@pytest.mark.parametrize("adjacency", ["replace-one", pytest.param("zero-out", marks=pytest.mark.slow)])
def test_without_amplification_a_stream_has_a_sound_account(
    cli: Cli, tmp_path: Path, shards: Path, adjacency: Adjacency
) -> None:
    code, result = run(cli, tmp_path / "run", streamed(shards, f"privacy.adjacency={adjacency}"))
    assert (code, judged(result)[0]) == (0, "held")
    assert result["verdict"]["word"] == "INCONCLUSIVE"
    noise = result["promise"]["mechanism"]["noise_multiplier"]
    epochs = dpaudit.account(
        noise_multiplier=noise,
        batch_size=320,
        dataset_size=320,
        steps=2,
        sampling="full",
        adjacency=adjacency,
        delta=1e-5,
    )
    promised = {each["accountant"]: each["epsilon"] for each in result["guarantees"]}
    assert promised["PLD"] == pytest.approx(epochs.guarantees[0].epsilon)


def test_a_buffer_without_a_shuffle_is_one_line(cli: Cli) -> None:
    code, out, err = cli("run", "quickstart", "--set", "privacy.shuffle_buffer=10")
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert "privacy.shuffle_buffer = 10: expected null: only privacy.sampling = shuffle" in err


def test_a_stream_reads_shards_one_after_the_other(
    tmp_path: Path, shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reads that go to the shard of the read before, or to one beside it: nearly all, or those that chance gives."""
    assert _near(tmp_path / "stream", monkeypatch, streamed(shards)) > 0.97
    assert _near(tmp_path / "shuffle", monkeypatch, streamed(shards, "privacy.shuffle_buffer=null")) < 0.4


def _near(out: Path, patch: pytest.MonkeyPatch, settings: list[str]) -> float:
    drawn, reads = DpStep.drawn, list[Any]()

    def noted(self: DpStep, step: int) -> Any:
        reads.append(drawn(self, step))
        return reads[-1]

    settings = [
        *settings,
        "privacy.steps=10",
        "canaries.inputs.noise=0",
        "canaries.block=0",
        "attacks=[loss]",
    ]
    patch.setattr(DpStep, "drawn", noted)
    dpaudit.train("quickstart", out=out, overrides=settings)
    patch.setattr(DpStep, "drawn", drawn)
    population = open_audit(out).population
    ids = population.universe[np.concatenate(reads[-10:])].tolist()  # record and replay took steps before these
    shard = np.array([int(name.split("/")[0]) for name in ids])
    assert len(set(shard.tolist())) == SHARDS
    return float((np.abs(np.diff(shard)) <= 1).mean())


def test_a_stream_that_was_stopped_goes_on_to_the_same_bits(
    tmp_path: Path, shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = streamed(
        shards, "reproducible=true", "privacy.batch_size=80", "privacy.steps=7", "runs.checkpoint_every=2"
    )
    whole = dpaudit.train("quickstart", out=tmp_path / "whole", overrides=settings)
    original = DpStep.__call__

    def interrupted(self: DpStep, step: int, *rest: Any) -> Any:
        if step == 5:  # in the second epoch
            raise KeyboardInterrupt
        return original(self, step, *rest)

    monkeypatch.setattr(DpStep, "__call__", interrupted)
    with pytest.raises(KeyboardInterrupt):
        dpaudit.train("quickstart", out=tmp_path / "pieces", overrides=settings)
    monkeypatch.setattr(DpStep, "__call__", original)
    pieces = dpaudit.train("quickstart", out=tmp_path / "pieces", overrides=settings)
    for name in ("model.safetensors", "ledger.jsonl"):
        assert (pieces / "target-00" / name).read_bytes() == (whole / "target-00" / name).read_bytes()
