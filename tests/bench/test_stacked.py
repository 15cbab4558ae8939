"""The bench of stacked models: it measures two things that are equal."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from dpaudit.bench.stacked import bench_stacked
from dpaudit.cli.app import application
from dpaudit.errors import InputError


def test_loop_and_stack_end_with_the_same_weights() -> None:
    measured = bench_stacked((2, 5), steps=4, rounds=2)
    assert [row.models for row in measured.rows] == [2, 5]
    for row in measured.rows:
        assert row.difference < 1e-5
        assert 0 < row.low <= row.faster <= row.high


def test_the_command_prints_a_table_or_json() -> None:
    run = CliRunner().invoke
    answer = run(application(), ["bench", "stacked", "2", "--rounds", "1", "--json"])
    assert json.loads(answer.stdout)["rows"][0]["models"] == 2
    assert "as fast as the loop" in run(application(), ["bench", "stacked", "2", "--rounds", "1", "-q"]).stdout


def test_nothing_to_measure_is_refused() -> None:
    with pytest.raises(InputError, match="at least 1 each"):
        bench_stacked((0,))
