"""Prediction entropy: a classifier is surer of what it was trained on (Salem et al. 2019, arXiv 1806.01246)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from dpaudit.plugins import Classifies, Needs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dpaudit.plugins import AttackView

__all__ = ["Entropy"]


@dataclass(frozen=True, kw_only=True)
class Entropy:
    """Scores a record by the negated entropy of the predicted classes; its own label is not looked at.

    >>> Entropy().needs.reads
    frozenset()
    """

    @property
    def needs(self) -> Needs:
        """Return what it needs: a classifier's probabilities."""
        return Needs(access="outputs", families=("pool", "inputs"), capabilities=(Classifies,))

    def score(self, view: AttackView) -> NDArray[np.float64]:
        """Return minus the entropy in nats of every candidate, (n,); higher = more likely a member."""
        probabilities = special.softmax(view.target.logits(view.candidates.records).astype(np.float64), axis=1)
        return np.asarray(-special.entr(probabilities).sum(axis=1), dtype=np.float64)
