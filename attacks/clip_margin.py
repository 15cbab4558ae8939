"""How much better a pair fits than what else it could be paired with: the cosine, calibrated by non-members."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dpaudit.errors import InputError
from dpaudit.plugins import EmbedsText, Needs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dpaudit.plugins import AttackView

__all__ = ["ClipMargin"]


@dataclass(frozen=True, kw_only=True)
class ClipMargin:
    """Scores a pair by its cosine minus the mean cosine of its image, and of its caption, with their best strangers.

    The contrastive loss of CLIP (Radford et al. 2021, arXiv 2103.00020) is such a margin against the batch; here the
    strangers are the `hardest` most similar of the records that are never members.

    >>> ClipMargin(hardest=5).needs.population
    5
    """

    hardest: int = 10

    def __post_init__(self) -> None:
        if self.hardest < 1:
            raise InputError("hardest", self.hardest, "a positive number of strangers")

    @property
    def needs(self) -> Needs:
        """Return what it needs: images and captions in one space, and non-members to compare with."""
        return Needs(
            access="outputs",
            families=("pool", "inputs"),
            capabilities=(EmbedsText,),
            reads=frozenset({"caption"}),
            population=self.hardest,
        )

    def score(self, view: AttackView) -> NDArray[np.float64]:
        """Return the margin of every candidate, (n,); higher = more likely a member."""
        target, records = view.target, view.candidates.records
        images, captions = target.image_vectors(records), target.text_vectors(records)
        own = np.einsum("nd,nd->n", images, captions, dtype=np.float64)
        with_captions = self._best(images, target.text_vectors(view.population))
        with_images = self._best(captions, target.image_vectors(view.population))
        return np.asarray(own - (with_captions + with_images) / 2, dtype=np.float64)

    def _best(self, vectors: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float64]:
        cosines = np.sort(vectors.astype(np.float64) @ others.astype(np.float64).T, axis=1)
        return np.asarray(cosines[:, -self.hardest :].mean(axis=1))
