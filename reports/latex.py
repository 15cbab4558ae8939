r"""The report's tables for a paper: `tabular` with booktabs rules, one file each, to be read by `\input`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from dpaudit.reports.sheets import sheets

if TYPE_CHECKING:
    from pathlib import Path

    from dpaudit.reports.sheets import Sheet
    from dpaudit.results import AuditResult

__all__ = ["escaped", "latex_table", "write_latex"]

_WIDE = 46  #: characters beyond which a text column is set as a paragraph
_SYMBOLS = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"$<$",
    ">": r"$>$",
    "|": r"\textbar{}",
    "ε": r"$\varepsilon$",
    "δ": r"$\delta$",
    "μ": r"$\mu$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "≈": r"$\approx$",
    "∞": r"$\infty$",
    "—": "---",
    "–": "--",
    "“": "``",
    "”": "''",
    "…": r"\ldots{}",
    "·": r"$\cdot$",
    "×": r"$\times$",
    "−": "$-$",
    "²": r"\textsuperscript{2}",
    "\u00a0": "~",
    '"': "''",
}
_SPECIAL = re.compile("|".join(re.escape(symbol) for symbol in _SYMBOLS))


def write_latex(result: AuditResult, folder: Path) -> list[Path]:
    r"""Write one `tabular` per table into `folder`; return the files. A document needs `\usepackage{booktabs}`."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for sheet in sheets(result):
        path = folder / f"{sheet.name}.tex"
        path.write_text(latex_table(sheet), encoding="utf-8")
        written.append(path)
    return written


def latex_table(sheet: Sheet) -> str:
    r"""Return a table as LaTeX: a comment on what it is and how to use it, then a `tabular`.

    >>> from dpaudit.reports.sheets import Sheet
    >>> sheet = Sheet(name="n", caption="N", header=("A", "ε"), numeric=frozenset({1}), rows=(("a_b", "≥ 1.00"),))
    >>> print(latex_table(sheet).split("\n", 2)[2], end="")
    \begin{tabular}{lr}
    \toprule
    A & $\varepsilon$ \\
    \midrule
    a\_b & $\geq$ 1.00 \\
    \bottomrule
    \end{tabular}
    """
    note = f" {sheet.note}" if sheet.note else ""
    lines = [
        _one_line(f"% {sheet.caption}.{note}"),
        r"% Preamble: \usepackage[utf8]{inputenc} \usepackage{booktabs}. Wider than the page: \resizebox or \small.",
        rf"\begin{{tabular}}{{{_columns(sheet)}}}",
        r"\toprule",
        _line(sheet.header),
        r"\midrule",
        *(_line(row) for row in sheet.rows),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def escaped(text: str) -> str:
    r"""Return text as LaTeX prints it; a unit stays with its number.

    >>> print(escaped("95 % of {a_b} at ε ≥ 2"))
    95\,\% of \{a\_b\} at $\varepsilon$ $\geq$ 2
    """
    found = _SPECIAL.sub(lambda match: _SYMBOLS[match.group()], _one_line(text))
    return re.sub(r"(?<=\d) \\%", r"\\,\\%", found)


def _one_line(text: str) -> str:
    """Return text without line breaks and control characters: they would end a comment, or a paragraph in a cell."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+", " ", text)


def _columns(sheet: Sheet) -> str:
    return "".join("r" if place in sheet.numeric else _text_column(sheet, place) for place in range(len(sheet.header)))


def _text_column(sheet: Sheet, place: int) -> str:
    longest = max((len(row[place]) for row in sheet.rows), default=0)
    return r"p{0.45\linewidth}" if longest > _WIDE else "l"


def _line(cells: tuple[str, ...]) -> str:
    return " & ".join(escaped(cell) for cell in cells) + r" \\"
