"""The 1,797 handwritten digits that come with scikit-learn: real images, no download."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from dpaudit.data.annotations import Annotations, Index
from dpaudit.data.decode import check_image_size, square
from dpaudit.data.files import fingerprint
from dpaudit.errors import DpauditError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dpaudit.data.examples import Examples

__all__ = ["Digits"]

_COUNT = 1797
_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
#: of pixels and labels as bytes; pinned so that a fingerprint needs no scikit-learn, and checked when they are read
_SHA256 = "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"


@dataclass(frozen=True, kw_only=True)
class Digits:
    """Grey 8 x 8 scans of handwritten digits (Alpaydin and Kaynak 1998), resized (bicubic), as three equal channels.

    Ids "digits/0" to "digits/1796", captions such as "a handwritten three", labels 0 to 9. One record = one scan.

    >>> digits = Digits()
    >>> record = digits[np.array(["digits/3"])]
    >>> record.captions, record.images.shape
    (('a handwritten three',), (1, 3, 16, 16))
    """

    image_size: int = 16

    def __post_init__(self) -> None:
        check_image_size(self.image_size)

    @property
    def classes(self) -> tuple[str, ...]:
        """The digits' names; label = digit."""
        return _NAMES

    def __len__(self) -> int:
        return _COUNT

    def ids(self) -> NDArray[np.str_]:
        """Return all ids, (1797,)."""
        return np.array([f"digits/{row}" for row in range(_COUNT)])

    def __getitem__(self, ids: NDArray[np.str_]) -> Examples:
        """Return the records with these ids, in this order."""
        positions = self._index.positions(ids)
        return self._index.examples(positions, np.repeat(self._grey[positions][:, None], 3, axis=1))

    def annotations(self, ids: NDArray[np.str_]) -> Annotations:
        """Return captions and labels of these records, in this order."""
        return self._index.annotations(ids)

    def fingerprint(self) -> str:
        """Return a hash of the pinned content and the image size."""
        return fingerprint(("digits", _SHA256, self.image_size), ())

    @cached_property
    def _index(self) -> Index:
        labels = _scans()[1].astype(np.int64)
        captions = tuple(f"a handwritten {_NAMES[label]}" for label in labels.tolist())
        return Index(ids=self.ids(), captions=captions, labels=labels, classes=_NAMES)

    @cached_property
    def _grey(self) -> NDArray[np.uint8]:
        bright = np.rint(_scans()[0] * (255 / 16)).astype(np.uint8)
        return np.stack([np.asarray(square(Image.fromarray(scan), self.image_size)) for scan in bright])


@cache
def _scans() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return grey values 0 to 16, (1797, 8, 8), and digits, (1797,)."""
    from sklearn.datasets import load_digits  # noqa: PLC0415  # a second to import; fingerprints must not pay it

    pixels, digits = load_digits(return_X_y=True)
    scans = pixels.astype(np.uint8).reshape(-1, 8, 8), digits.astype(np.uint8)
    found = hashlib.sha256(scans[0].tobytes() + scans[1].tobytes()).hexdigest()
    if found != _SHA256:
        raise DpauditError(f"scikit-learn's digits have SHA-256 {found[:16]}…, expected {_SHA256[:16]}…")
    return scans
