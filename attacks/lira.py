"""The likelihood-ratio attack: is the signal of a record what models with it say, or what models without it say?

Carlini, Chien, Nasr, Song, Terzis, Tramer 2022, "Membership Inference Attacks From First Principles"
(arXiv 2112.03570), algorithm 1 (online) and section V (offline).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from dpaudit.calibration import Variance, fitted, needs_of, readings
from dpaudit.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dpaudit.calibration import Readings
    from dpaudit.plugins import AttackView, Needs

__all__ = ["Lira"]

_ENOUGH = 32  # references on a side; with fewer the paper fixes the variance


@dataclass(frozen=True, kw_only=True)
class Lira:
    """Scores a record by how much likelier its signal is under references with it than without it.

    mode: online, log N(in) - log N(out); or offline, -log P[Z > signal] for Z of the references without it, in the
    order of the paper's 1 - P[Z > signal]. signal: near normal is best, so logit for classifiers (loss-logit over
    their augmentations). draws: of the signal's own randomness; log densities are averaged over them. variance: each
    candidate's own, one for all (fixed), or stabilised (see `dpaudit.calibration`); auto: each from 32 references on a
    side on, fixed below.

    >>> Lira(mode="offline").needs.references
    4
    """

    mode: Literal["online", "offline"] = "online"
    signal: str = "loss"
    draws: int = 1
    variance: Variance | Literal["auto"] = "auto"

    def __post_init__(self) -> None:
        _ = self.needs
        if self.draws < 1:
            raise InputError("draws", self.draws, "at least 1")

    @property
    def needs(self) -> Needs:
        """Return what it needs: four references, two on each side of every candidate."""
        return needs_of(self.signal, references=4)

    def score(self, view: AttackView) -> NDArray[np.float64]:
        """Return one score per candidate, (n,), higher = more likely a member."""
        told = readings(view, self.signal, self.draws)
        scores = [self._of_draw(told, draw) for draw in range(self.draws)]
        mean: NDArray[np.float64] = np.mean(scores, axis=0)
        return mean

    def _of_draw(self, told: Readings, draw: int) -> NDArray[np.float64]:
        signal, values = told.target[draw], told.references[draw]
        without = fitted(values, ~told.inside, self._variance(~told.inside))
        if self.mode == "offline":
            return without.surprise(signal)
        within = fitted(values, told.inside, self._variance(told.inside))
        return within.log_density(signal) - without.log_density(signal)

    def _variance(self, chosen: NDArray[np.bool_]) -> Variance:
        if self.variance != "auto":
            return self.variance
        return "each" if chosen.sum(axis=0).min(initial=_ENOUGH) >= _ENOUGH else "fixed"
