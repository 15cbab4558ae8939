"""Gradient inner product: a stranger pulls the model as other strangers do; a member no longer pulls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dpaudit.errors import InputError
from dpaudit.plugins import Needs, PerExampleTrainer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dpaudit.plugins import AttackView

__all__ = ["GradientProduct"]


@dataclass(frozen=True, kw_only=True)
class GradientProduct:
    """Scores a record by minus the log of its gradient's mean squared inner product with non-members' unit gradients.

    What is left to be learned pulls non-members in few common directions; at weights that fit the members their
    gradients have lost those. After the inner products of Leemann, Pawelczyk, Kasneci 2023 (arXiv 2306.07273), whose
    attacker sees the gradient of every step; this one sees the released weights alone. strangers: how many non-members,
    whose gradients are held in memory. masks: draws of the loss's own randomness that are averaged, keyed by the
    record's id.

    >>> GradientProduct().needs.access
    'final weights'
    """

    strangers: int = 32
    masks: int = 1

    def __post_init__(self) -> None:
        for name in ("strangers", "masks"):
            if getattr(self, name) < 1:
                raise InputError(name, getattr(self, name), "a positive number")

    @property
    def needs(self) -> Needs:
        """Return what it needs: the released weights, a loss per record, and non-members to compare with."""
        return Needs(
            access="final weights",
            families=("pool", "inputs"),
            capabilities=(PerExampleTrainer,),
            population=self.strangers,
        )

    def score(self, view: AttackView) -> NDArray[np.float64]:
        """Return minus the log of that mean square for every candidate, (n,); higher = more likely a member."""
        pull = np.zeros(len(view.candidates.ids), dtype=np.float64)
        for k in range(self.masks):
            rng = view.rng.child("mask", k)
            strangers = np.stack(list(view.target.gradients(view.population.take(slice(0, self.strangers)), rng)))
            strangers /= np.maximum(np.linalg.norm(strangers, axis=1, keepdims=True), 1e-30)
            found = view.target.gradients(view.candidates.records, rng)
            pull += [float(np.square((strangers @ gradient).astype(np.float64)).mean()) for gradient in found]
        return -np.log(np.maximum(pull / self.masks, 1e-300))
