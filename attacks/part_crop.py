"""PartCrop: an encoder answers a part of an image that it was trained on more sharply (Zhu et al. 2024, 2404.02462)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from dpaudit.errors import InputError
from dpaudit.models.images import Crops
from dpaudit.models.parts import parts_of, tiles_of
from dpaudit.plugins import Needs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dpaudit.data.examples import Examples
    from dpaudit.plugins import AttackView
    from dpaudit.rng import Rng

__all__ = ["PartCrop"]


@dataclass(frozen=True, kw_only=True)
class PartCrop:
    """Scores a record by how unevenly a small part of it responds to the tiles of the whole, a mean over `parts`.

    The paper compares a part's features with the feature map of the image and feeds divergences from the uniform and a
    Gaussian response to a classifier that knows members. Here the map is asked for tile by tile, a grid of
    `side` x `side`, since an attacker on outputs sees one vector per query; the score is the mean Kullback-Leibler
    divergence from uniform, which needs no known member. A part covers `area` of the image, least and most.

    >>> PartCrop().needs.access
    'outputs'
    """

    parts: int = 16
    side: int = 4
    area: tuple[float, float] = (0.08, 0.2)
    temperature: float = 0.1

    def __post_init__(self) -> None:
        for name in ("parts", "side"):
            if getattr(self, name) < 1:
                raise InputError(name, getattr(self, name), "a positive number")
        if not 0 < self.area[0] <= self.area[1] <= 1:
            raise InputError("area", self.area, "two shares of the image above 0, at most 1, the smaller first")
        if not self.temperature > 0:
            raise InputError("temperature", self.temperature, "a number above 0")

    @property
    def needs(self) -> Needs:
        """Return what it needs: features."""
        return Needs(access="outputs", families=("pool", "inputs"))

    def score(self, view: AttackView) -> NDArray[np.float64]:
        """Return the mean divergence in nats of every candidate, (n,); higher = more likely a member."""
        records = view.candidates.records
        tiles = np.stack([_unit(view.target.embed(tile)) for tile in tiles_of(records, self.side)], axis=1)
        total = np.zeros(len(records), dtype=np.float64)
        for k in range(self.parts):
            crops = self._small(view.rng.child("part", k), records)
            part = _unit(view.target.embed(parts_of(records, crops)))
            response = np.einsum("nd,ntd->nt", part, tiles) / self.temperature
            total += -special.log_softmax(response, axis=1).mean(axis=1) - np.log(self.side**2)
        return np.asarray(total / self.parts)

    def _small(self, rng: Rng, records: Examples) -> Crops:
        drawn = rng.uniform(records.ids, 3)
        side = np.sqrt(self.area[0] + (self.area[1] - self.area[0]) * drawn[:, :1])
        extents = np.repeat(side, 2, axis=1)
        mirrored = np.zeros(len(records), dtype=np.bool_)
        return Crops(centres=extents / 2 + (1 - extents) * drawn[:, 1:], extents=extents, mirrored=mirrored)


def _unit(features: NDArray[np.float32]) -> NDArray[np.float64]:
    wide = features.astype(np.float64)
    return np.asarray(wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-12))
