"""Inserted records, unlike anything else in the data, so that a model which trained on one may give itself away."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, assert_never

import numpy as np

from dpaudit.data.annotations import annotations_of
from dpaudit.data.examples import Examples
from dpaudit.data.procedural.source import Procedural
from dpaudit.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dpaudit.canaries import InputKind
    from dpaudit.data.annotations import Source
    from dpaudit.rng import Rng

__all__ = ["READS", "make_canaries"]

#: what a trainer must read of a record, beside its image, for a canary of this kind to be unlike other records
READS: dict[InputKind, str] = {
    "mislabelled": "label",
    "miscaptioned": "caption",
    "new_token": "caption",
    "high_entropy": "caption",
}
_COLOURS, _ODD = 1 << 24, 0x9E3779B1  # an odd step visits every colour once
_LETTERS, _LETTERS_PER_WORD = "abcdefghijklmnopqrstuvwxyz", 7


def make_canaries(kind: InputKind, count: int, source: Source, held_out: NDArray[np.str_], rng: Rng) -> Examples:
    """Return `count` records of one kind, ids "noise/0", "noise/1", ...

    held_out: ids of records that are otherwise not trained on, (m,). Made-up pictures have the caption of a random
    held-out record and a random label where the data have them. noise: uniform random pixels, and what gradient_max
    starts from. blank: one colour, each another. out_of_distribution: a picture of `procedural`. The others are
    held-out images. mislabelled: with a wrong label, uniform over the others. miscaptioned: with a different caption of
    another held-out record, of another class where there are classes. new_token: with as many made-up words as its own
    caption has. high_entropy: with as many words drawn uniformly from all that the held-out captions use.
    Images are never used twice. Canary i depends on the key, the kind, the held-out ids and i: a larger count only
    appends.

    >>> from dpaudit.data.digits import Digits
    >>> from dpaudit.rng import Rng
    >>> digits = Digits()
    >>> canaries = make_canaries("mislabelled", 2, digits, digits.ids()[:50], Rng.from_seed(0))
    >>> canaries.ids.tolist(), canaries.images.shape
    (['mislabelled/0', 'mislabelled/1'], (2, 3, 16, 16))
    """
    rng = rng.child(kind)
    if count < 1:
        raise InputError("input canaries", count, f"at least 1 {kind} canary")
    match kind:
        case "noise" | "gradient_max":
            return _made_up(kind, count, source, held_out, rng)
        case "blank" | "out_of_distribution":
            made = _made_up(kind, count, source, held_out, rng)
            paint = _blank if kind == "blank" else _elsewhere
            return dataclasses.replace(made, images=paint(made.images.shape, rng))
    if len(held_out) < count:
        raise InputError("input canaries", count, f"at most {len(held_out)} {kind} canaries, one per held-out record")
    order = rng.child("sources").numpy().permutation(len(held_out))
    match kind:
        case "mislabelled":
            return _mislabelled(source, held_out[order[:count]], rng)
        case "miscaptioned":
            return _miscaptioned(count, source, held_out[order], rng)
        case "new_token" | "high_entropy":
            return _reworded(kind, count, source, held_out[order], rng)
    assert_never(kind)


def _made_up(kind: InputKind, count: int, source: Source, held_out: NDArray[np.str_], rng: Rng) -> Examples:
    """Return noise with annotations."""
    known = annotations_of(source, held_out)
    shape = source[source.ids()[:1]].images.shape[1:]
    draws = [rng.child(number).numpy() for number in range(count)]
    images = np.stack([draw.integers(0, 256, size=shape, dtype=np.uint8) for draw in draws])
    captions, labels = None, None
    if known.captions is not None:
        if not known.captions:
            raise InputError("input canaries", 0, "at least 1 held-out record to lend captions")
        captions = tuple(known.captions[int(draw.integers(len(known.captions)))] for draw in draws)
    if source.classes is not None:
        labels = np.array([draw.integers(len(source.classes)) for draw in draws], dtype=np.int64)
    return Examples(ids=_ids(kind, count), images=images, captions=captions, labels=labels)


def _blank(shape: tuple[int, ...], rng: Rng) -> NDArray[np.uint8]:
    """Return images of one colour, no two alike: two records with one image would be one person's."""
    count, channels, *_ = shape
    colours = (rng.child("colour").integer(24) + np.arange(count, dtype=np.int64) * _ODD) % _COLOURS
    parts = np.stack([colours >> 16, colours >> 8 & 255, colours & 255], axis=1).astype(np.uint8)
    images = np.empty(shape, dtype=np.uint8)
    images[:] = np.tile(parts, channels // 3)[:, :, None, None]
    return images


def _elsewhere(shape: tuple[int, ...], rng: Rng) -> NDArray[np.uint8]:
    """Return pictures of formulas, leaves and coloured noise; two for each pair of images."""
    count, channels, side, _ = shape
    pictures = Procedural(size=count * channels // 3, image_size=side, seed=rng.child("pictures").integer(31))
    return pictures[pictures.ids()].images.reshape(shape)


def _reworded(kind: InputKind, count: int, source: Source, ordered: NDArray[np.str_], rng: Rng) -> Examples:
    """`ordered`: all held-out ids, the first `count` of which lend their images; all lend their words."""
    known = annotations_of(source, ordered)
    if known.captions is None:
        raise InputError("input canaries", kind, "data with captions")
    vocabulary = sorted({word for caption in known.captions for word in caption.split()})
    captions = []
    for number in range(count):
        draw, length = rng.child(number).numpy(), max(1, len(known.captions[number].split()))
        if kind == "new_token":
            letters = draw.integers(len(_LETTERS), size=(length, _LETTERS_PER_WORD))
            words = ["".join(_LETTERS[each] for each in word) for word in letters.tolist()]
        else:
            words = [vocabulary[each] for each in draw.integers(len(vocabulary), size=length).tolist()]
        captions.append(" ".join(words))
    records = source[ordered[:count]]
    return Examples(ids=_ids(kind, count), images=records.images, captions=tuple(captions), labels=records.labels)


def _mislabelled(source: Source, chosen: NDArray[np.str_], rng: Rng) -> Examples:
    records, classes = source[chosen], source.classes
    if records.labels is None or classes is None or len(classes) < 2:
        raise InputError("input canaries", "mislabelled", "data with labels of at least 2 classes")
    steps = [rng.child(number).numpy().integers(1, len(classes)) for number in range(len(chosen))]
    wrong = (records.labels + np.array(steps, dtype=np.int64)) % len(classes)
    ids = _ids("mislabelled", len(chosen))
    return dataclasses.replace(records, ids=ids, labels=wrong)


def _miscaptioned(count: int, source: Source, ordered: NDArray[np.str_], rng: Rng) -> Examples:
    """`ordered`: all held-out ids, the first `count` of which lend their images; any may lend its caption."""
    known = annotations_of(source, ordered)
    if known.captions is None:
        raise InputError("input canaries", "miscaptioned", "data with captions")
    records = source[ordered[:count]]
    others = records.other_captions or ((),) * count
    texts = np.array(known.captions)
    borrowed = []
    for number in range(count):
        other = ~np.isin(texts, [texts[number], *others[number]])
        if known.labels is not None:
            other &= known.labels != known.labels[number]
        lenders = np.flatnonzero(other)
        if not len(lenders):
            what = "a held-out record with a different caption, of another class where there are classes"
            raise InputError("miscaptioned canary", str(ordered[number]), what)
        borrowed.append(known.captions[int(rng.child(number).numpy().choice(lenders))])
    ids = _ids("miscaptioned", count)
    return Examples(ids=ids, images=records.images, captions=tuple(borrowed), labels=records.labels)


def _ids(kind: InputKind, count: int) -> NDArray[np.str_]:
    return np.array([f"{kind}/{number}" for number in range(count)])
