"""What a run keeps secret until its scores are written: root key, noise key, coins; and how often it was opened."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dpaudit.canaries import Coins, draw_coins
from dpaudit.errors import DamagedRunError
from dpaudit.rng import Rng
from dpaudit.runs import read_json, write_atomically, write_json

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["Seal", "keep_seal", "load_seal", "make_seal", "open_coins", "openings"]

_PRIVATE = 0o600


@dataclass(frozen=True, kw_only=True)
class Seal:
    """The secrets of one run. `root`: its sampling, noise and augmentation streams; `coins`: who is in."""

    root: Rng
    coins: Coins


def make_seal(run: Path, ids: dict[str, NDArray[np.str_]], reproducible: Rng | None) -> Seal:
    """Draw a run's secrets and write them, readable by their owner alone.

    Drawn from the operating system; from `reproducible` only where the recipe gave secrecy up for repeatability.
    """
    root = Rng.from_system() if reproducible is None else reproducible
    seal = Seal(root=root, coins=draw_coins(ids, reproducible))
    keep_seal(run, seal)
    return seal


def keep_seal(run: Path, seal: Seal) -> None:
    """Write secrets, readable by their owner alone."""
    write_atomically(_folder(run) / "coins.npz", _encode(seal.coins), mode=_PRIVATE)
    root = {"key": seal.root.key.hex()}
    write_json(_folder(run) / "root.json", root, mode=_PRIVATE)  # last: it marks the seal as made


def load_seal(run: Path) -> Seal | None:
    """Return the secrets of a run, or None before they were drawn."""
    if not (_folder(run) / "root.json").exists():
        return None
    key = read_json(_folder(run) / "root.json")["key"]
    return Seal(root=Rng(bytes.fromhex(key)), coins=_decode(_folder(run) / "coins.npz"))


def open_coins(run: Path, commitment: str, reason: str) -> Coins:
    """Return the coins after counting the opening; DamagedRunError unless they are the ones committed to."""
    coins = _decode(_folder(run) / "coins.npz")
    coins.check(commitment)
    write_json(run / "openings.json", [*openings(run), reason])
    return coins


def openings(run: Path) -> list[str]:
    """Return why the coins were opened, once per opening, in order."""
    path = run / "openings.json"
    return list(read_json(path)) if path.exists() else []


def _folder(run: Path) -> Path:
    folder = run / "sealed"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _encode(coins: Coins) -> bytes:
    arrays: dict[str, NDArray[np.generic]] = {"salt": np.frombuffer(coins.salt, dtype=np.uint8)}
    for family in coins.ids:
        arrays[f"ids/{family}"] = coins.ids[family]
        arrays[f"heads/{family}"] = coins.heads[family]
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]  # numpy's stub takes the keywords for allow_pickle
    return buffer.getvalue()


def _decode(path: Path) -> Coins:
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
            families = [name.removeprefix("ids/") for name in arrays.files if name.startswith("ids/")]
            return Coins(
                ids={family: arrays[f"ids/{family}"] for family in families},
                heads={family: arrays[f"heads/{family}"] for family in families},
                salt=arrays["salt"].tobytes(),
            )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DamagedRunError(str(path), str(error), "the coins that the run drew") from error
