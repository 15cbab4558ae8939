"""The verb sweep, in this process."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from dpaudit.calls import sweeps
from dpaudit.calls.sweeps import look_ahead

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dpaudit.calls.sweeps import Point
    from dpaudit.pipeline.forecasts import Forecast

    Cli = Callable[..., tuple[int, str, str]]


def test_a_dry_run_prints_the_points_and_writes_nothing(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[Point, Forecast]] = []

    def once(*arguments: Any, **options: Any) -> list[tuple[Point, Forecast]]:
        seen.extend(() if seen else look_ahead(*arguments, **options))  # an account takes seconds
        return seen

    monkeypatch.setattr(sweeps, "look_ahead", once)
    arguments = ("sweep", "quickstart", "--over", "privacy.epsilon=2,8", "--dry-run", "-q")
    code, out, _ = cli(*arguments)
    assert code == 0
    rows = [line.split("\t") for line in out.splitlines() if "\t" in line]
    assert [row[0] for row in rows] == ["point", "epsilon-2", "epsilon-8"]
    assert [row[1] for row in rows[1:]] == ["2.00", "8.00"]
    assert "2 points, hours of training in all: not known" in out
    found = json.loads(cli(*arguments, "--json")[1])
    assert found["hours"] is None
    assert found["points"][1]["settings"] == ["privacy.epsilon=8"]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--over", "privacy.epsilonn=1"), "privacy.epsilonn"),
        (("--over", "privacy.epsilon=1,-1"), "privacy.epsilon = -1"),
        (("--over", "seed=1", "--over", "seed=2"), "expected seed once"),
        (("--over", "seed=1", "--measure"), "--measure"),
        ((), "--over"),
    ],
)
def test_bad_use_is_one_line(cli: Cli, arguments: tuple[str, ...], message: str, tmp_path: Path) -> None:
    code, out, err = cli("sweep", "quickstart", *arguments)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert message in err
    assert not list(tmp_path.iterdir())
