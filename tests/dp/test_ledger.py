"""Rows read back bit for bit; a damaged file is never read in part."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpaudit.dp.ledger import LedgerRow, append_ledger, read_ledger, truncate_ledger
from dpaudit.errors import DamagedRunError

if TYPE_CHECKING:
    from pathlib import Path

FINITE = st.floats(allow_nan=False, allow_infinity=False)
ROW = LedgerRow(
    step=0,
    drawn=3,
    clip_norm=0.1,
    noise_std=0.08,
    sampling_rate=0.25,
    divisor=10,
    loss=1 / 3,
    clipped_fraction=2 / 3,
    max_clipped_norm=0.1,
    noise_sum_of_squares=0.7,
    noise_count=66,
)
ROWS = [dataclasses.replace(ROW, step=step, loss=None if step == 2 else step / 7) for step in range(6)]


@given(loss=FINITE | st.none(), clip_norm=FINITE | st.just(math.inf), squares=FINITE, norm=FINITE | st.none())
@settings(max_examples=100, deadline=None)
def test_rows_read_back_bit_for_bit(loss: float | None, clip_norm: float, squares: float, norm: float | None) -> None:
    row = dataclasses.replace(ROW, loss=loss, clip_norm=clip_norm, noise_sum_of_squares=squares, max_clipped_norm=norm)
    line = row.to_json()
    assert "\n" not in line
    read = LedgerRow.from_json(line)
    assert repr(read) == repr(row)  # repr tells -0.0 from 0.0


def test_an_infinite_clip_norm_is_valid_json() -> None:
    line = dataclasses.replace(ROW, clip_norm=math.inf).to_json()
    assert json.loads(line, parse_constant=pytest.fail)["clip_norm"] == "Infinity"


def test_a_row_holds_no_time() -> None:
    assert set(json.loads(ROW.to_json())) == {field.name for field in dataclasses.fields(LedgerRow)}


@pytest.mark.parametrize(
    "line",
    [
        "",
        "not json",
        "[1, 2]",
        ROW.to_json()[:-9],
        ROW.to_json().replace('"drawn"', '"drown"'),
        ROW.to_json().replace('"drawn": 3', '"drawn": 3.5'),
        ROW.to_json().replace('"drawn": 3', '"drawn": true'),
        ROW.to_json().replace('"noise_std": 0.08', '"noise_std": "small"'),
        ROW.to_json().replace('"noise_std": 0.08', '"noise_std": null'),
    ],
)
def test_a_damaged_line_is_refused(line: str) -> None:
    with pytest.raises(DamagedRunError, match="ledger"):
        LedgerRow.from_json(line)


def test_appended_rows_are_read_in_order(tmp_path: Path) -> None:
    append_ledger(tmp_path / "ledger.jsonl", ROWS[:4])
    append_ledger(tmp_path / "ledger.jsonl", [])
    append_ledger(tmp_path / "ledger.jsonl", ROWS[4:])
    assert read_ledger(tmp_path / "ledger.jsonl") == tuple(ROWS)


def test_a_missing_or_doubled_step_is_refused(tmp_path: Path) -> None:
    for wrong in ([ROWS[0], ROWS[2]], [ROWS[0], ROWS[0]], [ROWS[1]]):
        (tmp_path / "ledger.jsonl").unlink(missing_ok=True)
        append_ledger(tmp_path / "ledger.jsonl", wrong)
        with pytest.raises(DamagedRunError, match=r"ledger\.jsonl line"):
            read_ledger(tmp_path / "ledger.jsonl")


@pytest.mark.parametrize("steps", [0, 3, 6])
def test_truncation_keeps_the_first_rows_and_drops_half_a_line(steps: int, tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    append_ledger(path, ROWS)
    with path.open("a") as file:
        file.write('{"step": 6, "dra')
    with pytest.raises(DamagedRunError, match="at least the 7"):
        truncate_ledger(path, 7)
    truncate_ledger(path, steps)
    assert read_ledger(path) == tuple(ROWS[:steps])
    append_ledger(path, ROWS[steps:])
    assert read_ledger(path) == tuple(ROWS)
    assert [file.name for file in tmp_path.iterdir()] == ["ledger.jsonl"]


def test_truncation_beyond_what_is_there_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    truncate_ledger(path, 0)
    append_ledger(path, ROWS[:2])
    with pytest.raises(DamagedRunError, match="at least the 3 of the checkpoint"):
        truncate_ledger(path, 3)
