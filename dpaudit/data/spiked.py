"""The data set `spiked`: pairs of vectors that share a few directions, for which theory says what can be learned.

Nakada et al. 2023 (arXiv 2302.06232), whose setting the analysis of DP-CLIP uses (arXiv 2306.08173): x = U z + noise,
x' = U' z + noise'.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtri

from dpaudit.data.annotations import Index, Indexed
from dpaudit.data.examples import Examples
from dpaudit.data.files import fingerprint
from dpaudit.errors import InputError
from dpaudit.rng import Rng

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Spiked", "loadings", "pixels_of_vectors", "vectors_of_pixels"]

_VERSION = 1
_LARGEST = 12.0  # numbers beyond are cut, and a step of a pixel is 0.094


@dataclass(frozen=True, kw_only=True)
class Spiked(Indexed):
    """`size` pairs (x, x') in `dimensions` each: `rank` shared directions of variance `signal`, noise of variance 1.

    Kept as pixels, for a record is an image: the first `dimensions` values are x, the next are x', the rest is grey.
    Rounding to 8 bits adds a variance of 0.0007. Ids "pair/0", "pair/1", ...; no captions and no labels.

    >>> spiked = Spiked(size=4, dimensions=10, rank=2)
    >>> spiked[spiked.ids()].images.shape, spiked.truth.shape
    ((4, 3, 3, 3), (10, 2))
    """

    size: int = 10_000
    dimensions: int = 20
    rank: int = 2
    signal: float = 4.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.size < 1:
            raise InputError("data size", self.size, "a number of pairs of at least 1")
        if not 1 <= self.rank < self.dimensions:
            raise InputError("rank", self.rank, f"from 1 to {self.dimensions - 1}, below dimensions")
        if not 0 < self.signal < math.inf:
            raise InputError("signal", self.signal, "a positive variance")

    @property
    def truth(self) -> NDArray[np.float64]:
        """The directions U that x shares with x', orthonormal columns, (dimensions, rank)."""
        return loadings(self._root.child("image"), self.dimensions, self.rank)

    def __getitem__(self, ids: NDArray[np.str_]) -> Examples:
        """Return the records with these ids, in this order."""
        positions = self._index.positions(ids)
        names = self._index.ids[positions]
        return self._index.examples(positions, pixels_of_vectors(np.concatenate(self.vectors(names), axis=1)))

    def vectors(self, ids: NDArray[np.str_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the pairs before they become pixels: x and x', each (n, dimensions)."""
        width = self.rank + 2 * self.dimensions
        uniform = np.clip(self._root.child("draws").uniform(ids, width), 2.0**-54, 1 - 2.0**-54)
        shared, one, other = np.split(ndtri(uniform), [self.rank, self.rank + self.dimensions], axis=1)
        strength = math.sqrt(self.signal)
        texts = loadings(self._root.child("text"), self.dimensions, self.rank)
        return strength * shared @ self.truth.T + one, strength * shared @ texts.T + other

    def axes(self) -> Examples:
        """Return the origin and a step along each dimension of x: what a linear encoder does to them is its matrix."""
        points = np.concatenate([np.zeros((1, self.dimensions)), np.eye(self.dimensions)]) * _LARGEST / 2
        ids = np.array([f"axis/{number}" for number in range(len(points))], dtype=np.str_)
        return Examples(ids=ids, images=pixels_of_vectors(np.concatenate([points, 0 * points], axis=1)))

    def fingerprint(self) -> str:
        """Return a hash of the options; the pairs follow from them."""
        options = (self.size, self.dimensions, self.rank, self.signal, self.seed)
        return fingerprint(("spiked", _VERSION, *options), ())

    @cached_property
    def _root(self) -> Rng:
        return Rng.from_seed(self.seed).child("spiked", _VERSION)

    @cached_property
    def _index(self) -> Index:
        return Index(ids=np.array([f"pair/{number}" for number in range(self.size)]))


def loadings(rng: Rng, dimensions: int, rank: int) -> NDArray[np.float64]:
    """Return orthonormal columns (dimensions, rank) of random directions."""
    columns, _ = np.linalg.qr(rng.numpy().normal(size=(dimensions, rank)))
    return columns


def pixels_of_vectors(vectors: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return vectors (n, d) as the smallest square images that hold them, (n, 3, S, S), grey behind."""
    side = math.ceil(math.sqrt(vectors.shape[1] / 3))
    values = np.zeros((len(vectors), 3 * side * side))
    values[:, : vectors.shape[1]] = vectors
    pixels = np.clip(np.rint(128 + 127 / _LARGEST * values), 0, 255).astype(np.uint8)
    return pixels.reshape(-1, 3, side, side)


def vectors_of_pixels(images: NDArray[np.uint8], dimensions: int) -> NDArray[np.float32]:
    """Return the first `dimensions` numbers of each image (n, 3, S, S), as `pixels_of_vectors` put them."""
    values = images.reshape(len(images), -1)[:, :dimensions].astype(np.float32)
    numbers: NDArray[np.float32] = (values - np.float32(128)) * np.float32(_LARGEST / 127)
    return numbers
