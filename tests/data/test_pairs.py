"""Pairs of images: one class, no image twice, fixed by the data alone, and records like any other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pytest

from dpaudit.data.annotations import Annotations, annotations_of
from dpaudit.data.cached import Cached
from dpaudit.data.digits import Digits
from dpaudit.data.pairs import Pairs
from dpaudit.data.procedural.source import Procedural
from dpaudit.errors import InputError
from dpaudit.plugins import Dataset

if TYPE_CHECKING:
    from dpaudit.data.examples import Examples

PAIRS = Pairs(Digits(image_size=8))


def halves(data: Pairs) -> list[list[str]]:
    return [identity.split("+") for identity in data.ids().tolist()]


def test_they_are_a_data_set() -> None:
    assert isinstance(PAIRS, Dataset)
    assert PAIRS.classes == Digits().classes
    assert len(PAIRS) == len(PAIRS.ids()) == 896


def test_no_image_is_in_two_pairs_and_both_are_of_one_class() -> None:
    images = [each for pair in halves(PAIRS) for each in pair]
    assert len(set(images)) == len(images)
    labels = annotations_of(PAIRS.source, np.array(images)).labels
    assert labels is not None
    assert np.array_equal(labels[::2], labels[1::2])


def test_all_images_but_one_of_each_odd_class_are_in_a_pair() -> None:
    labels = annotations_of(PAIRS.source, PAIRS.source.ids()).labels
    assert labels is not None
    assert len(PAIRS) == sum(count // 2 for count in np.bincount(labels))


def test_a_record_has_both_images_the_first_ones_label_and_caption() -> None:
    ids = PAIRS.ids()[[5, 700]]
    records, (first, second) = PAIRS[ids], zip(*(identity.split("+") for identity in ids.tolist()), strict=True)
    assert records.images.shape == (2, 6, 8, 8)
    assert np.array_equal(records.images[:, :3], PAIRS.source[np.array(first)].images)
    assert np.array_equal(records.images[:, 3:], PAIRS.source[np.array(second)].images)
    known = PAIRS.annotations(ids)
    assert records.captions == known.captions == PAIRS.source[np.array(first)].captions
    assert np.array_equal(np.asarray(records.labels), np.asarray(known.labels))


def test_the_pairing_is_that_of_the_data_whatever_the_image_size() -> None:
    assert np.array_equal(Pairs(Digits(image_size=4)).ids(), PAIRS.ids())
    neighbours = np.array([int(b.split("/")[1]) - int(a.split("/")[1]) for a, b in halves(PAIRS)])
    assert len(set(neighbours.tolist())) > 300  # not the order of the file


def test_a_cache_holds_pairs() -> None:
    cached, ids = Cached(PAIRS), PAIRS.ids()[:3]
    assert np.array_equal(cached[ids].images, PAIRS[ids].images)
    assert np.array_equal(cached[ids].images, PAIRS[ids].images)


def test_the_fingerprint_is_its_own_and_follows_the_source() -> None:
    assert PAIRS.fingerprint() not in (PAIRS.source.fingerprint(), Pairs(Digits(image_size=4)).fingerprint())
    assert PAIRS.fingerprint() == Pairs(Digits(image_size=8)).fingerprint()


def test_an_unknown_pair_is_refused() -> None:
    with pytest.raises(InputError, match="an id of this data set"):
        PAIRS[np.array(["digits/0+digits/1"])]


def test_data_without_labels_or_with_one_image_per_class_cannot_be_paired() -> None:
    with pytest.raises(InputError, match="data with labels"):
        len(Pairs(Procedural(size=4)))
    with pytest.raises(InputError, match="two images of one class"):
        len(Pairs(_Few()))


@dataclass(frozen=True)
class _Few:
    """Two images of two classes."""

    classes: tuple[str, ...] = ("a", "b")

    def __len__(self) -> int:
        return 2

    def ids(self) -> np.ndarray[tuple[int], np.dtype[np.str_]]:
        return np.array(["x", "y"])

    def __getitem__(self, ids: np.ndarray[tuple[int], np.dtype[np.str_]]) -> Examples:
        raise AssertionError(ids)

    def annotations(self, ids: np.ndarray[tuple[int], np.dtype[np.str_]]) -> Annotations:
        return Annotations(captions=None, labels=np.array([0, 1])[: len(ids)])

    def fingerprint(self) -> str:
        return "few"
