"""Exposure, the secret sharer's measure: how early a caption comes among all it could be (Carlini et al. 2019)."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from dpaudit.errors import InputError
from dpaudit.plugins import CaptionLikelihood, Needs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dpaudit.plugins import AttackView

__all__ = ["Exposure", "exposure", "extrapolated_exposure"]


@dataclass(frozen=True, kw_only=True)
class Exposure:
    """Scores a record by the exposure, in bits, of its caption among `others` captions beside the same image.

    arXiv 1802.08232: the canary's rank by perplexity in a space of phrases that were as likely to be inserted. The
    space is that of the captions of non-members: for family `inputs` with mis-captioned canaries exactly what a canary
    could have said. The rank is extrapolated by a normal distribution of log-perplexities (the paper fits a skewed
    one), so exposure may exceed log2(others).

    >>> Exposure(others=8).needs.families
    ('inputs', 'pool')
    """

    others: int = 16

    def __post_init__(self) -> None:
        if self.others < 2:
            raise InputError("others", self.others, "at least 2 captions, to know how they spread")

    @property
    def needs(self) -> Needs:
        """Return what it needs: a model that says how likely a caption is, and captions of non-members."""
        return Needs(
            access="outputs",
            families=("inputs", "pool"),
            capabilities=(CaptionLikelihood,),
            reads=frozenset({"caption"}),
            population=self.others,
        )

    def score(self, view: AttackView) -> NDArray[np.float64]:
        """Return the exposure of every candidate's caption in bits, (n,); higher = more likely a member."""
        records, phrases = view.candidates.records, (view.population.captions or ())[: self.others]
        asked = [records.captions or (), *((phrase,) * len(records) for phrase in phrases)]
        said = [
            -np.nansum(view.target.token_log_likelihoods(dataclasses.replace(records, captions=captions)), axis=1)
            for captions in asked
        ]
        return extrapolated_exposure(said[0].astype(np.float64), np.stack(said[1:], axis=1).astype(np.float64))


def exposure(perplexity: float, space: NDArray[np.float64]) -> float:
    """Return log2 |space| - log2 rank, in bits, the rank being 1 more than there are lower perplexities in the space.

    >>> exposure(3.5, np.arange(1.0, 17.0))
    2.0
    """
    return float(np.log2(len(space)) - np.log2(1 + np.count_nonzero(space < perplexity)))


def extrapolated_exposure(log_perplexity: NDArray[np.float64], space: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return -log2 P[a phrase has no larger log-perplexity], (n,), by a normal fit of each row of the space, (n, k)."""
    spread = np.maximum(space.std(axis=1, ddof=1), 1e-12)
    return np.asarray(-special.log_ndtr((log_perplexity - space.mean(axis=1)) / spread) / np.log(2.0))
