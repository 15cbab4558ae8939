"""Gradient norm: a model that has fitted a record is at rest there (Nasr et al. 2019, arXiv 1812.00910)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dpaudit.errors import InputError
from dpaudit.plugins import Needs, PerExampleTrainer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dpaudit.plugins import AttackView

__all__ = ["GradientNorm"]


@dataclass(frozen=True, kw_only=True)
class GradientNorm:
    """Scores a record by the negated norm of its loss's gradient at the released weights, a mean over `masks` draws.

    masks: draws of the loss's own randomness, keyed by the record's id; one is enough for a loss without any.

    >>> GradientNorm().needs.access
    'final weights'
    """

    masks: int = 1

    def __post_init__(self) -> None:
        if self.masks < 1:
            raise InputError("masks", self.masks, "a positive number of draws")

    @property
    def needs(self) -> Needs:
        """Return what it needs: the released weights, and a loss per record."""
        return Needs(access="final weights", families=("pool", "inputs"), capabilities=(PerExampleTrainer,))

    def score(self, view: AttackView) -> NDArray[np.float64]:
        """Return minus the mean norm of every candidate's gradient, (n,); higher = more likely a member."""
        records, total = view.candidates.records, np.zeros(len(view.candidates.ids), dtype=np.float64)
        for k in range(self.masks):
            found = view.target.gradients(records, view.rng.child("mask", k))
            total += [float(np.linalg.norm(gradient)) for gradient in found]
        return -total / self.masks
