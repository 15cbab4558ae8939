"""`dpaudit plan` as a person uses it: a table that fits, the best marked, and what is not known said."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    Cli = Callable[..., tuple[int, str, str]]

PROMISE = ("--epsilon", "8", "--delta", "1e-5", "--canaries", "1000")


def table(out: str) -> list[list[str]]:
    return [line.split("\t") for line in out.splitlines() if "\t" in line]


def test_the_best_is_marked_and_hours_that_nobody_knows_are_said(cli: Cli) -> None:
    code, out, err = cli("plan", *PROMISE)
    rows = table(out)
    assert code == 0
    assert rows[0] == ["*", "runs", "canaries", "in", "out", "any", "gaussian", "accountant", "power", "largest"]
    assert [row[:2] for row in rows[1:]] == [["", "1"], ["", "2"], ["", "4"], ["*", "8"]]
    assert "* best: 8 runs of 1000 canaries" in out
    assert "hours: not known" in out
    assert err.endswith("plan: done\n")


def test_the_page_on_planning_shows_what_is_printed(cli: Cli) -> None:
    _, out, _ = cli("plan", *PROMISE, "-q")
    page = (Path(__file__).parents[2] / "docs" / "planning.md").read_text()
    lines = page[page.index("*  runs  canaries") :].splitlines()
    for row, line in zip(table(out), lines, strict=False):
        for cell, shown in zip(" ".join(row).split(), line.split(), strict=True):
            assert cell == shown or float(cell) == pytest.approx(float(shown), abs=0.02), line


def test_json_holds_every_design(cli: Cli) -> None:
    code, out, _ = cli("plan", *PROMISE, "--runs", "2", "--hours-per-run", "3", "--budget", "7", "--json", "-q")
    answer = json.loads(out)
    assert code == 0
    assert answer["best"] == answer["plans"][0]
    assert answer["best"]["hours"] == 6
    assert set(answer["best"]["expected"]) == {"any", "gaussian", "accountant"}
    assert (answer["budget"], answer["hours_per_run"], answer["hours_source"]) == (7, 3, "given")


def test_nothing_is_wider_than_the_terminal(cli: Cli, monkeypatch: pytest.MonkeyPatch, tiny: tuple[str, ...]) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    settings = [flag for setting in tiny for flag in ("--set", setting)]
    numbers = ("--runs", "8", "--canaries", "5000", "--hours-per-run", "1.25", "--budget", "5")
    code, out, _ = cli("plan", "quickstart", *settings, *numbers, "-q")
    assert code == 0
    assert max(len(line) for line in out.splitlines()) <= 80
    assert "best within 5 h: none; the least that a design costs is 10 h" in " ".join(out.split())
    assert "the recipe's own: 1 run of 5000 canaries" in " ".join(out.split())


def test_a_plan_imports_no_torch(tiny: tuple[str, ...]) -> None:
    program = (
        "import sys\nfrom dpaudit.cli import main\n"
        "try: main()\nexcept SystemExit as done: assert not done.code\n"
        "assert 'torch' not in sys.modules"
    )
    settings = [flag for setting in tiny for flag in ("--set", setting)]
    command = [sys.executable, "-c", program, "plan", "quickstart", *settings, "--runs", "1", "--canaries", "50"]
    subprocess.run(command, capture_output=True, text=True, check=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "recipe = None: expected a recipe, or --epsilon and --delta"),
        (("--epsilon", "inf", "--delta", "1e-5"), "epsilon = inf: expected a finite number: there is no promise"),
        (("quickstart", "--set", "privacy.epsilon=inf"), "there is no promise to plan against (--set)"),
        (("quickstart", "--budget", "3"), "budget = 3.0"),
        (("no-such-recipe",), "no-such-recipe"),
        (("--epsilon", "1", "--delta", "1e-5", "--sampling", "poison"), "sampling = 'poison'"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(cli: Cli, arguments: tuple[str, ...], message: str) -> None:
    code, out, err = cli("plan", *arguments)
    assert code == 2
    assert out == ""
    assert err.count("\n") == 1
    assert message in err
