"""A run replays its step before the first one: its finding is in manifest, ledger of premises and verdict."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

import dpaudit
from dpaudit.calls import doctor
from dpaudit.discovery import PlugIn
from dpaudit.training.sensitivity import NOISE_REPLAYED, SENSITIVITY_REPLAYED

if TYPE_CHECKING:
    from pathlib import Path

SHORT = ("privacy.steps=2", "probes=[]", "canaries.block=2000")

WRONG = '''"""Subtracts the mean of the batch: what is computed of one record holds all the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dpaudit.trainers.vip import ViP

if TYPE_CHECKING:
    from dpaudit.data.examples import Examples
    from dpaudit.dp.tensors import Batch
    from dpaudit.rng import Rng


@dataclass(frozen=True, kw_only=True)
class Centred(ViP):
    """ViP on images less their mean."""

    def collate(self, examples: Examples, rng: Rng) -> Batch:
        batch = super().collate(examples, rng)
        return batch | {"images": batch["images"] - batch["images"].mean(0)}
'''


@pytest.fixture
def wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "centred.py").write_text(WRONG)
    return "./centred.py:Centred"


def premises(result: dpaudit.AuditResult) -> dict[str, tuple[str, str]]:
    return {premise.name: (premise.status, premise.evidence) for premise in result.assumptions}


def test_a_trainer_that_breaks_its_sensitivity_is_violated(tiny: tuple[str, ...], tmp_path: Path, wrong: str) -> None:
    result = dpaudit.run("quickstart", out=tmp_path / "run", overrides=[*tiny, *SHORT, f"trainer.name={wrong}"])
    assert result.verdict.word == "VIOLATED"
    status, evidence = premises(result)[SENSITIVITY_REPLAYED]
    assert status == "violated"
    assert "digits/" in evidence
    assert "replay:" in evidence
    assert evidence in result.verdict.reasons[0]


def test_a_sound_run_says_what_was_replayed_and_how_its_noise_was_made(tiny: tuple[str, ...], tmp_path: Path) -> None:
    settings = [*tiny, *SHORT, "privacy.secure=true", "privacy.augmentations=2"]
    result = dpaudit.run("quickstart", out=tmp_path / "run", overrides=settings)
    found = premises(result)
    assert {found[name][0] for name in (SENSITIVITY_REPLAYED, NOISE_REPLAYED)} == {"held"}
    assert found["noise scale measured"][0] == "held"
    manifest = json.loads((tmp_path / "run" / "target-00" / "manifest.json").read_text())
    assert [premise["status"] for premise in manifest["replayed"]] == ["held", "held"]
    assert "SHAKE-256" in manifest["noise"]["generator"]
    assert "bit-identical" in manifest["noise"]["resume"]


def test_without_clipping_there_is_nothing_to_replay(tiny: tuple[str, ...], tmp_path: Path) -> None:
    settings = [*tiny, *SHORT, "privacy.epsilon=inf", "attacks=[loss]", "bounds.decide=[]"]
    folder = dpaudit.train("quickstart", out=tmp_path / "run", overrides=settings)
    assert json.loads((folder / "target-00" / "manifest.json").read_text())["replayed"] == []


def test_doctor_replays_every_trainer(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [PlugIn(name=name, target="", origin="", summary="", broken=None) for name in ("vip", wrong)]
    monkeypatch.setattr(doctor, "available", lambda _: found)
    sound, centred = doctor._trainers(("add-remove",))
    assert (sound.fine, centred.fine) == (True, False), centred.finding
    assert "certified by batches {" in centred.finding
