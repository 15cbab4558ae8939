"""A few records in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Examples", "concatenate", "interleave"]


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Records, one privacy unit each.

    ids: (n,) strings; images: (n, 3, S, S) uint8; captions: n strings or None; labels: (n,) int64 or None.
    other_captions: what else is said of each image, n tuples, None where nothing is said of any.
    """

    ids: NDArray[np.str_]
    images: NDArray[np.uint8]
    captions: tuple[str, ...] | None = None
    labels: NDArray[np.int64] | None = None
    other_captions: tuple[tuple[str, ...], ...] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, index: NDArray[np.integer] | slice) -> Examples:
        """Return the records at these positions."""
        rows = range(len(self))[index] if isinstance(index, slice) else [int(row) for row in index]
        captions, others = self.captions, self.other_captions
        return Examples(
            ids=self.ids[index],
            images=self.images[index],
            captions=None if captions is None else tuple(captions[row] for row in rows),
            labels=None if self.labels is None else self.labels[index],
            other_captions=None if others is None else tuple(others[row] for row in rows),
        )


def concatenate(parts: list[Examples]) -> Examples:
    """Return the records of all parts in order; captions and labels stay only when every part has them."""
    captions: tuple[str, ...] | None = None
    if all(part.captions is not None for part in parts):
        captions = tuple(caption for part in parts for caption in part.captions or ())
    labels = [part.labels for part in parts if part.labels is not None]
    others = tuple(other for part in parts for other in part.other_captions or ((),) * len(part))
    return Examples(
        ids=np.concatenate([part.ids for part in parts]),
        images=np.concatenate([part.images for part in parts]),
        captions=captions,
        labels=np.concatenate(labels) if len(labels) == len(parts) else None,
        other_captions=others if captions is not None and any(others) else None,
    )


def interleave(parts: list[tuple[NDArray[np.int64], Examples]]) -> Examples:
    """Return the records of all parts, each at the position that its part gives; together they are 0, ..., n - 1."""
    order = np.argsort(np.concatenate([positions for positions, _ in parts]))
    return concatenate([records for _, records in parts]).take(order)
