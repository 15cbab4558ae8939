"""Where a pair stands among all that it could be paired with: retrieval (Radford et al. 2021) as an attack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dpaudit.plugins import EmbedsText, Needs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dpaudit.plugins import AttackView

__all__ = ["ClipRank"]


@dataclass(frozen=True, kw_only=True)
class ClipRank:
    """Scores a pair by the share of strangers' captions, and of strangers' images, that fit it less well.

    Image-to-text and text-to-image retrieval as in CLIP (arXiv 2103.00020), with the pair itself among the records that
    are never members; it needs no scale of the cosine, and is coarse where those are few.

    >>> ClipRank().needs.population
    1
    """

    @property
    def needs(self) -> Needs:
        """Return what it needs: images and captions in one space, and non-members to compare with."""
        return Needs(
            access="outputs",
            families=("pool", "inputs"),
            capabilities=(EmbedsText,),
            reads=frozenset({"caption"}),
            population=1,
        )

    def score(self, view: AttackView) -> NDArray[np.float64]:
        """Return the mean of both shares for every candidate, (n,), in [0, 1]; higher = more likely a member."""
        target, records = view.target, view.candidates.records
        images, captions = target.image_vectors(records), target.text_vectors(records)
        own = np.einsum("nd,nd->n", images, captions, dtype=np.float64)
        to_text = _share_below(own, images, target.text_vectors(view.population))
        to_image = _share_below(own, captions, target.image_vectors(view.population))
        return np.asarray((to_text + to_image) / 2, dtype=np.float64)


def _share_below(
    own: NDArray[np.float64], vectors: NDArray[np.float32], others: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Return the share of strangers whose cosine is below a pair's own, equal ones counted half, (n,)."""
    strangers = vectors.astype(np.float64) @ others.astype(np.float64).T
    below = (strangers < own[:, None]).mean(axis=1)
    return np.asarray(below + (strangers == own[:, None]).mean(axis=1) / 2)
