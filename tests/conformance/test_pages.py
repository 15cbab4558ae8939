"""What README and docs/plug-ins.md show runs as it stands, and conforms."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import dpaudit
from dpaudit.data.annotations import check_complete
from dpaudit.discovery import configure
from dpaudit.recipes.recipe import PlugInEntry

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]


def blocks(page: Path) -> Iterator[str]:
    yield from re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)


@pytest.fixture
def shown_attack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """README's attack in a file beside which commands are run."""
    block = next(each for each in blocks(ROOT / "README.md") if "def score" in each)
    assert len(block.splitlines()) <= 12
    (tmp_path / "mine.py").write_text(block, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return "./mine.py:Mine"


def test_the_attack_of_the_readme_conforms_and_runs(shown_attack: str, tiny: tuple[str, ...]) -> None:
    found = dpaudit.check(shown_attack)
    assert [each.status for each in found] == ["passed"] * len(found)
    overrides = [*tiny, "canaries.block=500", "probes=[]", "report.pictures=0"]
    result = dpaudit.run("quickstart", out="runs/mine", overrides=overrides, attacks=[shown_attack])
    scored = {attack.attack: attack for attack in result.attacks}
    assert set(scored) == {"audit_block", "loss-pool", "Mine"}
    assert not scored["Mine"].exploratory
    assert {bound.attack for bound in result.bounds if bound.decides} == {"audit_block"}


def pages() -> dict[str, str]:
    """Return class name -> code block of docs/plug-ins.md."""
    found = {}
    for block in blocks(ROOT / "docs" / "plug-ins.md"):
        name = re.search(r"^class (\w+)", block, flags=re.MULTILINE)
        assert name is not None
        found[name[1]] = block
    return found


def written(name: str, folder: Path) -> str:
    path = folder / f"page_{name.lower()}.py"
    path.write_text(pages()[name], encoding="utf-8")
    return f"{path}:{name}"


@pytest.mark.parametrize("name", ["Harder", "Regression", "NearestMean"])
def test_every_plug_in_of_the_page_conforms(name: str, tmp_path: Path) -> None:
    found = dpaudit.check(written(name, tmp_path))
    assert [str(each) for each in found if each.status != "passed"] == []


def test_the_data_set_of_the_page_is_one(tmp_path: Path) -> None:
    stripes = configure("datasets", PlugInEntry.model_validate({"name": written("Stripes", tmp_path), "size": 50}))
    assert stripes.classes == ("lying", "upright")
    records = stripes[stripes.ids()]
    check_complete(records, frozenset({"image", "label"}))
    again = stripes[stripes.ids()[::-1]]
    assert np.array_equal(again.images[::-1], records.images)
    assert len({image.tobytes() for image in records.images}) == 50
    assert stripes.fingerprint() != configure("datasets", PlugInEntry(name=written("Stripes", tmp_path))).fingerprint()


def test_the_page_shows_one_plug_in_of_each_kind() -> None:
    assert set(pages()) == {"Harder", "Regression", "NearestMean", "Stripes"}
