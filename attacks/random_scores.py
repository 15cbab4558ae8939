"""Random scores: what an attack is worth that knows nothing, and what every bound must say of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dpaudit.plugins import Needs

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from dpaudit.plugins import AttackView

__all__ = ["RandomScores"]


@dataclass(frozen=True, kw_only=True)
class RandomScores:
    """Scores a candidate by a uniform draw that is keyed by its id: the null of every metric and bound.

    Any bound above 0 from it is a false alarm (auditing as in Jagielski, Ullman, Oprea 2020, arXiv 2006.07709).

    >>> RandomScores().needs.sees_model
    False
    """

    @property
    def needs(self) -> Needs:
        """Return what it needs: candidates of any family; no model."""
        return Needs(access="outputs", families=("pool", "inputs", "block", "coordinates"), sees_model=False)

    def score(self, view: AttackView) -> NDArray[np.float64]:
        """Return a uniform number in [0, 1) per candidate, (n,)."""
        return view.rng.child("random").uniform(view.candidates.ids, 1)[:, 0]
