"""Confidence: the largest predicted probability, which needs no label (Salem et al. 2019, arXiv 1806.01246)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from dpaudit.plugins import Classifies, Needs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dpaudit.plugins import AttackView

__all__ = ["Confidence"]


@dataclass(frozen=True, kw_only=True)
class Confidence:
    """Scores a record by the log-odds of the class that the model thinks likeliest, the paper's third adversary.

    Log-odds in place of the probability: the same order, and no ties where the probability rounds to 1.

    >>> Confidence().needs.access
    'outputs'
    """

    @property
    def needs(self) -> Needs:
        """Return what it needs: a classifier's probabilities."""
        return Needs(access="outputs", families=("pool", "inputs"), capabilities=(Classifies,))

    def score(self, view: AttackView) -> NDArray[np.float64]:
        """Return the log-odds of every candidate's likeliest class, (n,); higher = more likely a member."""
        logits = np.sort(view.target.logits(view.candidates.records).astype(np.float64), axis=1)
        return np.asarray(logits[:, -1] - special.logsumexp(logits[:, :-1], axis=1), dtype=np.float64)
