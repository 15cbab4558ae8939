"""A data set with inserted records behind its own: training sees one data set."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from dpaudit.data.examples import Examples, interleave
from dpaudit.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dpaudit.data.annotations import Source

__all__ = ["WithCanaries"]


@dataclass(frozen=True)
class WithCanaries:
    """The records of a data set and, behind them, canaries held in memory; all are asked for by id in the same way.

    The canaries must have what the data set's records have (image size, captions or not, labels or not) and new ids.
    """

    dataset: Source
    canaries: Examples

    def __post_init__(self) -> None:
        clash = self._rows.keys() & set(self.dataset.ids().tolist())
        if clash:
            raise InputError("canary id", min(clash), "an id that no record has")
        if len(self._rows) < len(self.canaries):
            raise InputError("canary ids", self.canaries.ids.tolist(), "ids without repetition")
        wanted, found = _facts(self.dataset[self.dataset.ids()[:1]]), _facts(self.canaries)
        if wanted != found:
            raise InputError("canaries", found, f"what the data set's records have, {wanted}")

    @property
    def classes(self) -> tuple[str, ...] | None:
        """The data set's class names."""
        return self.dataset.classes

    def __len__(self) -> int:
        return len(self.dataset) + len(self.canaries)

    def ids(self) -> NDArray[np.str_]:
        """Return the data set's ids, then the canaries', (N + m,)."""
        return np.concatenate([self.dataset.ids(), self.canaries.ids])

    def __getitem__(self, ids: NDArray[np.str_]) -> Examples:
        """Return the records and canaries with these ids, in this order."""
        wanted = np.asarray(ids, dtype=np.str_)
        rows = np.array([self._rows.get(name, -1) for name in wanted.tolist()], dtype=np.int64)
        real, inserted = np.flatnonzero(rows < 0), np.flatnonzero(rows >= 0)
        parts = [(inserted, self.canaries.take(rows[inserted]))]
        if len(real) or not len(wanted):
            parts.append((real, self.dataset[wanted[real]]))
        return interleave(parts)

    def fingerprint(self) -> str:
        """Return a hash of the data set's fingerprint and of the canaries whole."""
        canaries = self.canaries
        labels = None if canaries.labels is None else canaries.labels.tolist()
        told = repr((self.dataset.fingerprint(), canaries.ids.tolist(), canaries.captions, labels))
        return hashlib.blake2b(told.encode() + canaries.images.tobytes(), digest_size=16).hexdigest()

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {name: row for row, name in enumerate(self.canaries.ids.tolist())}


def _facts(records: Examples) -> dict[str, object]:
    return {
        "image": records.images.shape[1:],
        "captions": records.captions is not None,
        "labels": records.labels is not None,
    }
