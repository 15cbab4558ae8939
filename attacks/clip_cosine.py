"""CSA: the cosine of an image with its own caption, which training raises (Ko et al. 2023, arXiv 2310.00108)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dpaudit.plugins import SIGNALS, Needs

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from dpaudit.plugins import AttackView

__all__ = ["ClipCosine"]


@dataclass(frozen=True, kw_only=True)
class ClipCosine:
    """Scores a pair by the cosine of image and caption, the paper's Cosine Similarity Attack.

    Where members and non-members come from one source it falls towards chance as records grow (Gomez 2026): use
    `clip_margin`, or calibrate it by reference models.

    >>> ClipCosine().needs.capabilities[0].__name__
    'EmbedsText'
    """

    @property
    def needs(self) -> Needs:
        """Return what it needs: images and captions in one space."""
        signal = SIGNALS["cosine"]
        return Needs(
            access="outputs", families=("pool", "inputs"), capabilities=(signal.capability,), reads=signal.reads
        )

    def score(self, view: AttackView) -> NDArray[np.float64]:
        """Return the cosine of every candidate, (n,), in [-1, 1]; higher = more likely a member."""
        return view.target.signal("cosine", view.candidates.records, view.rng)
