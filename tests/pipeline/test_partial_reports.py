"""An audit whose attack or probe really fails leaves a partial report that says what is missing, and goes on later."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

import dpaudit
from dpaudit.errors import InputError
from dpaudit.results import AuditResult
from dpaudit.runs import read_json
from dpaudit.seal import openings

if TYPE_CHECKING:
    from pathlib import Path

BREAKING = '''
"""An attack that works once its marker is there."""
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dpaudit.plugins import Needs


@dataclass(frozen=True)
class Breaking:
    marker: str = ""

    @property
    def needs(self) -> Needs:
        return Needs(access="outputs", families=("pool",))

    def score(self, view):
        if not Path(self.marker).exists():
            raise RuntimeError(f"cannot score {view.candidates.ids[0]}")
        return np.zeros(len(view.candidates.ids))
'''


@pytest.fixture(scope="session")
def broken(tmp_path_factory: pytest.TempPathFactory, tiny: tuple[str, ...]) -> Path:
    """A run folder in which one of two attacks failed; its marker is beside it."""
    place = tmp_path_factory.mktemp("partial")
    (place / "breaking.py").write_text(BREAKING, encoding="utf-8")
    options = f"name: {place / 'breaking.py'}:Breaking, label: breaking, marker: {place / 'marker'}"
    overrides = [*tiny, "report.thumbnails=true", f"attacks=[audit_block, loss, {{{options}}}]"]
    with pytest.raises(RuntimeError, match="cannot score"):
        dpaudit.run("quickstart", out=place / "run", overrides=overrides)
    return place


def results(folder: Path) -> AuditResult:
    return AuditResult.model_validate(read_json(folder / "results.json"))


def test_the_partial_report_names_the_attack_and_judges_nothing(broken: Path) -> None:
    folder = broken / "run"
    result, page = results(folder), (folder / "report.html").read_text(encoding="utf-8")
    assert result.partial
    assert result.verdict.word == "INCONCLUSIVE"
    assert "not finished" in result.verdict.sentence
    assert not result.attacks
    assert not result.bounds
    assert result.missing[0].startswith("Attack breaking on target-00 failed: RuntimeError: cannot score")
    assert "Scores are kept of: audit_block, loss." in result.missing[1]
    assert page.index("Partial report.") < page.index("Promised ε")
    assert not openings(folder / "target-00"), "no coin is opened while a score is missing"


def test_what_does_not_wait_is_there(broken: Path) -> None:
    result = results(broken / "run")
    assert len(result.assumptions) > 10
    assert result.guarantees[0].epsilon is not None
    assert result.probes
    assert result.spent is not None
    assert result.spent.x[-1] == result.promise.mechanism.steps
    assert result.spent.y[-1] == result.guarantees[0].epsilon
    assert list(result.spent.y) == sorted(result.spent.y)


def test_it_is_no_finished_audit_and_report_says_so_again(broken: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(broken / "run", folder)
    before = (folder / "report.html").read_bytes()
    with pytest.raises(InputError, match="has finished"):
        dpaudit.compare([folder], out=tmp_path / "compared")
    with pytest.raises(RuntimeError, match="cannot score"):
        dpaudit.report(folder)
    assert (folder / "report.html").read_bytes() == before
    with pytest.raises(RuntimeError, match="cannot score"):
        dpaudit.report(folder, public=True)
    public = (folder / "report.html").read_text(encoding="utf-8")
    assert "Attack breaking on target-00 failed" in public
    assert "cannot score" not in public


def test_once_it_works_the_same_command_finishes(broken: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(broken / "run", folder)
    (broken / "marker").touch()
    try:
        dpaudit.report(folder)
    finally:
        (broken / "marker").unlink()
    result = results(folder)
    assert not result.partial
    assert result.missing == ()
    assert {attack.attack for attack in result.attacks} == {"audit_block", "loss", "breaking"}
    assert not any(attack.exploratory for attack in result.attacks)
    assert len(openings(folder / "target-00")) == 1
    assert result.exposed is not None
    assert result.exposed.attack in ("loss", "breaking")
    shown = [float(each.score) for each in result.exposed.records]
    assert shown == sorted(shown, reverse=True)
    assert "exposed.png" in {picture.file for picture in result.pictures}
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert result.exposed.records[0].record in page
    assert "images of the" in page
