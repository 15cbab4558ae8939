"""Displacement: the way from the first weights to the last is made of members' gradients (Cebere et al. 2024)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from dpaudit.errors import InputError
from dpaudit.plugins import Needs, PerExampleTrainer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from dpaudit.plugins import AttackView

__all__ = ["Displacement"]


@dataclass(frozen=True, kw_only=True)
class Displacement:
    """Scores a candidate by <theta_0 - theta_T, its gradient>: how far the model went along it.

    The hidden-state attacker of Cebere, Bellet, Papernot (arXiv 2405.14457) knows where training began and sees where
    it ended, no step between. A gradient canary on a coordinate of the model is that coordinate's displacement. A
    record's gradient is taken at the "initial" weights, at the "final", or as the mean of "both": its product is then
    to second order how much the loss fell. unit: divide by the gradient's norm, for what a model has fitted pulls it
    on in the same direction, if ever so little. masks: draws of the loss's own randomness that are averaged, keyed by
    the record's id.

    >>> Displacement().needs.families
    ('pool', 'inputs', 'coordinates')
    """

    gradient_at: Literal["initial", "final", "both"] = "final"
    unit: bool = True
    masks: int = 1

    def __post_init__(self) -> None:
        if self.masks < 1:
            raise InputError("masks", self.masks, "a positive number of draws")

    @property
    def needs(self) -> Needs:
        """Return what it needs: first and last weights, and a loss per record."""
        return Needs(
            access="final weights", families=("pool", "inputs", "coordinates"), capabilities=(PerExampleTrainer,)
        )

    def score(self, view: AttackView) -> NDArray[np.float64]:
        """Return that inner product or cosine of every candidate, (n,); higher = more likely a member."""
        first, last = view.target.weights("initial"), view.target.weights("final")
        moved = {name: first[name].astype(np.float64) - last[name] for name in last}
        if view.candidates.family == "coordinates":
            return _at_coordinates(moved, view.candidates.ids)
        direction = np.concatenate([each.ravel() for each in moved.values()])
        moments: tuple[Literal["initial", "final"], ...]
        moments = ("initial", "final") if self.gradient_at == "both" else (self.gradient_at,)
        total = np.zeros(len(view.candidates.ids), dtype=np.float64)
        for at in moments:
            for k in range(self.masks):
                found = view.target.gradients(view.candidates.records, view.rng.child("mask", k), at)
                total += [self._along(direction, gradient) for gradient in found]
        return total / (len(moments) * self.masks)

    def _along(self, direction: NDArray[np.float64], gradient: NDArray[np.float32]) -> float:
        product = float(direction @ gradient)
        return product / max(float(np.linalg.norm(gradient)), 1e-30) if self.unit else product


def _at_coordinates(moved: Mapping[str, NDArray[np.float64]], ids: NDArray[np.str_]) -> NDArray[np.float64]:
    """Return the displacement at each canary's coordinate; its id is coordinates:TENSOR:POSITION."""
    places = (identity.split(":")[1:] for identity in ids.tolist())
    return np.array([moved[name].flat[int(position)] for name, position in places], dtype=np.float64)
