"""LpLA: features of members have unlikely norms (Sun et al. 2025, arXiv 2506.05743)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dpaudit.errors import InputError
from dpaudit.plugins import Needs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dpaudit.data.examples import Examples
    from dpaudit.plugins import AttackView

__all__ = ["EmbeddingNorm"]


@dataclass(frozen=True, kw_only=True)
class EmbeddingNorm:
    """Scores a record by how unlikely the p-norm of its features is for a non-member, on either side.

    After the Embedding Lp-Norm Likelihood Attack, with the likelihood of a normal distribution that is fitted to the
    logarithms of the norms of records that are never members.

    >>> EmbeddingNorm(p=1).needs.population
    20
    """

    p: float = 2.0

    def __post_init__(self) -> None:
        if not self.p > 0:
            raise InputError("p", self.p, "a number above 0")

    @property
    def needs(self) -> Needs:
        """Return what it needs: features, and non-members to compare with."""
        return Needs(access="outputs", families=("pool", "inputs"), population=20)

    def score(self, view: AttackView) -> NDArray[np.float64]:
        """Return the squared deviation of every candidate, (n,), in variances; higher = more likely a member."""
        known = self._log_norms(view, view.population)
        spread = max(float(known.std()), 1e-12)
        return np.asarray(np.square((self._log_norms(view, view.candidates.records) - known.mean()) / spread))

    def _log_norms(self, view: AttackView, records: Examples) -> NDArray[np.float64]:
        features = np.abs(view.target.embed(records).astype(np.float64))
        return np.asarray(np.log(np.maximum((features**self.p).sum(axis=1), 1e-300)) / self.p)
