"""Difficulty calibration: a record counts as a member by how much better it fits than models without it say it would.

Watson, Guo, Cormode, Sablayrolles 2022, "On the Importance of Difficulty Calibration in Membership Inference Attacks"
(arXiv 2111.08440).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dpaudit.calibration import needs_of, readings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from dpaudit.plugins import AttackView, Needs

__all__ = ["ReferenceDifference"]


@dataclass(frozen=True, kw_only=True)
class ReferenceDifference:
    """Scores a record by its signal minus the mean signal of the references that were not trained on it.

    signal: any that the target gives, or loss-logit. draws: of the signal's own randomness, averaged.

    >>> ReferenceDifference().needs.references
    2
    """

    signal: str = "loss"
    draws: int = 1

    def __post_init__(self) -> None:
        _ = self.needs

    @property
    def needs(self) -> Needs:
        """Return what it needs: two references, so that each candidate is left out by one."""
        return needs_of(self.signal, references=2)

    def score(self, view: AttackView) -> NDArray[np.float64]:
        """Return one difference per candidate, (n,), higher = more likely a member."""
        told = readings(view, self.signal, self.draws)
        difference: NDArray[np.float64] = (told.target - told.mean(inside=False)).mean(axis=0)
        return difference
