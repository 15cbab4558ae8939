"""Modified entropy: being surely wrong is not being sure (Song, Mittal 2021, arXiv 2003.10595)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from dpaudit.plugins import Classifies, Needs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dpaudit.plugins import AttackView

__all__ = ["ModifiedEntropy"]


@dataclass(frozen=True, kw_only=True)
class ModifiedEntropy:
    """Scores a record by the negated modified entropy of its prediction: 0 where its own class is certain.

    Mentr(p, y) = -(1 - p_y) log p_y - sum over other classes i of p_i log(1 - p_i), section 4.2 of the paper.

    >>> sorted(ModifiedEntropy().needs.reads)
    ['label']
    """

    @property
    def needs(self) -> Needs:
        """Return what it needs: a classifier's probabilities, and labels."""
        return Needs(
            access="outputs", families=("pool", "inputs"), capabilities=(Classifies,), reads=frozenset({"label"})
        )

    def score(self, view: AttackView) -> NDArray[np.float64]:
        """Return minus the modified entropy in nats of every candidate, (n,); higher = more likely a member."""
        records = view.candidates.records
        logits = view.target.logits(records).astype(np.float64)
        own = np.arange(logits.shape[1]) == np.asarray(records.labels)[:, None]
        log_p = special.log_softmax(logits, axis=1)
        log_q = _log_of_the_rest(logits)
        terms = np.where(own, np.exp(log_q) * log_p, np.exp(log_p) * log_q)
        return np.asarray(terms.sum(axis=1), dtype=np.float64)


def _log_of_the_rest(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return log(1 - p_i) of every class, (n, classes), exact where p_i is near 1."""
    classes = logits.shape[1]
    others = np.broadcast_to(logits[:, None, :], (len(logits), classes, classes)).copy()
    others[:, np.arange(classes), np.arange(classes)] = -np.inf
    rest = special.logsumexp(others, axis=2) - special.logsumexp(logits, axis=1, keepdims=True)
    return np.asarray(rest, dtype=np.float64)
