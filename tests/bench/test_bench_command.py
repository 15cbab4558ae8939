"""`dpaudit bench bounds` as a person uses it: two tables or JSON, and exit code 3 when a certified bound fails."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from typing import TYPE_CHECKING

import pytest

from dpaudit.bench import bounds as bench_bounds
from dpaudit.bench import peers
from dpaudit.bench.assuming import under_independence
from dpaudit.bench.certified import certified
from dpaudit.bench.estimates import estimates
from dpaudit.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable

    from dpaudit.bench.contender import Contender

    Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Measure the given bounds by the command; return exit code, standard output, standard error."""

    def run(candidates: list[Contender], *arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(bench_bounds, "contenders", lambda: tuple(candidates))
        monkeypatch.setattr(sys, "argv", ["dpaudit", "bench", "bounds", *arguments])
        with pytest.raises(SystemExit) as caught:
            main()
        captured = capsys.readouterr()
        code = caught.value.code
        return (code if isinstance(code, int) else 0), captured.out, captured.err

    return run


def absent(_: str) -> str:
    raise PackageNotFoundError


def test_the_table_has_a_column_that_says_what_holds(command: Command) -> None:
    rows = [certified()[0], under_independence()[5], estimates()[0], replace(estimates()[0], claim="uncorrected")]
    code, out, err = command(rows, "--audits", "40")
    assert code == 0
    lines = [line.split("\t") for line in out.splitlines()]
    assert lines[0][-1] == "holds"
    assert [line[0] for line in lines[1:5]] == ["one-run", "clopper-pearson", "one-shot", "one-shot"]
    assert [lines[1][-1], lines[2][-1]] == ["yes", "yes, but not on counter-example: as labelled"]
    assert lines[3][-1].startswith("claims nothing")
    assert lines[4][-1].startswith("NO: wrong on noise")
    assert "of 40 VIOLATED, holds" in out
    assert "bounds: done" in err


def test_a_certified_bound_that_fails_ends_with_exit_code_3(command: Command) -> None:
    planted = replace(estimates()[0], claim="certified")
    code, out, err = command([planted], "--audits", "40", "--quiet")
    assert code == 3
    assert "NO: wrong on noise, gaussian" in out
    assert err == "dpaudit: bench: does not hold: one-shot (none, no threshold)\n"


def test_json_has_three_parts(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, err = command([certified()[0]], "--audits", "2", "--json", "--quiet")
    assert code == 0
    assert err == ""
    value = json.loads(out)
    assert set(value) == {"bounds", "verdicts", "peers"}
    assert value["peers"] is None
    assert value["bounds"]["rows"][0]["method"] == "one-run"
    assert value["verdicts"]["violated"]["audits"] == 2
    monkeypatch.setattr(peers, "version", absent)
    _, out, _ = command([certified()[0]], "--audits", "2", "--json", "--quiet", "--peers")
    assert json.loads(out)["peers"] == [{"schema_version": 1, "name": "jax_privacy", "version": None, "bench": None}]


def test_an_absent_peer_is_named_below_the_tables(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "version", absent)
    _, out, _ = command([certified()[0]], "--audits", "2", "--quiet", "--peers")
    assert out.splitlines()[-1] == "jax_privacy not installed: pip install dpaudit[peers]"


def test_bad_input_is_one_line_and_exit_code_2(command: Command) -> None:
    code, out, err = command([], "--audits", "0", "--quiet")
    assert (code, out) == (2, "")
    assert err == "dpaudit: audits = 0: expected at least 1\n"
