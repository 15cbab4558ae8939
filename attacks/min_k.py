"""Min-K %: a caption that was trained on has few tokens that surprise the model (Shi et al. 2024, arXiv 2310.16789)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dpaudit.errors import InputError
from dpaudit.plugins import CaptionLikelihood, Needs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dpaudit.plugins import AttackView

__all__ = ["MinK"]


@dataclass(frozen=True, kw_only=True)
class MinK:
    """Scores a record by the mean log-probability of the least likely `share` of its caption's tokens, at least one.

    >>> MinK(share=0.1).share
    0.1
    """

    share: float = 0.2

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise InputError("share", self.share, "a share of the tokens above 0, at most 1")

    @property
    def needs(self) -> Needs:
        """Return what it needs: a model that says how likely every token of a caption is."""
        return Needs(
            access="outputs",
            families=("pool", "inputs"),
            capabilities=(CaptionLikelihood,),
            reads=frozenset({"caption"}),
        )

    def score(self, view: AttackView) -> NDArray[np.float64]:
        """Return that mean in nats of every candidate, (n,); higher = more likely a member."""
        each = np.sort(view.target.token_log_likelihoods(view.candidates.records).astype(np.float64), axis=1)
        kept = np.maximum(1, np.floor(self.share * np.isfinite(each).sum(axis=1))).astype(np.int64)  # NaN sorts last
        least = np.arange(each.shape[1]) < kept[:, None]
        return np.asarray(np.where(least, each, 0.0).sum(axis=1) / kept, dtype=np.float64)
