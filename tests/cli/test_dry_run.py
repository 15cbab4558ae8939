"""`--dry-run` as a person uses it: it prints, and writes nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from dpaudit.results import Guarantee

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def quick_accountants(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def guarantees(_: object, delta: float) -> tuple[Guarantee, ...]:
        answer = Guarantee(accountant="PLD", epsilon=6.8253, delta=delta, adjacency="add-remove")
        return (answer, answer.model_copy(update={"accountant": "PRV", "epsilon": None, "note": "too few steps"}))

    monkeypatch.setattr("dpaudit.pipeline.forecasts.guarantees", guarantees)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("verb", ["train", "run"])
def test_everything_is_printed_and_nothing_written(cli: Cli, tmp_path: Path, verb: str) -> None:
    code, out, err = cli(verb, "vip-paper", "--dry-run")
    assert (code, err) == (0, "account: done\n")
    for words in (
        "vip-paper: nothing was trained or written",
        "99.3 M parameters (99,298,304): encoder 85.8 M, decoder 13.5 M",
        "6,000 steps of 98,304 of 233,804,767 records: poisson sampling at rate 0.0004205, clip norm 0.1",
        "noise multiplier 0.48",
        "PLD        epsilon 6.83 at delta 2.139e-09",
        "PRV        no sound answer: too few steps",
        "public stage (procedural): 102,500 steps of 4,096 of 1,050,000 records",
        "hours      not known (--measure times a few steps)",
        "Memory is an estimate",
    ):
        assert words in out
    assert not list(tmp_path.iterdir())


def test_json_has_every_number(cli: Cli) -> None:
    code, out, _ = cli("train", "quickstart", "--dry-run", "--json", "-q", "--set", "runs.count=3")
    answer = json.loads(out)
    assert code == 0
    assert answer["parts"] == {"encoder": 154368, "decoder": 17008}
    assert answer["stages"][0]["times"] == 3
    assert answer["stages"][0]["hours"] is None
    assert answer["stages"][0]["memory"]["total"] > answer["stages"][0]["memory"]["weights"]
    assert answer["guarantees"][1]["epsilon"] is None


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--measure"], "--measure = True: expected --dry-run beside it"),
        (["--dry-run", "--fresh"], "--fresh = True: expected no --dry-run beside it"),
    ],
)
def test_options_that_do_not_go_together(cli: Cli, flags: list[str], message: str) -> None:
    code, _, err = cli("train", "quickstart", *flags)
    assert (code, message in err) == (2, True)


def test_attacks_are_named_and_one_that_cannot_be_made_is_refused(cli: Cli, tmp_path: Path) -> None:
    _, out, _ = cli("run", "quickstart", "--dry-run", "--attack", "entropy")
    assert "  attacks    audit_block, loss-pool, entropy" in out
    code, _, err = cli("run", "quickstart", "--dry-run", "--attack", "no-such-attack")
    assert code == 2
    assert "no-such-attack" in err
    assert list(tmp_path.iterdir()) == []
