"""Records and canaries are served alike, and canaries that do not fit are refused."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from dpaudit.data.annotations import annotations_of
from dpaudit.data.digits import Digits
from dpaudit.data.examples import concatenate
from dpaudit.data.input_canaries import make_canaries
from dpaudit.data.with_canaries import WithCanaries
from dpaudit.errors import InputError
from dpaudit.plugins import Dataset
from dpaudit.rng import Rng

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dpaudit.canaries import InputKind
    from dpaudit.data.examples import Examples

RNG = Rng.from_seed(5)
DIGITS = Digits(image_size=8)
HELD_OUT = DIGITS.ids()[100:700]


def labels(records: Examples) -> NDArray[np.int64]:
    assert records.labels is not None
    return records.labels


def test_records_and_canaries_are_served_alike_in_the_order_asked() -> None:
    kinds: tuple[InputKind, ...] = ("noise", "mislabelled")
    canaries = concatenate([make_canaries(kind, 3, DIGITS, HELD_OUT, RNG) for kind in kinds])
    both = WithCanaries(DIGITS, canaries)
    assert isinstance(both, Dataset)
    assert len(both) == 1803
    assert both.classes == DIGITS.classes
    assert both.ids().tolist() == DIGITS.ids().tolist() + canaries.ids.tolist()
    asked = np.array(["mislabelled/2", "digits/8", "noise/0", "digits/3", "noise/0"])
    records = both[asked]
    assert records.ids.tolist() == asked.tolist()
    assert np.array_equal(records.images[[0, 2, 4]], canaries.images[[5, 0, 0]])
    assert np.array_equal(records.images[[1, 3]], DIGITS[asked[[1, 3]]].images)
    assert (records.captions or ())[1] == "a handwritten eight"
    assert labels(records)[0] == labels(canaries)[5]
    for alone in (asked[[0]], asked[[1]], asked[:0]):
        assert both[alone].ids.tolist() == alone.tolist()
        assert both[alone].images.shape == (len(alone), 3, 8, 8)
        assert len(both[alone].captions or ()) == len(alone)
    with pytest.raises(InputError, match=r"data id = 'noise/3'"):
        both[np.array(["noise/3", "noise/1"])]


def test_canaries_that_do_not_fit_the_data_are_refused() -> None:
    canaries = make_canaries("noise", 2, DIGITS, HELD_OUT, RNG)
    cases = {
        "expected an id that no record has": replace(canaries, ids=np.array(["noise/0", "digits/5"])),
        "ids without repetition": replace(canaries, ids=np.array(["noise/0", "noise/0"])),
        "'captions': False": replace(canaries, captions=None),
        "'labels': False": replace(canaries, labels=None),
        r"\(3, 4, 4\)": replace(canaries, images=canaries.images[:, :, :4, :4]),
    }
    for message, wrong in cases.items():
        with pytest.raises(InputError, match=message):
            WithCanaries(DIGITS, wrong)


def test_the_fingerprint_sees_every_part_of_a_canary() -> None:
    canaries = make_canaries("noise", 2, DIGITS, HELD_OUT, RNG)
    images = canaries.images.copy()
    images[1, 2, 7, 7] ^= 1
    variants = [
        canaries,
        replace(canaries, images=images),
        replace(canaries, labels=labels(canaries) + 1),
        replace(canaries, captions=("one", "two")),
        canaries.take(slice(1)),
    ]
    seen = {WithCanaries(DIGITS, variant).fingerprint() for variant in variants}
    assert len(seen) == 5
    assert WithCanaries(DIGITS, canaries).fingerprint() in seen


def test_captions_and_labels_of_a_data_set_without_the_capability_are_read() -> None:
    both = WithCanaries(DIGITS, make_canaries("noise", 2, DIGITS, HELD_OUT, RNG))
    ids = both.ids()[[1798, 4, 1797]]
    known, records = annotations_of(both, ids), both[ids]
    assert known.captions == records.captions
    assert np.array_equal(known.labels, labels(records))  # type: ignore[arg-type]  # digits have labels
    everything = annotations_of(both, both.ids())
    assert len(everything.captions or ()) == 1799
    nothing = annotations_of(both, ids[:0])
    assert nothing.captions == ()
    assert nothing.labels is not None
