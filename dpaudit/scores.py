"""Score tables: one float per candidate, higher = more likely a member, always.

A score table never holds memberships. Scores meet coins only in `join`, when the seal is opened.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from dpaudit.errors import DpauditError, InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from dpaudit.rng import Array

__all__ = ["Access", "Inserts", "LabelledScores", "ScoreTable", "ThreatModel", "join"]

Access: TypeAlias = Literal["outputs", "final weights", "all steps"]
Inserts: TypeAlias = Literal["inputs", "gradients"]

_TIE_SEED = 20230515  # any fixed number: ties must not be broken by the caller's row order, which may know the coins


@dataclass(frozen=True, kw_only=True)
class ThreatModel:
    """What the attacker sees and what he inserts: the first column of every table.

    >>> print(ThreatModel(access="all steps", inserts="gradients"))
    all steps, inserts gradients
    """

    access: Access
    inserts: Inserts

    def __str__(self) -> str:
        return f"{self.access}, inserts {self.inserts}"


@dataclass(frozen=True, kw_only=True)
class ScoreTable:
    """The scores of one attack on one run.

    ids: (n,) candidate ids as strings; scores: (n,) finite floats, higher = more likely a member.
    """

    attack: str
    run: str
    family: str
    threat_model: ThreatModel
    ids: Array
    scores: NDArray[np.float64]

    def __post_init__(self) -> None:
        if self.scores.shape != (len(self.ids),):
            raise DpauditError(
                f"attack {self.attack}: scores have shape {self.scores.shape}, expected ({len(self.ids)},)"
            )
        bad = ~np.isfinite(self.scores)
        if bad.any():
            first = self.ids[int(np.argmax(bad))]
            raise DpauditError(
                f"attack {self.attack}: {int(bad.sum())} scores are not finite (first: candidate {first})"
            )


@dataclass(frozen=True, kw_only=True)
class LabelledScores:
    """Scores beside memberships: `scores` (n,) float64, `member` (n,) bool, in the same order."""

    scores: NDArray[np.float64]
    member: NDArray[np.bool_]

    def __post_init__(self) -> None:
        if self.scores.ndim != 1 or self.scores.shape != self.member.shape:
            raise InputError("scores, member", (self.scores.shape, self.member.shape), "two columns of one length")
        if not np.isfinite(self.scores).all():
            raise InputError(
                "scores", f"{int((~np.isfinite(self.scores)).sum())} values NaN or infinite", "finite numbers"
            )

    def __len__(self) -> int:
        return len(self.scores)

    @cached_property
    def ascending(self) -> NDArray[np.intp]:
        """Return the rows by rising score, (n,); ties by a fixed shuffle, which depends on no coin."""
        shuffled = np.random.default_rng(_TIE_SEED).permutation(len(self))
        return shuffled[np.argsort(self.scores[shuffled], kind="stable")]


def join(table: ScoreTable, coins: Mapping[str, bool]) -> LabelledScores:
    """Return the table's scores beside each candidate's coin, joined by id."""
    ids = table.ids.tolist()
    missing = next((identity for identity in ids if identity not in coins), None)
    if missing is not None:
        raise InputError(f"scores of {table.attack}", missing, "a candidate that has a coin")
    member = np.fromiter((coins[identity] for identity in ids), dtype=np.bool_, count=len(ids))
    return LabelledScores(scores=table.scores, member=member)
