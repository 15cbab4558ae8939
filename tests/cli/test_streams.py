"""Streams of guesses and files of cosines from the command line, and what every method needs."""

from __future__ import annotations

import io
import json
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from dpaudit.bounds.betting import betting_bound
from dpaudit.bounds.guesses import surest_first
from dpaudit.bounds.methods import METHODS
from dpaudit.bounds.one_shot import one_shot_estimate
from dpaudit.scores import LabelledScores

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Cli = Callable[..., tuple[int, str, str]]

RIGHTS = np.random.default_rng(0).random(400) < 0.85
WATCH = ("--method", "betting", "--canaries", "1000", "--delta", "1e-5")


def lines(rights: np.ndarray[Any, Any]) -> str:
    return "correct\n" + "".join(f"{int(right)}\n" for right in rights)


@pytest.fixture
def guesses(tmp_path: Path) -> str:
    path = tmp_path / "guesses.csv"
    path.write_text(lines(RIGHTS))
    return str(path)


@pytest.fixture
def scores(tmp_path: Path) -> str:
    rng = np.random.default_rng(1)
    member = rng.random(1000) < 0.5
    np.savez(tmp_path / "scores.npz", score=rng.normal(size=1000) + 2 * member, member=member)
    return str(tmp_path / "scores.npz")


@pytest.fixture
def cosines(tmp_path: Path) -> str:
    rng = np.random.default_rng(2)
    member = np.arange(300) < 200
    np.savez(tmp_path / "cosines.npz", cosine=rng.normal(size=300) / 100 + member / 100, member=member)
    return str(tmp_path / "cosines.npz")


def type_in(monkeypatch: pytest.MonkeyPatch, text: str) -> io.StringIO:
    stream = io.StringIO(text)
    monkeypatch.setattr(sys, "stdin", stream)
    return stream


class TestBetting:
    def test_a_stream_is_bounded(self, cli: Cli, guesses: str) -> None:
        code, out, _ = cli("bound", guesses, *WATCH, "--json")
        found = json.loads(out)
        expected = betting_bound(RIGHTS.tolist(), canaries=1000, delta=1e-5, confidence=0.95)
        assert (code, found["epsilon"]) == (0, expected.epsilon)
        assert found["epsilon"] > 1
        assert (found["hypothesis"], found["guarantee"], found["mu"]) == ("any", "certified", None)
        assert (found["promise"], found["refuted_at"], found["p_value"]) == (None, None, None)

    def test_it_stops_at_the_guess_that_refutes_the_promise(self, cli: Cli, guesses: str) -> None:
        code, out, err = cli("bound", guesses, *WATCH, "--promise", "0.5", "--json")
        found = json.loads(out)
        stopped = found["refuted_at"]
        assert code == 3
        assert 5 < stopped < 200
        assert found["counts"]["guesses"] == [stopped]
        assert found["counts"]["correct"] == [int(RIGHTS[:stopped].sum())]
        assert found["p_value"] <= 0.05
        assert 0.4 < found["epsilon"] < 0.6
        assert err == (
            f"dpaudit: the promise of epsilon 0.5 at delta 1e-05 is refuted at guess {stopped} "
            f"(p = {found['p_value']:.2g})\n"
        )

    def test_a_promise_that_stands_is_said_to_stand(self, cli: Cli, guesses: str) -> None:
        code, out, err = cli("bound", guesses, *WATCH, "--promise", "4")
        assert (code, err) == (0, "")
        assert "400 guesses do not refute the promise of epsilon 4 at delta 1e-05 (p = 0.96)" in out

    def test_standard_input_is_read_no_further(self, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
        stream = type_in(monkeypatch, lines(RIGHTS) + "nonsense\n")
        code, out, _ = cli("bound", "-", *WATCH, "--promise", "0.5", "--json")
        assert code == 3
        left = stream.read().splitlines()
        assert len(left) == 401 - json.loads(out)["refuted_at"]
        assert left[-1] == "nonsense"

    def test_scores_are_guessed_the_surest_first(self, cli: Cli, scores: str) -> None:
        code, out, _ = cli("bound", scores, "--method", "betting", "--delta", "1e-5", "--json")
        found = json.loads(out)
        arrays = np.load(scores)
        rights = surest_first(LabelledScores(scores=arrays["score"], member=arrays["member"]))
        assert rights[:200].mean() > rights[-200:].mean() + 0.2
        assert code == 0
        assert found["counts"]["canaries"] == found["counts"]["guesses"] == [1000]
        assert found["epsilon"] == betting_bound(rights, canaries=1000, delta=1e-5, confidence=0.95).epsilon > 2
        _, out, _ = cli("bound", scores, "--method", "betting", "--delta", "1e-5", "--json", "--lower-is-member")
        assert json.loads(out)["epsilon"] == 0

    def test_equal_scores_tell_nothing_even_when_rows_are_sorted(self) -> None:
        member = np.arange(2000) < 1000
        rights = surest_first(LabelledScores(scores=np.zeros(2000), member=member))
        assert betting_bound(rights, canaries=2000, delta=0.0, confidence=0.95).epsilon == 0
        upside_down = surest_first(LabelledScores(scores=np.zeros(2000), member=~member))
        assert betting_bound(upside_down, canaries=2000, delta=0.0, confidence=0.95).epsilon == 0


class TestOneShot:
    def test_cosines_give_an_estimate_without_confidence(self, cli: Cli, cosines: str) -> None:
        code, out, _ = cli(
            "bound", cosines, "--method", "one-shot", "--dimension", "10000", "--delta", "1e-5", "--json"
        )
        found = json.loads(out)
        assert code == 0
        assert (found["hypothesis"], found["guarantee"], found["confidence"]) == ("none", "estimate", None)
        inside = np.load(cosines)["cosine"][:200]
        assert found["epsilon"] == one_shot_estimate(inside, 10_000, delta=1e-5).epsilon > 1
        _, out, _ = cli("bound", cosines, "--method", "one-shot", "--dimension", "10000", "--delta", "1e-5")
        assert out.splitlines()[1].split("\t")[-2:] == ["none", "no"]


@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_method_answers_from_counts_or_from_a_file(cli: Cli, scores: str, cosines: str, method: str) -> None:
    rates = ("--tp", "450", "--fn", "50", "--fp", "20", "--tn", "480")
    ratio = METHODS[method].summary.endswith("delta = 0")
    asked: dict[str, list[tuple[str, ...]]] = {
        "guesses": [("--canaries", "1000", "--guesses", "100", "--correct", "90"), (scores,)],
        "rates": [rates, (scores, "--threshold", "1")],
        "scores": [(scores,)],
        "stream": [(scores,)],
        "cosines": [(cosines, "--dimension", "10000")],
    }
    for arguments in asked[METHODS[method].takes]:
        code, out, err = cli(
            "bound", "--method", method, *arguments, "--delta", "0" if ratio else "1e-5", "--json", "--independent-runs"
        )
        assert (code, err) == (0, "")
        answer = json.loads(out)
        for bound in answer.get("bounds", [answer]):
            assert bound["epsilon"] > 0
            assert bound["method"] == method
            assert bound["hypothesis"] in METHODS[method].hypotheses
            assert {"mu", "guarantee", "confidence"} <= set(bound)


def test_the_list_says_what_every_method_needs(cli: Cli) -> None:
    _, out, _ = cli("list", "bounds", "--json")
    needs = {entry["method"]: entry["needs"] for entry in json.loads(out)}
    assert set(needs) == set(METHODS)
    assert "--dimension" in needs["one-shot"]
    assert "column correct" in needs["betting"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("{guesses}", "--method", "betting", "--delta", "0"), "--canaries = None"),
        (("{guesses}", "--method", "betting", "--delta", "0", "--canaries", "0"), "canaries = 0"),
        (("{guesses}", "--method", "betting", "--delta", "0", "--canaries", "9"), "at most the 9 canaries"),
        (("{guesses}", *WATCH, "--promise", "-1"), "--promise = -1.0"),
        (("{guesses}", *WATCH, "--promise", "nan"), "--promise = nan"),
        (("{guesses}", *WATCH, "--hypothesis", "gaussian"), "any, which betting can test"),
        (("{guesses}", *WATCH, "--confidence", "0"), "confidence = 0.0"),
        (("{guesses}", *WATCH[:-1], "1"), "delta = 1.0"),
        (("{guesses}", "--delta", "0"), "columns correct"),
        (("{cosines}", *WATCH), "the column correct"),
        (("{cosines}", "--method", "one-shot", "--delta", "1e-5"), "--dimension = None"),
        (("{cosines}", "--method", "one-shot", "--delta", "1e-5", "--dimension", "1"), "dimension = 1"),
        (("{cosines}", "--method", "one-shot", "--delta", "0", "--dimension", "9"), "delta = 0.0"),
        (("{cosines}", "--method", "one-shot", "--delta", "0", "--hypothesis", "any"), "none, which one-shot can test"),
        (("{scores}", "--method", "one-shot", "--delta", "0.1", "--dimension", "9"), "columns score, member"),
        (("{scores}", "--method", "katz-log", "--delta", "0"), "--threshold = None"),
        (("{scores}", "--method", "katz-log", "--delta", "1e-5", "--threshold", "1"), "0: katz-log estimates pure"),
        (("{scores}", "--method", "dkw", "--delta", "1e-5", "--threshold", "1"), "a method that uses it: clopper"),
        (("{scores}", "--delta", "1e-5", "--threshold", "nan", "--method", "clopper-pearson"), "threshold = nan"),
        (("{scores}", "--delta", "1e-5", "--promise", "1"), "a method that uses it: betting"),
        (("{scores}", "--delta", "1e-5", "--dimension", "5"), "a method that uses it: one-shot"),
        (("{scores}", "--delta", "1e-5", "--method", "dkw", "--guesses-in", "5"), "a method that uses it: one-run"),
        (("{scores}", "--delta", "1e-5", "--correct", "5"), "--correct = 5"),
        (("--method", "betting", "--delta", "0", "--canaries", "5"), "column correct"),
        (("--method", "one-shot", "--delta", "0.1"), "column cosine"),
        (("-", "--delta", "0"), "betting, the one that takes guesses from standard input"),
    ],
)
def test_what_is_missing_or_of_no_use_is_one_line(
    cli: Cli, guesses: str, scores: str, cosines: str, arguments: tuple[str, ...], message: str
) -> None:
    files = {"{guesses}": guesses, "{scores}": scores, "{cosines}": cosines}
    code, out, err = cli("bound", *(files.get(argument, argument) for argument in arguments))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "columns none"),
        ("right\n1\n", "columns right"),
        ("correct\n1\nmaybe\n", "line 3: correct = 'maybe'"),
        ("correct,other\n1,2\n\n,3\n", "correct = ''"),
        ("correct\n1\n\x00\n", "line 3"),
    ],
)
def test_bad_lines_are_one_line(cli: Cli, monkeypatch: pytest.MonkeyPatch, text: str, message: str) -> None:
    type_in(monkeypatch, text)
    code, out, err = cli("bound", "-", *WATCH)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err


@pytest.mark.parametrize(
    "arrays",
    [
        {"cosine": [0.1, float("nan"), 0.3]},
        {"cosine": [0.1, 1.5, 0.3]},
        {"cosine": [0.1]},
        {"cosine": [0.1, 0.1]},
        {"cosine": ["a", "b"]},
        {"cosine": [0.1, 0.2], "member": [1, 2]},
        {"cosine": [0.1, 0.2], "member": [0, 0]},
        {"cosine": [0.1, 0.2], "member": [1]},
        {"cosine": [[0.1, 0.2]]},
    ],
)
def test_what_is_no_cosine_is_one_line(cli: Cli, tmp_path: Path, arrays: dict[str, Any]) -> None:
    path = tmp_path / "cosines.npz"
    columns: dict[str, Any] = {name: np.array(values) for name, values in arrays.items()}
    np.savez(path, **columns)
    code, out, err = cli("bound", str(path), "--method", "one-shot", "--dimension", "10", "--delta", "1e-5")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "Traceback" not in err
