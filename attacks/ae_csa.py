"""AE-CSA: a member's cosine falls more when its image is changed (Ko et al. 2023, arXiv 2310.00108)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dpaudit.errors import InputError
from dpaudit.models.images import draw_crops
from dpaudit.models.parts import parts_of
from dpaudit.plugins import EmbedsText, Needs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dpaudit.plugins import AttackView

__all__ = ["AugmentedCosine"]


@dataclass(frozen=True, kw_only=True)
class AugmentedCosine:
    """Scores a pair by its cosine plus `weight` times the mean fall of the cosine over `views` of the image.

    The paper's augmentation-enhanced attack; its code leaves the formula and the transformations out, so these are
    ours: crops of at least `smallest` of the area, half of them mirrored, keyed by the record's id.

    >>> AugmentedCosine(views=4).needs.access
    'outputs'
    """

    views: int = 10
    weight: float = 1.0
    smallest: float = 0.5

    def __post_init__(self) -> None:
        if self.views < 1:
            raise InputError("views", self.views, "a positive number")
        if not 0 < self.smallest <= 1:
            raise InputError("smallest", self.smallest, "a share of the area above 0, at most 1")

    @property
    def needs(self) -> Needs:
        """Return what it needs: images and captions in one space."""
        return Needs(
            access="outputs", families=("pool", "inputs"), capabilities=(EmbedsText,), reads=frozenset({"caption"})
        )

    def score(self, view: AttackView) -> NDArray[np.float64]:
        """Return cosine plus weighted fall of every candidate, (n,); higher = more likely a member."""
        target, records = view.target, view.candidates.records
        captions = target.text_vectors(records)
        own = _cosines(target.image_vectors(records), captions)
        changed = np.zeros(len(records), dtype=np.float64)
        for k in range(self.views):
            crops = draw_crops(view.rng.child("view", k), records.ids, smallest=self.smallest, mirror=True)
            changed += _cosines(target.image_vectors(parts_of(records, crops)), captions)
        return np.asarray(own + self.weight * (own - changed / self.views), dtype=np.float64)


def _cosines(images: NDArray[np.float32], captions: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.asarray(np.einsum("nd,nd->n", images, captions, dtype=np.float64))
