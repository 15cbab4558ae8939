"""Copies among records: by their pixels, and captions that several images share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pytest

from dpaudit.accounting.facts import Duplicates
from dpaudit.data.examples import Examples
from dpaudit.training.evidence import duplicates

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Drawn:
    """Records "0", "1", ... whose picture and caption are given."""

    pictures: tuple[int, ...]
    texts: tuple[str, ...] | None = None
    others: tuple[tuple[str, ...], ...] | None = None

    @property
    def classes(self) -> None:
        return None

    def __len__(self) -> int:
        return len(self.pictures)

    def ids(self) -> NDArray[np.str_]:
        return np.arange(len(self)).astype(np.str_)

    def __getitem__(self, ids: NDArray[np.str_]) -> Examples:
        rows = [int(name) for name in ids.tolist()]
        images = np.stack([np.full((3, 2, 2), self.pictures[row], dtype=np.uint8) for row in rows])
        captions = None if self.texts is None else tuple(self.texts[row] for row in rows)
        others = None if self.others is None else tuple(self.others[row] for row in rows)
        return Examples(ids=ids, images=images, captions=captions, other_captions=others)

    def fingerprint(self) -> str:
        return "drawn"


CAPTIONS = ("a cat", "a cat", "a dog", "a dog", "a bird", "a fish")


@pytest.mark.parametrize(
    ("pictures", "texts", "read", "found"),
    [
        ((1, 2, 3, 4, 5, 6), None, True, Duplicates(compared=6, sharing=0, largest=1)),
        ((1, 2, 3, 1, 5, 1), None, False, Duplicates(compared=6, sharing=3, largest=3)),
        ((1, 1, 2, 2, 5, 6), None, False, Duplicates(compared=6, sharing=4, largest=2)),
        ((1, 2, 3, 4, 5, 6), CAPTIONS, True, Duplicates(compared=6, sharing=0, largest=1, captions=4)),
        ((1, 2, 3, 4, 5, 6), CAPTIONS, False, Duplicates(compared=6, sharing=0, largest=1)),
        # two records with one image and one caption: the image is the copy, the caption is no further evidence
        ((1, 1, 3, 4, 5, 6), CAPTIONS, True, Duplicates(compared=6, sharing=2, largest=2, captions=2)),
    ],
)
def test_copies_are_counted(
    pictures: tuple[int, ...], texts: tuple[str, ...] | None, read: bool, found: Duplicates
) -> None:
    data = Drawn(pictures, texts)
    assert duplicates(data, data.ids(), captions=read) == found


def test_chunks_do_not_hide_a_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dpaudit.training.evidence._CHUNK", 2)
    data = Drawn((1, 2, 3, 4, 1, 6))
    assert duplicates(data, data.ids(), captions=False).sharing == 2


def test_only_the_first_are_compared_and_that_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dpaudit.training.evidence._MOST_COMPARED", 4)
    data = Drawn((1, 2, 3, 4, 1, 6))
    assert duplicates(data, data.ids(), captions=False) == Duplicates(compared=4, sharing=0, largest=1)


def test_records_that_share_any_of_their_captions_count_once_each() -> None:
    data = Drawn((0, 1, 2, 3), ("a cat", "a dog", "a bird", "a fish"), (("a pet",), ("a pet", "a dog"), (), ("a cat",)))
    assert duplicates(data, data.ids(), captions=True).captions == 3
