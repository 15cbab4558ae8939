"""Deja vu of pairs: a caption calls up more of its image than it says (Jayaraman, Guo, Chaudhuri 2024)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dpaudit.errors import InputError
from dpaudit.plugins import EmbedsText, Needs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dpaudit.data.examples import Examples
    from dpaudit.plugins import AttackView, Target

__all__ = ["DejaVuPairs"]


@dataclass(frozen=True, kw_only=True)
class DejaVuPairs:
    """Scores a pair by how like its image the images are that the model retrieves for its caption.

    The caption's vector finds the `neighbours` nearest images of records that are never members (arXiv 2402.02103). The
    paper counts the objects of the pair's image among theirs, by a detector; without one, likeness is the correlation
    of pixels, seen at `grid` x `grid`. From it is taken what caption and image have in common for everybody: the same
    likeness by reference models that were not trained on the pair or, without any, of the strangers whose captions
    share the most words with it (after Kokhlikyan et al. 2025, arXiv 2504.05651, who need no second model either).

    >>> DejaVuPairs(neighbours=5).needs.population
    6
    """

    neighbours: int = 10
    grid: int = 8

    def __post_init__(self) -> None:
        for name in ("neighbours", "grid"):
            if getattr(self, name) < 1:
                raise InputError(name, getattr(self, name), "a positive number")

    @property
    def needs(self) -> Needs:
        """Return what it needs: images and captions in one space, and a set of non-members to retrieve from."""
        return Needs(
            access="outputs",
            families=("pool", "inputs"),
            capabilities=(EmbedsText,),
            reads=frozenset({"caption"}),
            population=self.neighbours + 1,
        )

    def score(self, view: AttackView) -> NDArray[np.float64]:
        """Return the gain in likeness of every candidate, (n,), in [-2, 2]; higher = more likely a member."""
        records, known = view.candidates.records, view.population
        likeness = self._thumbnails(records) @ self._thumbnails(known).T
        found = self._found(view.target, records, known, likeness)
        if not view.references:
            return found - self._mean_of_nearest(_shared_words(records, known), likeness)
        others = np.stack([self._found(each, records, known, likeness) for each, _ in view.references])
        outside = np.stack([~mask for _, mask in view.references]).astype(np.float64)
        return np.asarray(found - (others * outside).sum(axis=0) / np.maximum(outside.sum(axis=0), 1.0))

    def _found(
        self, target: Target, records: Examples, known: Examples, likeness: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        similar = target.text_vectors(records).astype(np.float64) @ target.image_vectors(known).astype(np.float64).T
        return self._mean_of_nearest(similar, likeness)

    def _mean_of_nearest(self, similar: NDArray[np.float64], likeness: NDArray[np.float64]) -> NDArray[np.float64]:
        nearest = np.argsort(-similar, axis=1, kind="stable")[:, : self.neighbours]
        return np.asarray(np.take_along_axis(likeness, nearest, axis=1).mean(axis=1), dtype=np.float64)

    def _thumbnails(self, records: Examples) -> NDArray[np.float64]:
        """Return small pictures of mean 0 and length 1, (n, 3 grid grid)."""
        side = min(self.grid, records.images.shape[-1])
        edges = np.linspace(0, records.images.shape[-1], side + 1).astype(np.int64)[:-1]
        rows = np.add.reduceat(records.images.astype(np.float64), edges, axis=2)
        flat = np.add.reduceat(rows, edges, axis=3).reshape(len(records), -1)
        centred = flat - flat.mean(axis=1, keepdims=True)
        return np.asarray(centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12))


def _shared_words(records: Examples, known: Examples) -> NDArray[np.float64]:
    """Return how many words two captions share over how many they have, (n, m)."""
    own, others = ([set(caption.lower().split()) for caption in each.captions or ()] for each in (records, known))
    return np.array([[len(a & b) / max(len(a | b), 1) for b in others] for a in own], dtype=np.float64)
