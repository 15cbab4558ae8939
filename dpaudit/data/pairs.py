"""Pairs of images of one class as the records of a data set: what a contrastive loss pulls together."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from dpaudit.data.annotations import Annotations, Index, annotations_of
from dpaudit.data.files import fingerprint
from dpaudit.errors import InputError
from dpaudit.rng import Rng

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dpaudit.data.annotations import Source
    from dpaudit.data.examples import Examples

__all__ = ["Pairs"]

_VERSION = 1  # of the pairing: a change is another data set
_BETWEEN = "+"  # two ids in the id of a pair


@dataclass(frozen=True)
class Pairs:
    """The images of a data set two by two: same label, no image twice; one record = one pair = the privacy unit.

    images (n, 6, S, S): the first image in channels 0 to 2, the second in 3 to 5. Ids "first+second"; caption and label
    are those of the first. Who is paired with whom follows from ids and labels alone, never from the recipe's seed or
    from who is in a run; of an odd class one image is left over.

    >>> from dpaudit.data.digits import Digits
    >>> pairs = Pairs(Digits())
    >>> len(pairs), pairs[pairs.ids()[:2]].images.shape
    (896, (2, 6, 16, 16))
    """

    source: Source

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Class names by label."""
        return self.source.classes

    def __len__(self) -> int:
        return len(self._pairs)

    def ids(self) -> NDArray[np.str_]:
        """Return all ids, (N,)."""
        return self._index.ids

    def __getitem__(self, ids: NDArray[np.str_]) -> Examples:
        """Return the records with these ids, in this order."""
        positions = self._index.positions(ids)
        first, second = (self.source[self._pairs[positions, side]] for side in (0, 1))
        return self._index.examples(positions, np.concatenate([first.images, second.images], axis=1))

    def annotations(self, ids: NDArray[np.str_]) -> Annotations:
        """Return captions and labels of these records, in this order; no image is decoded."""
        return self._index.annotations(ids)

    def fingerprint(self) -> str:
        """Return a hash of the data set's own and of the way of pairing."""
        return fingerprint(("pairs", _VERSION, self.source.fingerprint()), ())

    @cached_property
    def _pairs(self) -> NDArray[np.str_]:
        """Return the ids of both images of every pair, (N, 2)."""
        ids = self.source.ids()
        labels = annotations_of(self.source, ids).labels
        if labels is None:
            raise InputError("data.pairs", "same-class", "data with labels: both images of a pair are of one class")
        order = np.argsort(Rng.from_seed(0).child("pairs", _VERSION).words(ids, 1)[:, 0], kind="stable")
        members = [order[labels[order] == label] for label in np.unique(labels)]
        rows = np.concatenate([each[: len(each) // 2 * 2].reshape(-1, 2) for each in members])
        if not len(rows):
            raise InputError("data.pairs", len(ids), "two images of one class or more")
        pairs: NDArray[np.str_] = ids[rows[np.argsort(rows[:, 0])]]
        return pairs

    @cached_property
    def _index(self) -> Index:
        known = annotations_of(self.source, self._pairs[:, 0])
        names = [_BETWEEN.join(pair) for pair in self._pairs.tolist()]
        return Index(ids=np.array(names), captions=known.captions, labels=known.labels, classes=self.source.classes)
