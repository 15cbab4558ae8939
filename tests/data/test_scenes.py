"""Scenes: what is said of a picture is what is to be seen in it."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import numpy as np
import pytest

from dpaudit.data.scenes.layout import COLOURS, SHAPES
from dpaudit.data.scenes.source import Scenes
from dpaudit.data.scenes.words import ANSWERS
from dpaudit.errors import InputError

SCENES = Scenes(size=400, image_size=64)


def test_a_scene_depends_on_its_id_and_the_seed_alone() -> None:
    ids = SCENES.ids()
    together, alone = SCENES[ids[:20]], SCENES[ids[7:8]]
    assert np.array_equal(together.images[7], alone.images[0])
    larger, other = Scenes(size=900, image_size=64), Scenes(size=400, image_size=64, seed=1)
    assert np.array_equal(larger[ids[:20]].images, together.images)
    assert not np.array_equal(other[ids[:20]].images, together.images)
    assert len({SCENES.fingerprint(), larger.fingerprint(), other.fingerprint()}) == 3


def test_every_box_holds_its_object_and_nothing_of_another() -> None:
    ids = SCENES.ids()[:100]
    images = SCENES[ids].images.astype(float)
    for image, boxes in zip(images, SCENES.boxes(ids), strict=True):
        for box in boxes:
            left, top, right, bottom = (round(64 * edge) for edge in (box.left, box.top, box.right, box.bottom))
            assert 0 <= left < right <= 64
            assert 0 <= top < bottom <= 64
            pixels = image[:, top:bottom, left:right].reshape(3, -1)
            told = np.array(COLOURS[box.name.split()[1]], dtype=float)[:, None]
            near = np.abs(pixels - told).max(0) < 35
            assert near.mean() > 0.15  # crescents and stars fill the least of their box
        for one, other in combinations(boxes, 2):
            beside = one.right <= other.left or other.right <= one.left
            assert beside or one.bottom <= other.top or other.bottom <= one.top


def test_captions_name_the_objects_and_their_relation() -> None:
    ids = SCENES.ids()
    for boxes, captions in zip(SCENES.boxes(ids), SCENES.all_captions(ids), strict=True):
        first = boxes[0]
        assert captions[0].startswith(f"a {first.name}")
        assert all(box.name in captions[0] for box in boxes)
        if len(boxes) == 1:
            continue
        second = boxes[1]
        dx = (second.left + second.right) - (first.left + first.right)
        dy = (second.top + second.bottom) - (first.top + first.bottom)
        relation = captions[0].removeprefix(f"a {first.name} ").partition(f" a {second.name}")[0]
        assert {"to the left of": dx > 0, "to the right of": dx < 0, "above": dy > 0, "below": dy < 0}[relation]
        back = captions[1].removeprefix(f"a {second.name} ").partition(f" a {first.name}")[0]
        assert {relation, back} in ({"to the left of", "to the right of"}, {"above", "below"})


def test_answers_are_right_and_yes_is_as_common_as_no() -> None:
    ids = SCENES.ids()
    said: Counter[str] = Counter()
    for boxes, questions in zip(SCENES.boxes(ids), SCENES.questions(ids), strict=True):
        shape_of = {box.name.split()[1]: box.name.split()[2] for box in boxes}
        assert len(shape_of) == len(boxes)
        number, colour, shape, present, *relation = questions
        assert number.answer == ("one", "two", "three")[len(boxes) - 1]
        assert colour.answer == boxes[0].name.split()[1]
        assert shape.answer == shape_of[shape.text.split()[4]]
        asked_colour, asked_shape = present.text.removesuffix("?").split()[3:]
        assert (shape_of.get(asked_colour) == asked_shape) == (present.answer == "yes")
        assert len(relation) == (len(boxes) > 1)
        for question in questions:
            assert question.answer in ANSWERS
            said[question.answer] += 1
        for question in relation:
            one = next(box for box in boxes if box.name.split()[1] == question.text.split()[2])
            last = question.text.removesuffix(" object?").split()[-1]
            other = next(box for box in boxes if box.name.split()[1] == last)
            true = {
                "left": one.left < other.left,
                "right": one.left > other.left,
                "above": one.top < other.top,
                "below": one.top > other.top,
            }
            word = next(word for word in true if f" {word} " in question.text)
            assert true[word] == (question.answer == "yes")
    assert 0.4 < said["yes"] / (said["yes"] + said["no"]) < 0.6


def test_labels_are_the_large_shapes_and_all_occur() -> None:
    records = SCENES[SCENES.ids()]
    assert records.labels is not None
    assert records.captions is not None
    assert [SHAPES[label] for label in records.labels] == [caption.split()[3] for caption in records.captions]
    assert np.bincount(records.labels, minlength=8).min() > 20


@pytest.mark.parametrize("identity", ["scene/400", "scene/-1", "scene/007", "scene/1 ", "1"])
def test_a_foreign_id_is_named(identity: str) -> None:
    with pytest.raises(InputError, match=r"scene/0 to scene/399"):
        SCENES[np.array([identity])]


def test_a_set_without_scenes_is_refused() -> None:
    with pytest.raises(InputError, match="data size = 0"):
        Scenes(size=0)
