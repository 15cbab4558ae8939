"""All that a report is: the page, the model card, the summary, and every table as CSV and for LaTeX."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dpaudit.reports.html import write_page
from dpaudit.reports.latex import write_latex
from dpaudit.reports.markdown import markdown_summary
from dpaudit.reports.model_card import model_card
from dpaudit.reports.published import published
from dpaudit.reports.tables import write_tables

if TYPE_CHECKING:
    from pathlib import Path

    from dpaudit.results import AuditResult

__all__ = ["write_report"]


def write_report(result: AuditResult, pictures: Path, out: Path, public: bool) -> list[Path]:
    """Write report.html, summary.md, model_card.md and tables/*.csv, *.tex into `out`; return the files.

    pictures: the folder of `result.pictures`. public: leave out what is private, and say so. The same results and
    pictures give the same bytes.
    """
    out.mkdir(parents=True, exist_ok=True)
    shown = published(result) if public else result
    page, summary, card = out / "report.html", out / "summary.md", out / "model_card.md"
    write_page(shown, pictures, page, public)
    summary.write_text(markdown_summary(shown), encoding="utf-8")
    card.write_text(model_card(published(result)), encoding="utf-8")
    return [page, summary, card, *write_tables(shown, out / "tables"), *write_latex(shown, out / "tables")]
