"""The data set `procedural`: any number of pictures without content, made as they are asked for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dpaudit.data.decode import check_image_size
from dpaudit.data.examples import Examples
from dpaudit.data.files import fingerprint
from dpaudit.data.procedural.expressions import expression
from dpaudit.data.procedural.leaves import dead_leaves
from dpaudit.data.procedural.spectra import spectrum
from dpaudit.errors import InputError
from dpaudit.rng import Rng

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["Procedural"]

_VERSION = 1  # of the pictures: a change is another data set
_ID = re.compile(r"procedural/(0|[1-9][0-9]*)\Z")
#: two formulas for each heap of leaves and each noise
_KINDS: tuple[Callable[[np.random.Generator, int], NDArray[np.float32]], ...] = (
    expression,
    dead_leaves,
    expression,
    spectrum,
)


@dataclass(frozen=True, kw_only=True)
class Procedural:
    """`size` pictures: random formulas (half of them), dead leaves and coloured noise (a quarter each); no people.

    Ids "procedural/0", "procedural/1", ...; a picture depends on its id, the seed and the side alone. There are no
    captions and no labels. Pictures of nothing are public: what is learned from them costs no privacy.

    >>> Procedural(size=4)[np.array(["procedural/3"])].images.shape
    (1, 3, 64, 64)
    """

    size: int = 100_000
    image_size: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        check_image_size(self.image_size)
        if self.size < 1:
            raise InputError("data size", self.size, "a number of pictures of at least 1")

    @property
    def classes(self) -> None:
        """None: there are no labels."""

    def __len__(self) -> int:
        return self.size

    def ids(self) -> NDArray[np.str_]:
        """Return all ids, (size,)."""
        return np.array([f"procedural/{number}" for number in range(self.size)])

    def __getitem__(self, ids: NDArray[np.str_]) -> Examples:
        """Return the records with these ids, in this order."""
        names = np.asarray(ids, dtype=np.str_)
        images = np.empty((len(names), 3, self.image_size, self.image_size), dtype=np.uint8)
        for image, name in zip(images, names.tolist(), strict=True):
            image[:] = self._paint(name)
        return Examples(ids=names, images=images)

    def fingerprint(self) -> str:
        """Return a hash of the options; the pictures follow from them."""
        return fingerprint(("procedural", _VERSION, self.size, self.image_size, self.seed), ())

    def _paint(self, name: str) -> NDArray[np.uint8]:
        found = _ID.match(name)
        if found is None or int(found[1]) >= self.size:
            raise InputError("data id", name, f"an id from procedural/0 to procedural/{self.size - 1}")
        number = int(found[1])
        draw = Rng.from_seed(self.seed).child("procedural", _VERSION, number).numpy()
        picture = _KINDS[number % len(_KINDS)](draw, self.image_size)
        return np.rint(255 * picture).astype(np.uint8)
