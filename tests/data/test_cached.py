"""The cache changes no record, decodes what it keeps once, and stays within its limit."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pytest

from dpaudit.data.annotations import annotations_of
from dpaudit.data.cached import Cached
from dpaudit.data.digits import Digits
from dpaudit.data.folder import ImageFolder
from dpaudit.errors import InputError
from dpaudit.plugins import Dataset

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from dpaudit.data.examples import Examples

RECORD = 3 * 8 * 8


@dataclass(frozen=True)
class Counting:
    """Digits that note who was asked for."""

    digits: Digits = field(default_factory=lambda: Digits(image_size=8))
    asked: list[str] = field(default_factory=list)

    @property
    def classes(self) -> tuple[str, ...]:
        return self.digits.classes

    def __len__(self) -> int:
        return len(self.digits)

    def ids(self) -> NDArray[np.str_]:
        return self.digits.ids()

    def __getitem__(self, ids: NDArray[np.str_]) -> Examples:
        self.asked.extend(ids.tolist())
        return self.digits[ids]

    def fingerprint(self) -> str:
        return self.digits.fingerprint()


def same(left: Examples, right: Examples) -> bool:
    return (
        left.ids.tolist() == right.ids.tolist()
        and np.array_equal(left.images, right.images)
        and left.captions == right.captions
        and (left.labels is None) == (right.labels is None)
        and (left.labels is None or np.array_equal(left.labels, right.labels))  # type: ignore[arg-type]  # both are arrays here
    )


@pytest.mark.parametrize("records", [0, 1, 7, 50, 5_000])
def test_any_sequence_of_requests_is_answered_as_without_it(records: int) -> None:
    plain = Digits(image_size=8)
    cached = Cached(plain, limit_bytes=records * RECORD + RECORD // 2)
    ids, rng = plain.ids()[:80], np.random.default_rng(records)
    for size in (0, 1, 5, 40, 0, 80, 200, 3):
        asked = rng.choice(ids, size=size)
        assert same(cached[asked], plain[asked])


def test_what_is_kept_is_decoded_once() -> None:
    source = Counting()
    cached = Cached(source)
    ids = source.ids()
    cached[ids[[5, 6, 5]]]
    source.asked.clear()
    cached[ids[[6, 7, 5, 7]]]
    assert source.asked == [ids[7]]
    cached[ids[[7, 6, 5]]]
    assert source.asked == [ids[7]]


def test_the_limit_is_kept_and_the_first_stay() -> None:
    source = Counting()
    cached = Cached(source, limit_bytes=3 * RECORD)
    ids = source.ids()
    cached[ids[10:12]]
    cached[ids[20:24]]
    source.asked.clear()
    cached[ids[[10, 11, 20, 21, 22]]]
    assert source.asked == ids[[21, 22]].tolist()
    assert cached._kept._images.nbytes == 3 * RECORD


def test_it_is_the_same_data_set(folder: Path) -> None:
    plain = ImageFolder(path=str(folder), image_size=8)
    cached = Cached(plain)
    assert isinstance(cached, Dataset)
    assert cached.fingerprint() == plain.fingerprint()
    assert cached.classes == plain.classes
    assert len(cached) == len(plain)
    assert same(cached[plain.ids()], plain[plain.ids()])
    assert annotations_of(cached, plain.ids()[:1]) == plain.annotations(plain.ids()[:1])


def test_a_changed_answer_does_not_change_what_is_kept() -> None:
    cached = Cached(Digits(image_size=8))
    ids = cached.ids()[:2]
    for _ in range(2):
        records = cached[ids]
        records.images[:] = 0
    assert cached[ids].images.any()


def test_wrong_requests_and_limits_are_refused() -> None:
    with pytest.raises(InputError, match="limit_bytes"):
        Cached(Digits(), limit_bytes=-1)
    with pytest.raises(InputError, match="data id = 'nobody'"):
        Cached(Digits())[np.array(["digits/0", "nobody"])]
