"""docs/attacks.md tells of every attack that is installed what its `needs` say."""

from __future__ import annotations

from pathlib import Path

import pytest

from dpaudit.discovery import available, find
from dpaudit.plugins import Attack
from dpaudit.recipes.recipe import PlugInEntry

ROOT = Path(__file__).resolve().parents[2]
OWN = [plug_in.name for plug_in in available("attacks") if plug_in.origin.startswith("dpaudit ")]


def rows() -> dict[str, list[str]]:
    """Return name -> access, offers, reads, strangers, references, words."""
    page, _, _ = (ROOT / "docs" / "attacks.md").read_text(encoding="utf-8").partition("\n## ")
    lines = [line for line in page.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    found = {first: rest for first, *rest in cells[2:] if not first.startswith("**")}
    assert len(found) == sum(not cell[0].startswith("**") for cell in cells[2:]), "two rows for one attack"
    return found


def test_the_page_lists_every_attack_and_no_other() -> None:
    assert sorted(rows()) == sorted(OWN)


@pytest.mark.parametrize("name", OWN)
def test_a_row_says_what_the_attack_needs(name: str) -> None:
    needs = cast_attack(name).needs
    access, _, reads, strangers, references, words = rows()[name]
    assert access == (needs.access if needs.sees_model else "none")
    assert reads == ", ".join(sorted(needs.reads))
    assert strangers == (str(needs.population) if needs.population else "")
    assert references == (str(needs.references) if needs.references else "")
    assert len(words.split()) > 5


@pytest.mark.parametrize("name", OWN)
def test_every_attack_cites_a_paper(name: str) -> None:
    module = find("attacks", PlugInEntry(name=name)).__module__.rpartition(".")[2]
    text = (ROOT / "attacks" / f"{module}.py").read_text(encoding="utf-8")
    assert any(f"{year}" in text for year in range(1990, 2027)), "no year of a paper"
    assert len(text.splitlines()) <= 200


def cast_attack(name: str) -> Attack:
    attack = find("attacks", PlugInEntry(name=name))()
    assert isinstance(attack, Attack)
    return attack
