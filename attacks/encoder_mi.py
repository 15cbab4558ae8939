"""EncoderMI: views of an image that was trained on have more similar features (Liu et al. 2021, arXiv 2108.11023)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dpaudit.errors import InputError
from dpaudit.models.images import draw_crops
from dpaudit.models.parts import parts_of
from dpaudit.plugins import Needs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dpaudit.plugins import AttackView

__all__ = ["EncoderMI"]


@dataclass(frozen=True, kw_only=True)
class EncoderMI:
    """Scores a record by the mean cosine between the features of `views` random crops of it: the paper's variant T.

    The other two variants learn from a shadow encoder. smallest: least area of a crop; half of them are mirrored. They
    are keyed by the record's id.

    >>> EncoderMI(views=4).needs.families
    ('pool', 'inputs')
    """

    views: int = 10
    smallest: float = 0.2

    def __post_init__(self) -> None:
        if self.views < 2:
            raise InputError("views", self.views, "at least 2, to be compared with each other")
        if not 0 < self.smallest <= 1:
            raise InputError("smallest", self.smallest, "a share of the area above 0, at most 1")

    @property
    def needs(self) -> Needs:
        """Return what it needs: features."""
        return Needs(access="outputs", families=("pool", "inputs"))

    def score(self, view: AttackView) -> NDArray[np.float64]:
        """Return the mean pairwise cosine of every candidate, (n,), in [-1, 1]; higher = more likely a member."""
        records = view.candidates.records
        total, squares = np.zeros(1), np.zeros(1)
        for k in range(self.views):
            crops = draw_crops(view.rng.child("view", k), records.ids, smallest=self.smallest, mirror=True)
            features = view.target.embed(parts_of(records, crops)).astype(np.float64)
            unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
            total, squares = total + unit, squares + np.square(unit).sum(axis=1)
        pairs = np.square(total).sum(axis=1) - squares  # each pair of views twice
        return np.asarray(pairs / (self.views * (self.views - 1)), dtype=np.float64)
