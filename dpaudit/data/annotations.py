"""Captions and labels of a data set without its images, and the index that every source is built on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from dpaudit.data.examples import Examples
from dpaudit.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["Annotated", "Annotations", "Index", "Source", "annotations_of", "check_complete"]

_CHUNK = 1024


class Source(Protocol):
    """What `dpaudit.plugins.Dataset` promises, as seen from this layer, which imports no contract."""

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Class names by label, or None without labels."""

    def __len__(self) -> int: ...

    def ids(self) -> NDArray[np.str_]:
        """Return all ids, (N,) strings."""

    def __getitem__(self, ids: NDArray[np.str_]) -> Examples:
        """Return the records with these ids, in this order."""

    def fingerprint(self) -> str:
        """Return a short hash that changes when the data changes."""


@dataclass(frozen=True, kw_only=True)
class Annotations:
    """What is known of n records beside their images: n captions or None, labels (n,) int64 or None."""

    captions: tuple[str, ...] | None
    labels: NDArray[np.int64] | None


@runtime_checkable
class Annotated(Protocol):
    """A capability: captions and labels are known without decoding an image."""

    def annotations(self, ids: NDArray[np.str_]) -> Annotations:
        """Return captions and labels of these records, in this order."""


def annotations_of(source: Source, ids: NDArray[np.str_]) -> Annotations:
    """Return captions and labels of these records; a source that is not `Annotated` is read record by record."""
    if isinstance(source, Annotated):
        return source.annotations(ids)
    parts = [source[ids[start : start + _CHUNK]] for start in range(0, max(len(ids), 1), _CHUNK)]
    captions = [part.captions for part in parts if part.captions is not None]
    labels = [part.labels for part in parts if part.labels is not None]
    return Annotations(
        captions=tuple(caption for part in captions for caption in part) if len(captions) == len(parts) else None,
        labels=np.concatenate(labels) if len(labels) == len(parts) else None,
    )


def check_complete(records: Examples, read: frozenset[str]) -> None:
    """Raise InputError when a record lacks what is read of it: "caption" or "label"; a blank caption is none.

    >>> nothing = Examples(ids=np.array(["a"]), images=np.zeros((1, 3, 2, 2), dtype=np.uint8), captions=(" ",))
    >>> check_complete(nothing, frozenset({"image", "caption"}))
    Traceback (most recent call last):
    ...
    dpaudit.errors.InputError: caption of a = ' ': expected text
    """
    if "label" in read and records.labels is None:
        raise InputError("data labels", None, "labels, which the trainer reads")
    if "caption" not in read:
        return
    if records.captions is None:
        raise InputError("data captions", None, "captions, which the trainer reads")
    others = records.other_captions or ((),) * len(records)
    for identity, caption, other in zip(records.ids.tolist(), records.captions, others, strict=True):
        for each in (caption, *other):
            if not each.strip():
                raise InputError(f"caption of {identity}", each, "text")


@dataclass(frozen=True, kw_only=True)
class Index:
    """A data set without its images: N ids, and captions, labels and class names where there are any.

    captions: the first of each record; other_captions: the others, N tuples.

    >>> index = Index(ids=np.array(["a.png", "b.png"]), captions=("one", "two"))
    >>> index.annotations(np.array(["b.png", "b.png"])).captions
    ('two', 'two')
    """

    ids: NDArray[np.str_]
    captions: Sequence[str] | None = None
    labels: NDArray[np.int64] | None = None
    classes: tuple[str, ...] | None = None
    other_captions: Sequence[tuple[str, ...]] | None = None

    def positions(self, ids: NDArray[np.str_]) -> NDArray[np.int64]:
        """Return where each id stands, (n,), or raise InputError naming the first id that is not here."""
        wanted = np.asarray(ids, dtype=np.str_).tolist()
        try:
            return np.fromiter((self._rows[name] for name in wanted), dtype=np.int64, count=len(wanted))
        except KeyError as error:
            raise InputError("data id", error.args[0], f"an id of this data set, such as {self.ids[0]}") from error

    def annotations(self, ids: NDArray[np.str_]) -> Annotations:
        """Return captions and labels of these records, in this order."""
        return self._at(self.positions(ids))

    def examples(self, positions: NDArray[np.int64], images: NDArray[np.uint8]) -> Examples:
        """Return the records at these positions with their images, (n, 3, S, S)."""
        known, others = self._at(positions), self.other_captions
        return Examples(
            ids=self.ids[positions],
            images=images,
            captions=known.captions,
            labels=known.labels,
            other_captions=None if others is None else tuple(others[row] for row in positions.tolist()),
        )

    def _at(self, positions: NDArray[np.int64]) -> Annotations:
        captions = self.captions
        return Annotations(
            captions=None if captions is None else tuple(captions[row] for row in positions.tolist()),
            labels=None if self.labels is None else self.labels[positions],
        )

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {name: row for row, name in enumerate(self.ids.tolist())}


class Indexed(ABC):
    """What a data set that has an `Index` can say without an image. A format adds images and a fingerprint."""

    @property
    @abstractmethod
    def _index(self) -> Index:
        """Return the index."""

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Class names by label, or None without labels."""
        return self._index.classes

    def __len__(self) -> int:
        return len(self._index.ids)

    def ids(self) -> NDArray[np.str_]:
        """Return all ids, (N,) strings, always in the same order."""
        return self._index.ids

    def annotations(self, ids: NDArray[np.str_]) -> Annotations:
        """Return captions and labels of these records, in this order."""
        return self._index.annotations(ids)
