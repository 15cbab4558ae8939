"""The page of the bounds is up to date: it has a row for every bound that the command measures, and says how."""

from __future__ import annotations

from pathlib import Path

import pytest

from dpaudit.bench.bounds import contenders
from dpaudit.bounds.methods import METHODS

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "statistics" / "bounds.md").read_text(encoding="utf-8")


def test_every_row_of_the_command_is_on_the_page() -> None:
    rows = [
        f"| {c.method} | {c.family.hypothesis} | {c.strategy} | {c.claim.replace('_', ' ')} |" for c in contenders()
    ]
    assert [row for row in rows if row not in PAGE] == []


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_method_has_its_source_on_the_page(name: str) -> None:
    first_author = METHODS[name].source.split()[0].rstrip(",")
    assert f"`{name}`" in PAGE
    assert first_author in PAGE


def test_no_row_called_certified_is_shown_to_fail() -> None:
    certified = [line for line in PAGE.splitlines() if "| certified |" in line]
    assert len(certified) > 20
    assert all(line.endswith("| yes |") for line in certified)
