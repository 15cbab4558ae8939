"""docs/probes.md names every probe there is, and no other."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import yaml

from dpaudit.discovery import find
from dpaudit.recipes.recipe import ProbeEntry

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "probes.md").read_text(encoding="utf-8")


def test_the_table_holds_the_entry_points() -> None:
    entry_points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["dpaudit.probes"]
    table = PAGE.split("\n## ")[0]
    rows = re.findall(r"^\| ([a-z-]+) \|", table, flags=re.MULTILINE)
    assert sorted(set(rows) - {"name"}) == sorted(entry_points)


def test_every_probe_of_the_table_has_an_interval_in_the_other() -> None:
    section = PAGE.split("\n## What the intervals mean")[1].split("\n## ")[0]
    named = {name for row in re.findall(r"^\| ([a-z, -]+) \|", section, flags=re.MULTILINE) for name in row.split(", ")}
    entry_points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["dpaudit.probes"]
    assert named - {"probe"} == set(entry_points) - {"sin-theta"}  # an error of one known model


def test_the_recipe_of_the_page_is_valid() -> None:
    block = PAGE.split("```yaml\n")[1].split("```")[0]
    entries = [ProbeEntry.model_validate(each) for each in yaml.safe_load(block)["probes"]]
    assert len({entry.label for entry in entries}) == 5
    for entry in entries:
        find("probes", entry)
