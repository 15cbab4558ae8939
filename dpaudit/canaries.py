"""Candidates and their coins: fair, independent, drawn before step one, and committed to.

Families of candidates:
  pool         real records of the audit pool, each in or out by its coin
  inputs       inserted records (made-up pictures, wrong or odd annotations: docs/canaries.md)
  block        virtual records whose gradient is 10 C e_j on a block of coordinates appended to the parameters
  coordinates  virtual records whose gradient is 10 C e_k on real coordinates of every tensor
  steps        one record, in or out of each step by a coin of its own: the worst that a trainer can make of its bound
  step_records the same with a picture of pure noise
"""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import numpy as np

from dpaudit.errors import DamagedRunError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dpaudit.rng import Rng

__all__ = ["FAMILIES", "INSERTS", "STEP_FAMILIES", "Coins", "Family", "InputKind", "draw_coins"]

Family: TypeAlias = Literal["pool", "inputs", "block", "coordinates", "steps", "step_records"]
InputKind: TypeAlias = Literal[
    "noise",
    "mislabelled",
    "miscaptioned",
    "blank",
    "out_of_distribution",
    "gradient_max",
    "new_token",
    "high_entropy",
]
FAMILIES: tuple[Family, ...] = get_args(Family)
#: those with a coin for every step, each of which tests one step and not the run
STEP_FAMILIES: frozenset[str] = frozenset({"steps", "step_records"})
#: what each family asks the attacker to insert
INSERTS = {
    "pool": "inputs",
    "inputs": "inputs",
    "block": "gradients",
    "coordinates": "gradients",
    "steps": "gradients",
    "step_records": "inputs",
}


@dataclass(frozen=True, kw_only=True)
class Coins:
    """One fair coin per candidate of each family, True = in, with the salt that hides them in the commitment.

    >>> from dpaudit.rng import Rng
    >>> coins = draw_coins({"block": np.array(["block:0", "block:1"])}, Rng.from_seed(1))
    >>> len(coins.commitment())
    64
    """

    ids: dict[str, NDArray[np.str_]]
    heads: dict[str, NDArray[np.bool_]]
    salt: bytes

    def commitment(self) -> str:
        """Return the SHA-256 over the salt and every (id, coin), in hex.

        Printed before step one it binds whoever trains to these coins. Alone it proves no time: publish it.
        """
        digest = hashlib.sha256(self.salt)
        for family in sorted(self.ids):
            digest.update(json.dumps([family, self.ids[family].tolist(), len(self.heads[family])]).encode())
            digest.update(np.packbits(self.heads[family]).tobytes())
        return digest.hexdigest()

    def check(self, commitment: str) -> None:
        """Raise DamagedRunError unless these coins are the ones committed to."""
        if self.commitment() != commitment:
            raise DamagedRunError("sealed coins", self.commitment()[:16], f"the committed {commitment[:16]}…")

    def members(self, family: str) -> dict[str, bool]:
        """Return candidate id -> coin for one family."""
        return dict(zip(self.ids[family].tolist(), self.heads[family].tolist(), strict=True))


def draw_coins(ids: dict[str, NDArray[np.str_]], rng: Rng | None) -> Coins:
    """Return a fair coin per candidate: from the operating system, or from `rng` in a reproducible run."""
    heads = {}
    for family, names in ids.items():
        count = len(names)
        size = (count + 7) // 8
        raw = secrets.token_bytes(size) if rng is None else rng.child("coins", family).numpy().bytes(size)
        heads[family] = np.unpackbits(np.frombuffer(raw, dtype=np.uint8), count=count).astype(np.bool_)
    salt = secrets.token_bytes(32) if rng is None else rng.child("salt").key
    return Coins(ids=ids, heads=heads, salt=salt)
