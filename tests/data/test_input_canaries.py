"""Inserted records are what their kind says, repeatable one by one, and served beside the data."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

import numpy as np
import pytest

from dpaudit.canaries import InputKind
from dpaudit.data.csv import CsvPairs
from dpaudit.data.digits import Digits
from dpaudit.data.folder import ImageFolder
from dpaudit.data.input_canaries import make_canaries
from dpaudit.errors import InputError
from dpaudit.rng import Rng

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from dpaudit.data.examples import Examples

RNG = Rng.from_seed(5)
DIGITS = Digits(image_size=8)
HELD_OUT = DIGITS.ids()[100:700]


def labels(records: Examples) -> NDArray[np.int64]:
    assert records.labels is not None
    return records.labels


def origins(canaries: Examples) -> Examples:
    """Return the held-out record behind each canary's image."""
    held_out = DIGITS[HELD_OUT]
    by_image = {image.tobytes(): row for row, image in enumerate(held_out.images)}
    return held_out.take(np.array([by_image[image.tobytes()] for image in canaries.images]))


@pytest.mark.parametrize("kind", get_args(InputKind))
def test_a_larger_count_only_appends(kind: InputKind) -> None:
    few, many = (make_canaries(kind, count, DIGITS, HELD_OUT, RNG) for count in (5, 40))
    head = many.take(slice(5))
    assert few.ids.tolist() == head.ids.tolist() == [f"{kind}/{number}" for number in range(5)]
    assert np.array_equal(few.images, head.images)
    assert few.captions == head.captions
    assert np.array_equal(labels(few), labels(head))
    other = make_canaries(kind, 40, DIGITS, HELD_OUT, Rng.from_seed(6))
    assert not np.array_equal(other.images, many.images)


def test_noise_is_uniform_in_pixels_labels_and_captions() -> None:
    made = make_canaries("noise", 500, DIGITS, HELD_OUT, RNG)
    assert made.images.dtype == np.uint8
    assert made.images.shape == (500, 3, 8, 8)
    counts = np.bincount(made.images.ravel(), minlength=256)
    expected = made.images.size / 256
    assert abs(((counts - expected) ** 2 / expected).sum() - 255) < 5 * np.sqrt(2 * 255)
    assert len({image.tobytes() for image in made.images}) == 500
    shares = np.bincount(labels(made), minlength=10)
    assert np.abs(shares - 50).max() < 5 * np.sqrt(500 * 0.1 * 0.9)
    assert set(made.captions or ()) == {f"a handwritten {name}" for name in DIGITS.classes}
    agree = np.mean(
        [
            f"a handwritten {DIGITS.classes[label]}" == text
            for label, text in zip(labels(made), made.captions or (), strict=True)
        ]
    )
    assert agree < 0.2


def test_blank_images_have_one_colour_each_and_no_two_the_same() -> None:
    made = make_canaries("blank", 400, DIGITS, HELD_OUT, RNG)
    assert (made.images == made.images[:, :, :1, :1]).all()
    assert len({image.tobytes() for image in made.images}) == 400
    assert len(np.unique(made.images[:, 0, 0, 0])) > 100
    assert made.captions is not None


def test_pictures_from_elsewhere_are_neither_noise_nor_of_the_data() -> None:
    made = make_canaries("out_of_distribution", 40, DIGITS, HELD_OUT, RNG)
    assert made.images.shape == (40, 3, 8, 8)
    assert len({image.tobytes() for image in made.images}) == 40
    known = {image.tobytes() for image in DIGITS[DIGITS.ids()].images}
    assert not known & {image.tobytes() for image in made.images}
    assert {record[0] for record in made.ids.astype(str).tolist()} == {"o"}


def test_new_tokens_are_in_no_caption_and_random_ones_are_in_some() -> None:
    known = {word for caption in DIGITS[DIGITS.ids()].captions or () for word in caption.split()}
    new = make_canaries("new_token", 60, DIGITS, HELD_OUT, RNG)
    odd = make_canaries("high_entropy", 60, DIGITS, HELD_OUT, RNG)
    for made in (new, odd):
        real = origins(made)
        assert len(set(real.ids.tolist())) == 60
        assert np.array_equal(labels(made), labels(real))
        pairs = zip(made.captions or (), real.captions or (), strict=True)
        assert all(len(text.split()) == len(own.split()) for text, own in pairs)
    assert not known & {word for caption in new.captions or () for word in caption.split()}
    assert {word for caption in odd.captions or () for word in caption.split()} <= known
    assert len(set(odd.captions or ())) > 50


def test_mislabelled_are_real_images_with_every_wrong_label_alike() -> None:
    made = make_canaries("mislabelled", 600, DIGITS, HELD_OUT, RNG)
    real = origins(made)
    assert made.captions == real.captions
    assert len(set(real.ids.tolist())) == 600
    shift = (labels(made) - labels(real)) % 10
    shares = np.bincount(shift, minlength=10)
    assert shares[0] == 0
    assert np.abs(shares[1:] - 600 / 9).max() < 5 * np.sqrt(600 / 9)


def test_miscaptioned_are_real_images_with_a_caption_of_another_class() -> None:
    made = make_canaries("miscaptioned", 300, DIGITS, HELD_OUT, RNG)
    real = origins(made)
    assert np.array_equal(labels(made), labels(real))
    assert len(set(real.ids.tolist())) == 300
    known = {f"a handwritten {name}" for name in DIGITS.classes}
    for caption, truth in zip(made.captions or (), real.captions or (), strict=True):
        assert caption in known - {truth}


def test_lenders_of_captions_are_of_another_class_and_drawn_one_by_one(
    tmp_path: Path, encode: Callable[..., bytes]
) -> None:
    for row in range(40):
        (tmp_path / f"{row}.png").write_bytes(encode(row))
    lines = "".join(f"{row}.png,caption {row},{'even' if row % 2 == 0 else 'odd'}\n" for row in range(40))
    (tmp_path / "list.csv").write_text("path,caption,label\n" + lines)
    data = CsvPairs(path=str(tmp_path / "list.csv"), image_size=8)
    made = make_canaries("miscaptioned", 40, data, data.ids(), RNG)
    lenders = [int(caption.split()[1]) for caption in made.captions or ()]
    assert [lender % 2 for lender in lenders] == (1 - labels(made)).tolist()
    assert len(set(lenders)) > 15


def test_without_classes_a_different_caption_of_another_record_is_taken(
    tmp_path: Path, encode: Callable[..., bytes]
) -> None:
    for row in range(4):
        (tmp_path / f"{row}.png").write_bytes(encode(row))
    captions = ("same", "same", "same", "other")
    lines = "".join(f"{row}.png,{caption}\n" for row, caption in enumerate(captions))
    (tmp_path / "list.csv").write_text("path,caption\n" + lines)
    data = CsvPairs(path=str(tmp_path / "list.csv"), image_size=8)
    made = make_canaries("miscaptioned", 4, data, data.ids(), RNG)
    assert made.labels is None
    assert sorted(made.captions or ()) == ["other", "other", "other", "same"]
    with pytest.raises(InputError, match="miscaptioned canary"):
        make_canaries("miscaptioned", 1, data, data.ids()[:3], RNG)
    with pytest.raises(InputError, match="data with labels"):
        make_canaries("mislabelled", 1, data, data.ids(), RNG)


def test_data_without_captions_or_labels_get_noise_without_them(tmp_path: Path, encode: Callable[..., bytes]) -> None:
    (tmp_path / "a.png").write_bytes(encode(0))
    data = ImageFolder(path=str(tmp_path), image_size=8)
    made = make_canaries("noise", 3, data, data.ids()[:0], RNG)
    assert made.captions is None
    assert made.labels is None
    with pytest.raises(InputError, match="data with captions"):
        make_canaries("miscaptioned", 1, data, data.ids(), RNG)


@pytest.mark.parametrize(
    ("kind", "count", "held_out", "message"),
    [
        ("noise", 0, 5, "at least 1 noise"),
        ("noise", 2, 0, "at least 1 held-out record"),
        ("mislabelled", 6, 5, "at most 5 mislabelled"),
        ("miscaptioned", -1, 5, "at least 1 miscaptioned"),
    ],
)
def test_counts_that_cannot_be_are_refused(kind: InputKind, count: int, held_out: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_canaries(kind, count, DIGITS, HELD_OUT[:held_out], RNG)
