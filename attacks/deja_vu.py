"""Deja vu: an encoder that memorised an image knows what stood in its middle from its edge (Meehan et al. 2023)."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from dpaudit.errors import InputError
from dpaudit.models.images import Crops
from dpaudit.models.parts import parts_of
from dpaudit.plugins import Needs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dpaudit.data.examples import Examples
    from dpaudit.plugins import AttackView, Target

__all__ = ["DejaVu"]


@dataclass(frozen=True, kw_only=True)
class DejaVu:
    """Scores a record by how much better its class is guessed from a part of its image than strangers' classes are.

    The guess: the share of its class among the `neighbours` records that are never members whose whole images lie
    nearest to the part, by the cosine of features (arXiv 2304.13850, whose crop avoids a bounding box; ours is a
    "corner" of `area`, as its second crop, or the whole but for its "middle", painted grey). From it is taken what
    the correlation of part and class explains: the same share by reference models that were not trained on the
    record, or, without any, the mean share of strangers of that class.

    >>> sorted(DejaVu().needs.reads)
    ['label']
    """

    part: Literal["corner", "edge"] = "corner"
    area: float = 0.3
    neighbours: int = 20

    def __post_init__(self) -> None:
        if not 0 < self.area < 1:
            raise InputError("area", self.area, "a share of the image between 0 and 1")
        if self.neighbours < 1:
            raise InputError("neighbours", self.neighbours, "a positive number")

    @property
    def needs(self) -> Needs:
        """Return what it needs: features, labels, and a set of non-members to search."""
        return Needs(
            access="outputs",
            families=("pool", "inputs"),
            reads=frozenset({"label"}),
            population=self.neighbours + 1,
        )

    def score(self, view: AttackView) -> NDArray[np.float64]:
        """Return the gain in share of every candidate, (n,), in [-1, 1]; higher = more likely a member."""
        records = view.candidates.records
        share = self._shares(view.target, records, view.population)
        if not view.references:
            return share - self._expected(view.target, records, view.population)
        others = np.stack([self._shares(each, records, view.population) for each, _ in view.references])
        outside = np.stack([~mask for _, mask in view.references]).astype(np.float64)
        return np.asarray(share - (others * outside).sum(axis=0) / np.maximum(outside.sum(axis=0), 1.0))

    def _expected(self, target: Target, records: Examples, known: Examples) -> NDArray[np.float64]:
        """Return the mean share of the strangers of each record's class, (n,); of all, where there is none."""
        shares, classes = self._shares(target, known, known, itself=True), _labels(known)
        means = {label: float(shares[classes == label].mean()) for label in np.unique(classes).tolist()}
        return np.array([means.get(label, float(shares.mean())) for label in _labels(records).tolist()])

    def _shares(
        self, target: Target, records: Examples, known: Examples, *, itself: bool = False
    ) -> NDArray[np.float64]:
        """Return the share of each record's class among the neighbours of its part, (n,). itself: it is in `known`."""
        similar = _unit(target.embed(self._part(records))) @ _unit(target.embed(known)).T
        if itself:
            np.fill_diagonal(similar, -np.inf)
        nearest = np.argsort(-similar, axis=1, kind="stable")[:, : self.neighbours]
        return np.asarray((_labels(known)[nearest] == _labels(records)[:, None]).mean(axis=1), dtype=np.float64)

    def _part(self, records: Examples) -> Examples:
        side = self.area**0.5
        if self.part == "corner":
            n, extents = len(records), np.full((len(records), 2), side)
            return parts_of(records, Crops(centres=extents / 2, extents=extents, mirrored=np.zeros(n, dtype=np.bool_)))
        pixels, images = records.images.shape[-1], records.images.copy()
        hidden = round(pixels * (1 - self.area) ** 0.5)
        first = (pixels - hidden) // 2
        images[:, :, first : first + hidden, first : first + hidden] = 128
        return dataclasses.replace(records, images=images)


def _labels(records: Examples) -> NDArray[np.int64]:
    if records.labels is None:
        raise InputError("labels", None, "records with labels")
    return records.labels


def _unit(features: NDArray[np.float32]) -> NDArray[np.float64]:
    wide = features.astype(np.float64)
    return np.asarray(wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-12))
