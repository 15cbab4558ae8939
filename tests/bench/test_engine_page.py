"""The page of the engine's speed is up to date: it has a row for every model that the command measures."""

from __future__ import annotations

from pathlib import Path

import pytest

from dpaudit.bench.engine_cases import CASES, Case

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "speed.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_row_of_the_command_is_on_the_page(case: Case) -> None:
    row = next(line for line in PAGE.splitlines() if line.startswith(f"| {case.title} |"))
    assert case.aims is not None
    for aim in (case.aims.step, case.aims.memory, case.aims.faster):
        assert f"({aim:g})" in row
