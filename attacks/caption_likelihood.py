"""How likely a captioner finds a record's own caption: members' captions are expected (after Yeom et al. 2018)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from dpaudit.plugins import CaptionLikelihood, Needs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dpaudit.plugins import AttackView

__all__ = ["CaptionProbability"]


@dataclass(frozen=True, kw_only=True)
class CaptionProbability:
    """Scores a record by log p(its caption | its image), the loss attack (arXiv 1709.01604) on a captioner.

    over: "mean" of the tokens, which is minus the loss of DP-Cap without its augmentations, or their "sum", which a
    short caption wins.

    >>> CaptionProbability().needs.capabilities[0].__name__
    'CaptionLikelihood'
    """

    over: Literal["mean", "sum"] = "mean"

    @property
    def needs(self) -> Needs:
        """Return what it needs: a model that says how likely a caption is."""
        return Needs(
            access="outputs",
            families=("pool", "inputs"),
            capabilities=(CaptionLikelihood,),
            reads=frozenset({"caption"}),
        )

    def score(self, view: AttackView) -> NDArray[np.float64]:
        """Return the log-probability of every candidate's caption in nats, (n,); higher = more likely a member."""
        each = view.target.token_log_likelihoods(view.candidates.records).astype(np.float64)
        total: NDArray[np.float64] = np.nansum(each, axis=1)
        return total if self.over == "sum" else total / np.isfinite(each).sum(axis=1)
