"""What the page says of the accountants: the promise, its tuning runs paid for, and an estimate named as one."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import pytest

from dpaudit.reports import headline
from dpaudit.reports.files import write_report
from dpaudit.results import GdpEstimate, Guarantee

if TYPE_CHECKING:
    from pathlib import Path

    from dpaudit.results import AuditResult


@pytest.fixture
def tuned(samples: dict[str, AuditResult]) -> AuditResult:
    dear = Guarantee(accountant="PLD", epsilon=12.142, delta=1e-5, adjacency="add-remove", note="grid 0.01")
    return samples["consistent"].model_copy(
        update={"with_tuning": (dear,), "central_limit": GdpEstimate(mu=1.0019, epsilon=7.4321, delta=1e-5)}
    )


def test_tuning_runs_and_the_central_limit_are_shown(tuned: AuditResult, tmp_path: Path) -> None:
    write_report(tuned, tmp_path, tmp_path, public=False)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    part = page[page.index('id="accountants"') : page.index("Each ε is what the mechanism promises")]
    assert part.index("Estimate") < part.index("≈ 7.43") < part.index("1-GDP, central limit theorem")
    assert part.index("Together with the declared tuning runs") < part.index("12.15")
    with (tmp_path / "tables" / "guarantees.csv").open(newline="", encoding="utf-8") as stream:
        assert [row["with_tuning"] for row in csv.DictReader(stream)] == ["no", "no", "no", "yes"]


def test_the_first_screen_names_the_price_of_tuning(tuned: AuditResult, samples: dict[str, AuditResult]) -> None:
    assert "together with its tuning runs: 12.15" in headline.promised(tuned).lines
    assert not any("tuning" in line for line in headline.promised(samples["consistent"]).lines)


def test_without_them_nothing_is_said(samples: dict[str, AuditResult], tmp_path: Path) -> None:
    write_report(samples["consistent"], tmp_path, tmp_path, public=False)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "tuning runs" not in page
    assert "Estimate</th>" not in page
