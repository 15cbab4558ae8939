"""What an attacker who sees all steps saw of gradient canaries whose coins are known: made, not trained."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, cast

import numpy as np

from dpaudit.canaries import STEP_FAMILIES
from dpaudit.conformance.overfit import overfit
from dpaudit.errors import DpauditError
from dpaudit.mechanism import Mechanism
from dpaudit.plugins import AttackView, Candidates
from dpaudit.rng import Rng

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from dpaudit.canaries import Family
    from dpaudit.plugins import Target, Trace

__all__ = ["Traced", "traced"]

_CANDIDATES, _STEPS, _BATCH = 128, 60, 64


@dataclass(frozen=True)
class _Rows:
    rows: NDArray[np.float32]

    def steps(self) -> Iterator[NDArray[np.float32]]:
        yield from self.rows


@dataclass(frozen=True)
class _Seen:
    """A target of which only the mechanism and the trace of one family can be asked."""

    mechanism: Mechanism
    family: Family
    rows: NDArray[np.float32]

    def trace(self, family: Family) -> Trace:
        if family != self.family:
            raise DpauditError(f"this attacker has no trace of the family {family!r}")
        return _Rows(self.rows)


@dataclass(frozen=True)
class Traced:
    """A family of gradient canaries, who of them is in (n,), and what was released at each."""

    family: Family
    members: NDArray[np.bool_]
    mechanism: Mechanism
    rows: NDArray[np.float32]

    def view(self) -> AttackView:
        """Return what an attack gets."""
        ids = np.array([f"{self.family}:{number}" for number in range(len(self.members))], dtype=np.str_)
        return AttackView(
            target=cast("Target", _Seen(self.mechanism, self.family, self.rows)),
            candidates=Candidates(family=self.family, ids=ids),
            population=overfit().population,
            rng=Rng.from_seed(7).child("attack"),
        )


@cache
def traced(family: Family) -> Traced:
    """Return a family under half a unit of noise: coins of 128 candidates, or of 128 steps."""
    draw = Rng.from_seed(0).child("conformance", family).numpy()
    members = draw.random(_CANDIDATES) < 0.5
    by_step = family in STEP_FAMILIES
    mechanism = Mechanism(
        sampling="poisson",
        adjacency="add-remove",
        noise_multiplier=0.5,
        sampling_rate=0.25,
        steps=_CANDIDATES if by_step else _STEPS,
        clip_norm=1.0,
        batch_size=_BATCH,
        dataset_size=4 * _BATCH,
    )
    if by_step:
        along = members + mechanism.noise_multiplier * draw.normal(size=_CANDIDATES)
        rows = np.stack([along, np.ones(_CANDIDATES)], axis=1)
    else:
        drawn = (draw.random((_STEPS, _CANDIDATES)) < mechanism.sampling_rate) & members
        rows = (drawn + mechanism.noise_multiplier * draw.normal(size=drawn.shape)) / _BATCH
    return Traced(family, members, mechanism, rows.astype(np.float32))
