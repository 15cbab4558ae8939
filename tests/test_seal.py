"""The seal: secrets are drawn once, readable by their owner alone, bound by the commitment, and openings counted."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import numpy as np
import pytest

from dpaudit.errors import DamagedRunError
from dpaudit.rng import Rng
from dpaudit.seal import load_seal, make_seal, open_coins, openings

if TYPE_CHECKING:
    from pathlib import Path

IDS = {
    "pool": np.array([f"row/{index}" for index in range(50)]),
    "block": np.array([f"block/{index}" for index in range(999)]),
}


def test_a_seal_reads_back_and_nobody_else_may_read_it(tmp_path: Path) -> None:
    assert load_seal(tmp_path) is None
    made = make_seal(tmp_path, IDS, None)
    loaded = load_seal(tmp_path)
    assert loaded is not None
    assert loaded.root == made.root
    assert loaded.coins.commitment() == made.coins.commitment()
    for path in (tmp_path / "sealed").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_secret_seals_differ_and_reproducible_ones_do_not(tmp_path: Path) -> None:
    secret = [make_seal(tmp_path / name, IDS, None).coins.commitment() for name in ("a", "b")]
    assert secret[0] != secret[1]
    open_to_all = [make_seal(tmp_path / name, IDS, Rng.from_seed(1)).coins.commitment() for name in ("c", "d")]
    assert open_to_all[0] == open_to_all[1]


def test_openings_are_counted_and_other_coins_are_refused(tmp_path: Path) -> None:
    commitment = make_seal(tmp_path, IDS, None).coins.commitment()
    assert openings(tmp_path) == []
    open_coins(tmp_path, commitment, "bound")
    open_coins(tmp_path, commitment, "again")
    assert openings(tmp_path) == ["bound", "again"]
    make_seal(tmp_path, IDS, None)
    with pytest.raises(DamagedRunError, match="committed"):
        open_coins(tmp_path, commitment, "swapped")


def test_damaged_coins_are_named(tmp_path: Path) -> None:
    make_seal(tmp_path, IDS, None)
    coins = tmp_path / "sealed" / "coins.npz"
    coins.write_bytes(coins.read_bytes()[:100])
    with pytest.raises(DamagedRunError, match=r"coins\.npz"):
        load_seal(tmp_path)
