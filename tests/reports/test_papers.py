"""The papers' numbers: each says where it was read, the page of the documents shows them, ours come from results."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dpaudit.discovery import available
from dpaudit.reports.comparison import write_comparison
from dpaudit.reports.papers import PAPERS, READ, ours, published_rows

if TYPE_CHECKING:
    from dpaudit.reports.papers import Paper
    from dpaudit.results import AuditResult

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "published.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("paper", PAPERS, ids=lambda paper: paper.trainer)
def test_the_page_shows_what_is_kept_and_where_it_was_read(paper: Paper) -> None:
    section = PAGE.split(f"### {paper.system}")[1].split("\n### ")[0]
    lines = section.splitlines()
    for row in published_rows(paper):
        (line,) = [line for line in lines if line.startswith(f"| {row.system} | {row.what} | {row.value} |")]
        assert line.endswith(f"| {row.source} |")
    assert paper.lacking in section


def test_every_paper_is_of_a_system_that_there_is() -> None:
    assert {paper.trainer for paper in PAPERS} <= {plug_in.name for plug_in in available("trainers")}
    assert {each.evidence for paper in PAPERS for each in paper.reports} <= set(READ)
    for paper in PAPERS:
        assert paper.reports or paper.lacking


def test_another_model_does_not_get_the_size_of_the_papers_training() -> None:
    for paper in PAPERS:
        for row, each in zip(published_rows(paper), paper.reports, strict=False):
            assert (row.records == paper.records) == (each.model is None or paper.records == "—")


def test_ours_are_those_of_the_results(samples: dict[str, AuditResult], tmp_path: Path) -> None:
    result = samples["consistent"]
    rows = ours({"mine": result}, "vip")
    assert len(rows) == sum(len(probe.measurements) for probe in result.probes)
    first, measured = rows[0], result.probes[0].measurements[0]
    assert first.value.startswith(f"{100 * measured.score.value:.1f} %")
    assert (first.epsilon, first.steps) == ("8.00", f"{result.promise.mechanism.steps:,}")
    assert ours({"mine": result}, "dp-cap") == []
    page, *_ = write_comparison({"mine": result}, tmp_path)
    text = page.read_text(encoding="utf-8")
    assert "Beside the papers" in text
    assert "55.7 %" in text
    assert "65.8 %" not in text  # no DP-Cap was compared
