"""Tables for a paper: whatever a run or an attack is called, the file stays LaTeX that compiles."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpaudit.reports.latex import escaped, latex_table, write_latex
from dpaudit.reports.sheets import Sheet, sheets

if TYPE_CHECKING:
    from pathlib import Path

    from dpaudit.results import AuditResult

HOSTILE = '50% of $x_1^2$ & {a}\\b#c~"d" <e> |f| \\end{tabular} \\input{x} é ε ≥ ∞ %'
#: what stands for itself in text: letters, marks that LaTeX prints, escapes, and ~, the space that does not break
TOKEN = re.compile(r"\\(?:text\w+|ldots)\{2?\}|\\[&%$#_{},]|\$\\?[\w<>-]+\$|[^\\&%$#_{}^\n]")
words = st.text(st.characters(codec="utf-8") | st.sampled_from(list(HOSTILE)), max_size=80)


def tokens(cell: str) -> None:
    """Assert that a cell is letters and escapes only."""
    place = 0
    while place < len(cell):
        found = TOKEN.match(cell, place)
        assert found, f"{cell[place : place + 20]!r} of {cell!r} is no plain text"
        place = found.end()


def columns(table: str) -> int:
    """Return how many columns the specification of a tabular has."""
    (spec,) = re.findall(r"\\begin\{tabular\}\{(.*)\}\n", table)
    plain: str = re.sub(r"p\{[\d.]+\\linewidth\}", "p", spec)
    assert set(plain) <= set("lrp")
    return len(plain)


def check(table: str) -> None:
    """Assert the shape of a table: comments, one environment, three rules in order, rows of one length."""
    lines = table.removesuffix("\n").split("\n")
    body = [line for line in lines if not line.startswith("%")]
    assert body[0].startswith(r"\begin{tabular}{")
    assert body[-1] == r"\end{tabular}"
    assert [body[1], body[3], body[-2]] == [r"\toprule", r"\midrule", r"\bottomrule"]
    rows = [body[2], *body[4:-2]]
    assert sum(line.count(r"\begin{") for line in rows) == sum(line.count(r"\end{") for line in rows) == 0
    for row in rows:
        assert row.endswith(r" \\")
        cells = re.split(r"(?<!\\)&", row.removesuffix(r" \\"))
        assert len(cells) == columns(table)
        for cell in cells:
            tokens(cell)


@given(words)
def test_escaped_text_holds_no_character_that_means_something(text: str) -> None:
    found = escaped(text)
    tokens(found)
    assert found.count("~") == text.count("\u00a0")


@given(st.lists(words, min_size=3, max_size=3), words, words)
def test_a_table_of_hostile_names_keeps_its_shape(row: list[str], caption: str, note: str) -> None:
    header = ("A", "ε & δ", row[0])
    sheet = Sheet(name="n", caption=caption, header=header, numeric=frozenset({1}), rows=(tuple(row),), note=note)
    check(latex_table(sheet))


def test_what_the_check_is_there_to_find_is_found() -> None:
    good = latex_table(Sheet(name="n", caption="N", header=("A", "B"), numeric=frozenset(), rows=(("x", "y"),)))
    check(good)
    for wrong in ("x & y & z", "x", "x_1 & y", "x & 5%", "x & {y", r"x & \end{tabular}", "x & #", "x & a^b"):
        with pytest.raises(AssertionError):
            check(good.replace("x & y", wrong))


def test_every_table_of_every_sample_keeps_its_shape(samples: dict[str, AuditResult]) -> None:
    for result in samples.values():
        hostile = result.model_copy(
            update={"probes": tuple(p.model_copy(update={"probe": HOSTILE}) for p in result.probes)}
        )
        for sheet in sheets(hostile):
            check(latex_table(sheet))


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no LaTeX here: the shape is checked without")
def test_latex_compiles_them(samples: dict[str, AuditResult], tmp_path: Path) -> None:
    sheet = Sheet(name="n", caption=HOSTILE, header=("A", HOSTILE), numeric=frozenset({1}), rows=((HOSTILE, HOSTILE),))
    (tmp_path / "hostile.tex").write_text(latex_table(sheet), encoding="utf-8")
    names = [tmp_path / "hostile.tex"]
    for name, result in samples.items():
        names += write_latex(result, tmp_path / name)
    inputs = "\n\n".join(rf"\input{{{path.relative_to(tmp_path)}}}" for path in names)
    preamble = "\\documentclass{article}\n\\usepackage[utf8]{inputenc}\n\\usepackage{booktabs}\n"
    (tmp_path / "all.tex").write_text(f"{preamble}\\begin{{document}}\n{inputs}\n\\end{{document}}\n", encoding="utf-8")
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "all.tex"]
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", check=False)
    assert answer.returncode == 0, answer.stdout[-2000:]
    assert (tmp_path / "all.pdf").stat().st_size > 10_000
