"""What the audit could have seen stands on the page, from results alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dpaudit.reports.files import write_report
from dpaudit.reports.foresight import expected, hypotheses, more_runs

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from dpaudit.results import AuditResult, Plan

BY_HYPOTHESIS = {"gaussian": 5.559, "any": 3.019, "accountant": 5.719}


def foreseen(base: AuditResult, after: float = 6.319, hours: float | None = 2.5) -> AuditResult:
    plan = base.plans[0].model_copy(update={"expected": BY_HYPOTHESIS, "power": 0.9996})
    more = plan.model_copy(update={"runs": 4, "hours": hours, "expected": BY_HYPOTHESIS | {"accountant": after}})
    return base.model_copy(update={"plans": (plan,), "more_runs": (more,)})


def row(page: str, plan: Plan) -> str:
    section = page[page.index('<h2 id="plan">') :]
    rows = [line for line in section.split("<tr>") if f'<td class="num">{plan.runs}</td>' in line]
    assert len(rows) == 1
    return rows[0].partition("</tr>")[0]


def test_the_plan_stands_on_the_page_by_hypothesis(samples: dict[str, AuditResult], tmp_path: Path) -> None:
    result = foreseen(samples["consistent"])
    write_report(result, tmp_path, tmp_path / "out", public=False)
    page = (tmp_path / "out" / "report.html").read_text()
    for plan, values in ((result.plans[0], ("3.01", "5.55", "5.71")), (result.more_runs[0], ("3.01", "5.55", "6.31"))):
        cells = row(page, plan)
        assert [cells.index(f">{value}<") for value in values] == sorted(cells.index(f">{value}<") for value in values)
        assert "&gt; 99.9 %" in cells
    assert "not done" in row(page, result.more_runs[0])
    assert "2 h 30 min" in row(page, result.more_runs[0])
    assert more_runs(result)[0].split(":")[0] in page


def test_more_runs_are_one_sentence(samples: dict[str, AuditResult]) -> None:
    (sentence,) = more_runs(foreseen(samples["consistent"]))
    assert sentence.startswith("audit_block: with 4 runs (2 h 30 min of training) it could have certified ε = 6.31")
    assert "instead of 5.71" in sentence
    assert sentence.endswith("(hypothesis: the accountant's own curve)."), "the power is the same"
    (unknown,) = more_runs(foreseen(samples["consistent"], hours=None))
    assert "training" not in unknown
    (nothing,) = more_runs(foreseen(samples["consistent"], after=5.0))
    assert "could not have certified more" in nothing


def test_a_claim_is_counted_by_its_own_hypothesis(samples: dict[str, AuditResult]) -> None:
    result = foreseen(samples["consistent"])
    promise = result.promise.model_copy(update={"kind": "claim"})
    claimed = result.model_copy(update={"promise": promise, "bounds": ()})
    assert expected(claimed, claimed.plans[0]) == ("any", 3.019)
    assert expected(result, result.plans[0]) == ("accountant", 5.719)


def test_results_of_before_have_one_column(
    samples: dict[str, AuditResult], tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    old = samples["consistent"]
    assert hypotheses(old) == {}
    assert more_runs(old) == []
    write_report(old, tmp_path, tmp_path / "out", public=False)
    assert ">5.55<" in row((tmp_path / "out" / "report.html").read_text(), old.plans[0])
    assert not recwarn.list
