"""Several audits on one page: every row is there, the truth is told of broken promises, the bytes repeat."""

from __future__ import annotations

import csv
import math
from typing import TYPE_CHECKING

import pytest

import dpaudit
from dpaudit.errors import InputError
from dpaudit.reports.comparison import certified, comparison_rows, differences, frontier, write_comparison
from dpaudit.runs import RunFolder

if TYPE_CHECKING:
    from pathlib import Path

    from dpaudit.results import AuditResult


def test_the_page_and_the_table_hold_every_run(samples: dict[str, AuditResult], tmp_path: Path) -> None:
    page, table = write_comparison(samples, tmp_path / "one")
    text = page.read_text(encoding="utf-8")
    for name, result in samples.items():
        assert f'<th scope="row">{name}</th>' in text
        assert result.verdict.word in text
    assert "<script" not in text
    rows = list(csv.DictReader(table.read_text(encoding="utf-8").splitlines()))
    assert {row["run"] for row in rows} == set(samples)
    again, _ = write_comparison(samples, tmp_path / "two")
    assert again.read_bytes() == page.read_bytes()


def test_rows_are_unrounded_and_a_run_without_probes_keeps_its_row(samples: dict[str, AuditResult]) -> None:
    bare = samples["consistent"].model_copy(update={"probes": ()})
    rows = comparison_rows({"full": samples["consistent"], "bare": bare})
    scores = [row["score"] for row in rows if row["run"] == "full"]
    assert scores == [probe.measurements[0].score.value for probe in samples["consistent"].probes]
    (row,) = [row for row in rows if row["run"] == "bare"]
    assert row["probe"] == row["score"] == ""
    assert row["certified_epsilon"] == certified(bare)


def test_only_bounds_that_may_decide_are_called_certified(samples: dict[str, AuditResult]) -> None:
    result = samples["consistent"]
    deciding = [bound.epsilon for bound in result.bounds if bound.decides and bound.guarantee == "certified"]
    assert certified(result) == max(deciding)
    assert certified(result.model_copy(update={"bounds": ()})) is None


def test_an_unpromised_run_stands_under_infinity(samples: dict[str, AuditResult]) -> None:
    drawn = frontier({"private": samples["consistent"], "not": samples["unpromised"]}, "linear", "f")
    assert math.isinf(samples["unpromised"].promise.epsilon)
    assert "∞" in drawn
    assert "∞" not in frontier({"private": samples["consistent"]}, "linear", "f")


def test_differences_name_what_only_one_run_has() -> None:
    found = differences({"a": {"x": {"y": 1}, "z": [1]}, "b": {"x": {"y": 1}, "z": [2], "w": None}})
    assert [(each.field, each.values) for each in found] == [("z", ("[1]", "[2]")), ("w", ("—", "None"))]


def test_folders_of_one_name_are_told_apart(samples: dict[str, AuditResult], tmp_path: Path) -> None:
    for place in ("a", "b"):
        folder = tmp_path / place / "run"
        folder.mkdir(parents=True)
        (folder / "results.json").write_text(samples["consistent"].model_dump_json(), encoding="utf-8")
        RunFolder(folder).finish("report", "key", [folder / "results.json"])
    runs = dpaudit.compare([tmp_path / "a" / "run", tmp_path / "b" / "run"], out=tmp_path / "out")
    assert list(runs) == ["a/run", "b/run"]
    assert (tmp_path / "out" / "compare.html").exists()
    with pytest.raises(InputError, match="at least one run folder"):
        dpaudit.compare([], out=tmp_path / "out")
