"""The blind control: a guess from the records alone. Where it beats chance, the split is broken, not the model."""

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

__all__ = ["Blind"]

_WORDS = 64


@dataclass(frozen=True, kw_only=True)
class Blind:
    """Scores a record by a classifier between candidates and records that are never members; no model is asked.

    Das, Zhang, Tramer 2024 (arXiv 2406.16201): attacks on models whose members and non-members come from different
    sources are beaten by guesses that never see the model. Candidates are a mixture of both, so learning to tell them
    from known non-members learns, where the sources differ, what members look like (Elkan, Noto 2008). Under fair coins
    nothing can be learned. It reads small pictures of `grid` x `grid`, contrast, label, and the words and length of a
    caption; two halves of the candidates score each other, so that no record is judged by a fit that has seen it.

    >>> Blind().needs.sees_model
    False
    """

    grid: int = 6
    strength: float = 0.01

    def __post_init__(self) -> None:
        if self.grid < 1:
            raise InputError("grid", self.grid, "a positive number")
        if not self.strength > 0:
            raise InputError("strength", self.strength, "a number above 0")

    @property
    def needs(self) -> Needs:
        """Return what it needs: records, and others that are never members; no model."""
        return Needs(access="outputs", families=("pool", "inputs"), population=20, sees_model=False)

    def score(self, view: AttackView) -> NDArray[np.float64]:
        """Return log-odds of being a candidate, (n,); higher = more likely a member, if the split is broken."""
        records = view.candidates.records
        order = np.argsort(records.ids)  # so that the fit does not depend on the order of candidates
        known, asked = self._features(view.population), self._features(records.take(order))
        half = view.rng.child("halves").uniform(records.ids[order], 1)[:, 0] < 0.5
        scores = np.zeros(len(order), dtype=np.float64)
        for fitted in (half, ~half):
            if fitted.any() and not fitted.all():
                scores[order[~fitted]] = self._log_odds(known, asked[fitted], asked[~fitted])
        return scores

    def _log_odds(
        self, known: NDArray[np.float64], fitted: NDArray[np.float64], asked: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 (takes a second to import)
        from sklearn.pipeline import make_pipeline  # noqa: PLC0415 (as above)
        from sklearn.preprocessing import StandardScaler  # noqa: PLC0415 (as above)

        classifier = make_pipeline(
            StandardScaler(), LogisticRegression(C=self.strength, class_weight="balanced", max_iter=1000)
        )
        classifier.fit(np.concatenate([known, fitted]), np.arange(len(known) + len(fitted)) >= len(known))
        return np.asarray(classifier.decision_function(asked), dtype=np.float64)

    def _features(self, records: Examples) -> NDArray[np.float64]:
        n, side = len(records), min(self.grid, records.images.shape[-1])
        edges = np.linspace(0, records.images.shape[-1], side + 1).astype(np.int64)[:-1]
        rows = np.add.reduceat(records.images.astype(np.float64), edges, axis=2)
        small = np.add.reduceat(rows, edges, axis=3).reshape(n, -1)
        contrast = records.images.reshape(n, -1).std(axis=1, keepdims=True)
        label = np.zeros((n, 0)) if records.labels is None else np.asarray(records.labels[:, None], dtype=np.float64)
        return np.concatenate([small, contrast, label, _words(records)], axis=1)


def _words(records: Examples) -> NDArray[np.float64]:
    """Return the length of each caption and its words, counted in 64 classes by their letters, (n, 0 or 65)."""
    if records.captions is None:
        return np.zeros((len(records), 0))
    counts = np.zeros((len(records), _WORDS + 1), dtype=np.float64)
    for row, caption in enumerate(records.captions):
        counts[row, _WORDS] = len(caption)
        for word in caption.lower().split():
            counts[row, sum(word.encode()) % _WORDS] += 1
    return counts
