"""A data set that remembers decoded images, up to a limit."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from dpaudit.data.annotations import Annotations, annotations_of
from dpaudit.data.examples import Examples, interleave
from dpaudit.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dpaudit.data.annotations import Source

__all__ = ["Cached"]


@dataclass(frozen=True)
class Cached:
    """The same records, each decoded once as long as it fits: the first records asked for, up to `limit_bytes`.

    Nothing is given up for something newer: when every record is as likely as any other (Poisson sampling), no rule
    does better. 512 MiB hold 174,000 images of 32 x 32, or 3,500 of 224 x 224. Not for use by several threads.

    >>> from dpaudit.data.digits import Digits
    >>> digits = Cached(Digits())
    >>> digits[np.array(["digits/1", "digits/1"])].captions
    ('a handwritten one', 'a handwritten one')
    """

    dataset: Source
    limit_bytes: int = 512 * 2**20

    def __post_init__(self) -> None:
        if self.limit_bytes < 0:
            raise InputError("cache limit_bytes", self.limit_bytes, "a number of bytes of at least 0")

    @property
    def classes(self) -> tuple[str, ...] | None:
        """The data set's class names."""
        return self.dataset.classes

    def __len__(self) -> int:
        return len(self.dataset)

    def ids(self) -> NDArray[np.str_]:
        """Return the data set's ids, (N,)."""
        return self.dataset.ids()

    def __getitem__(self, ids: NDArray[np.str_]) -> Examples:
        """Return the records with these ids, in this order."""
        wanted = np.asarray(ids, dtype=np.str_)
        slots = self._kept.slots
        at = np.array([slots.get(name, -1) for name in wanted.tolist()], dtype=np.int64)
        old, new = np.flatnonzero(at >= 0), np.flatnonzero(at < 0)
        if len(old) and not len(new):
            return self._kept.records(at)
        distinct, rows = np.unique(wanted[new], return_inverse=True)
        fetched = self.dataset[distinct]
        self._kept.add(fetched)
        return interleave([(old, self._kept.records(at[old])), (new, fetched.take(rows))])

    def annotations(self, ids: NDArray[np.str_]) -> Annotations:
        """Return captions and labels of these records, in this order."""
        return annotations_of(self.dataset, ids)

    def fingerprint(self) -> str:
        """Return the data set's own fingerprint: a cache changes no record."""
        return self.dataset.fingerprint()

    @cached_property
    def _kept(self) -> _Kept:
        first = self.dataset[self.dataset.ids()[:1]]
        capacity = min(len(self.dataset), self.limit_bytes // first.images[0].nbytes)
        return _Kept(first, capacity)


class _Kept:
    """Up to `capacity` records by slot, filled from the front and never overwritten; memory is used as it fills."""

    def __init__(self, pattern: Examples, capacity: int) -> None:
        self.slots: dict[str, int] = {}
        self._images = np.empty((capacity, *pattern.images.shape[1:]), dtype=np.uint8)
        self._labels = None if pattern.labels is None else np.empty(capacity, dtype=np.int64)
        self._captions: list[str] | None = None if pattern.captions is None else []
        self._others: list[tuple[str, ...]] = []
        self._ids: list[str] = []

    def add(self, records: Examples) -> None:
        """Keep as many of these new records as still fit."""
        start = len(self._ids)
        kept = records.take(slice(len(self._images) - start))
        end = start + len(kept)
        self._images[start:end] = kept.images
        if self._labels is not None and kept.labels is not None:
            self._labels[start:end] = kept.labels
        if self._captions is not None:
            self._captions.extend(kept.captions or ())
        self._others.extend(kept.other_captions or ((),) * len(kept))
        self._ids.extend(kept.ids.tolist())
        self.slots.update(zip(self._ids[start:], range(start, end), strict=True))

    def records(self, slots: NDArray[np.int64]) -> Examples:
        """Return the records in these slots, in this order."""
        captions, rows = self._captions, slots.tolist()
        others = tuple(self._others[row] for row in rows)
        return Examples(
            ids=np.array([self._ids[row] for row in rows], dtype=np.str_),
            images=self._images[slots],
            captions=None if captions is None else tuple(captions[row] for row in rows),
            labels=None if self._labels is None else self._labels[slots],
            other_captions=others if any(others) else None,
        )
