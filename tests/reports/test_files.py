"""Everything beside the page: LaTeX, Markdown, model card, CSV; each holds what the page says and nothing private."""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
import yaml

from dpaudit.reports.files import write_report
from dpaudit.reports.latex import escaped, latex_table, write_latex
from dpaudit.reports.markdown import markdown_summary, plain
from dpaudit.reports.model_card import model_card
from dpaudit.reports.published import published
from dpaudit.reports.sheets import sheets
from dpaudit.results import Assumption, Exposed, Exposure, Interval, Series, Verdict

if TYPE_CHECKING:
    from pathlib import Path

    from dpaudit.results import AuditResult

NAMED = "record-4711"


@pytest.fixture
def telling(samples: dict[str, AuditResult]) -> AuditResult:
    """A result that names a record in every place where one can stand."""
    base = samples["consistent"]
    evidence = f"certified by batches {{{NAMED}}} and {{}}: released sums differ by 2"
    premise = Assumption(
        name="sensitivity replayed", status="violated", evidence=evidence, certified=True, public="certified by sizes"
    )
    exposed = Exposure(
        attack="loss",
        run="target-00",
        family="pool",
        auc=Interval(value=0.6, low=0.5, high=0.7),
        non_members=40,
        records=(Exposed(record=NAMED, score=1.25, share_below=0.975),),
    )
    return base.model_copy(
        update={
            "assumptions": (*base.assumptions, premise),
            "exposed": exposed,
            "spent": Series(name="epsilon by step", x=(1.0, 100.0, 400.0), y=(0.91234, 4.2, 7.9998)),
            "verdict": Verdict(word="VIOLATED", sentence="It does not hold.", reasons=(f"sensitivity: {evidence}",)),
            "missing": (f"Probe linear on target-00 failed: ValueError: bad image of {NAMED}",),
        }
    )


def test_a_report_is_these_files(samples: dict[str, AuditResult], pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    written = write_report(samples["consistent"], pictures, out, public=False)
    assert {str(path.relative_to(out)) for path in written} == {
        "report.html",
        "summary.md",
        "model_card.md",
        *(
            f"tables/{name}.csv"
            for name in ("bounds", "attacks", "guarantees", "assumptions", "probes", "plans", "spent")
        ),
        *(
            f"tables/{name}.tex"
            for name in ("numbers", "bounds", "attacks", "guarantees", "assumptions", "probes", "plans")
        ),
    }
    assert all(path.stat().st_size > 0 for path in written)


def test_the_same_results_give_the_same_bytes_in_every_file(
    telling: AuditResult, pictures: Path, tmp_path: Path
) -> None:
    one, two = (write_report(telling, pictures, tmp_path / name, public=False) for name in ("one", "two"))
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]


def test_a_public_report_names_no_record_in_any_file(telling: AuditResult, pictures: Path, tmp_path: Path) -> None:
    private = write_report(telling, pictures, tmp_path / "private", public=False)
    public = write_report(telling, pictures, tmp_path / "public", public=True)
    naming = {path.name for path in private if NAMED in path.read_text(encoding="utf-8")}
    assert naming == {"report.html", "summary.md", "assumptions.csv", "assumptions.tex"}
    assert not [path.name for path in public if NAMED in path.read_text(encoding="utf-8")]
    page = (tmp_path / "public" / "report.html").read_text(encoding="utf-8")
    assert "certified by sizes" in page
    assert "Probe linear on target-00 failed" in page


def test_a_model_card_is_always_public(telling: AuditResult) -> None:
    card = model_card(published(telling))
    assert NAMED not in card
    assert "certified by sizes" in card


def test_a_model_card_says_what_is_claimed_and_what_was_found(samples: dict[str, AuditResult]) -> None:
    card = model_card(samples["consistent"])
    head, _, body = card.removeprefix("---\n").partition("---\n")
    assert yaml.safe_load(head) == {
        "model_name": "vip-small",
        "library_name": "pytorch",
        "tags": ["differential-privacy", "privacy-audit", "vip"],
    }
    for said in ("ε = 8.00; at δ = 1e-5; PLD accountant", "poisson sampling at rate 0.05", "noise multiplier 0.741"):
        assert said in body, said
    for said in ("CONSISTENT", "ε ≥ 5.55", "PLD ε = 8.00; RDP ε = 8.68", "add-remove", "**unknown**"):
        assert said in body, said
    titles = re.findall(r"^##+ (.*)$", body, re.MULTILINE)
    assert titles == [
        "Privacy",
        "Premises",
        "What the audit tried",
        "Limits",
        "Evaluation",
        "Training",
        "How to reproduce this",
        "What the audit lacks",
    ]


def test_a_model_card_of_no_promise_claims_none(samples: dict[str, AuditResult]) -> None:
    card = model_card(samples["unpromised"])
    assert "no differential privacy: no clipping or no noise" in card
    assert "nothing is promised" in card


@pytest.mark.parametrize("name", ["consistent", "violated", "partial", "unpromised"])
def test_tables_in_latex_are_well_formed(samples: dict[str, AuditResult], tmp_path: Path, name: str) -> None:
    for path in write_latex(samples[name], tmp_path):
        text = path.read_text(encoding="utf-8")
        body = [line for line in text.splitlines() if not line.startswith("%")]
        columns = re.sub(r"p\{[^}]*\}", "p", re.findall(r"\\begin\{tabular\}\{(.*)\}$", body[0])[0])
        for line in body:
            if line.endswith(r" \\"):
                assert len(re.findall(r"(?<!\\)&", line)) == len(columns) - 1, line
                assert not re.search(r"(?<!\\)[%#_]", line), line
                assert line.isascii(), line
        bare = re.sub(r"\\.", "", text)
        assert bare.count("{") == bare.count("}")
        assert bare.count("$") % 2 == 0
        assert [text.count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == [1, 1, 1]


def test_latex_compiles(samples: dict[str, AuditResult], tmp_path: Path) -> None:
    if shutil.which("pdflatex") is None:
        pytest.skip("no pdflatex here")
    write_latex(samples["consistent"], tmp_path)
    inputs = "".join(f"\\input{{{path.name}}}\n\n" for path in sorted(tmp_path.glob("*.tex")))
    lines = (r"\documentclass{article}", r"\usepackage[utf8]{inputenc}", r"\usepackage{booktabs}", r"\begin{document}")
    (tmp_path / "main.tex").write_text("\n".join([*lines, inputs, r"\end{document}"]), encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "main.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)  # fixed words
    assert done.returncode == 0, done.stdout[-2000:]


def test_what_latex_would_read_as_a_command_is_printed() -> None:
    assert escaped(r"\input{x} $a_b$ ~ 50 %") == (r"\textbackslash{}input\{x\} \$a\_b\$ \textasciitilde{} 50\,\%")


def test_markdown_holds_every_row_and_no_markup_of_others(samples: dict[str, AuditResult]) -> None:
    result = samples["consistent"].model_copy(update={"title": "<img src=x> | *bold* [a](b)"})
    text = markdown_summary(result)
    assert "<img" not in text
    assert plain(result.title) in text
    for sheet in sheets(result):
        for row in sheet.rows:
            assert "| " + " | ".join(plain(cell) for cell in row) + " |" in text
    widths = {line.count("|") - line.count("\\|") for line in text.splitlines() if line.startswith("| ")}
    assert len(widths) > 1
    assert all(len(row) == len(sheet.header) for sheet in sheets(result) for row in sheet.rows)


def test_plans_and_epsilon_by_step_are_tables(telling: AuditResult, pictures: Path, tmp_path: Path) -> None:
    write_report(telling, pictures, tmp_path, public=True)
    with (tmp_path / "tables" / "plans.csv").open(newline="", encoding="utf-8") as stream:
        (row,) = csv.DictReader(stream)
    assert (row["done"], float(row["power"]), float(row["largest_epsilon"])) == ("yes", 0.93, 9.13)
    with (tmp_path / "tables" / "spent.csv").open(newline="", encoding="utf-8") as stream:
        assert [(row["step"], float(row["epsilon"])) for row in csv.DictReader(stream)][-1] == ("400", 7.9998)


def test_a_table_that_has_no_row_is_no_latex(samples: dict[str, AuditResult], tmp_path: Path) -> None:
    assert [path.name for path in write_latex(samples["partial"], tmp_path)] == ["numbers.tex"]
    assert latex_table(sheets(samples["partial"])[0]).endswith("\\end{tabular}\n")
