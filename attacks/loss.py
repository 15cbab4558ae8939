"""The loss attack: members are those that the model fits well (Yeom, Giacomelli, Fredrikson, Jha 2018)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dpaudit.errors import InputError
from dpaudit.plugins import SIGNALS, Needs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dpaudit.plugins import AttackView

__all__ = ["Loss"]


@dataclass(frozen=True, kw_only=True)
class Loss:
    """Scores a record by its negated training loss (arXiv 1709.01604, adversary 2, with the threshold left open).

    masks: how many draws of the loss's own randomness (the mask of a masked autoencoder) are averaged. Draw k is the
    same stream for every candidate, keyed by its id; one draw is enough for a loss without randomness.

    >>> Loss().needs.access
    'outputs'
    """

    masks: int = 8

    def __post_init__(self) -> None:
        if self.masks < 1:
            raise InputError("masks", self.masks, "a positive number of draws")

    @property
    def needs(self) -> Needs:
        """Return what it needs: the loss of real or inserted records."""
        return Needs(access="outputs", families=("pool", "inputs"), capabilities=(SIGNALS["loss"].capability,))

    def score(self, view: AttackView) -> NDArray[np.float64]:
        """Return the negated mean loss of every candidate, (n,); higher = more likely a member."""
        examples = view.candidates.records
        losses = [view.target.signal("loss", examples, view.rng.child("mask", k)) for k in range(self.masks)]
        mean: NDArray[np.float64] = np.stack(losses).mean(axis=0)
        return -mean
