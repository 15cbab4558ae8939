"""One image with several captions is one privacy unit; a step reads one of them, drawn by (key, id)."""

from __future__ import annotations

import dataclasses
import io
import json
import tarfile
from typing import TYPE_CHECKING

import numpy as np
import pytest

from dpaudit.data.annotations import check_complete
from dpaudit.data.cached import Cached
from dpaudit.data.captions import drawn_captions, first_and_others
from dpaudit.data.csv import CsvPairs
from dpaudit.data.examples import Examples, concatenate
from dpaudit.data.input_canaries import make_canaries
from dpaudit.data.scenes.source import Scenes
from dpaudit.data.webdataset import WebDataset
from dpaudit.data.with_canaries import WithCanaries
from dpaudit.errors import InputError
from dpaudit.rng import Rng

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KEY = Rng.from_seed(11)


def records(*captions: tuple[str, ...]) -> Examples:
    first, others = first_and_others(captions)
    images = np.zeros((len(captions), 3, 2, 2), dtype=np.uint8)
    ids = np.array([f"image/{number}" for number in range(len(captions))])
    return Examples(ids=ids, images=images, captions=first, other_captions=others)


def test_every_caption_is_drawn_as_often_as_any_other() -> None:
    several = records(*[("a", "b", "c")] * 6000)
    counts = np.unique(drawn_captions(KEY, several), return_counts=True)[1]
    assert ((counts - 2000) ** 2 / 2000).sum() < 18.4  # chi-square, 2 degrees of freedom, p = 1e-4
    over_steps = [drawn_captions(KEY.child(step), records(("a", "b", "c")))[0] for step in range(300)]
    counts = np.unique(over_steps, return_counts=True)[1]
    assert ((counts - 100) ** 2 / 100).sum() < 18.4


def test_a_draw_depends_on_key_and_id_alone() -> None:
    several = records(("a", "b", "c"), ("d",), ("e", "f"), ("g", "h", "i", "j"))
    together = drawn_captions(KEY, several)
    assert together == drawn_captions(KEY, several)
    for row in range(len(several)):
        assert drawn_captions(KEY, several.take(np.array([row]))) == together[row : row + 1]
    assert together[1] == "d"
    assert len({drawn_captions(KEY.child(step), several) for step in range(20)}) > 5


def test_without_others_the_caption_is_read_and_without_captions_nothing() -> None:
    assert drawn_captions(KEY, records(("a",), ("b",))) == ("a", "b")
    with pytest.raises(InputError, match="data with captions"):
        drawn_captions(KEY, dataclasses.replace(records(("a",)), captions=None))


def test_parts_of_batches_keep_what_belongs_together() -> None:
    several, single = records(("a", "b"), ("c", "d")), records(("e",))
    assert several.take(slice(1, 2)).other_captions == (("d",),)
    assert several.take(np.array([1, 0])).other_captions == (("d",), ("b",))
    assert concatenate([several, single]).other_captions == (("b",), ("d",), ())
    assert concatenate([single, single]).other_captions is None


def test_a_blank_caption_among_the_others_is_named() -> None:
    with pytest.raises(InputError, match=r"caption of image/1 = ' ': expected text"):
        check_complete(records(("a", "b"), ("c", " ")), frozenset({"caption"}))


def test_rows_of_a_list_that_name_one_image_are_one_record_with_all_captions(pairs: Path) -> None:
    data = CsvPairs(path=str(pairs), image_size=8)
    read = data[data.ids()]
    assert len(data) == len(read) == 4
    assert [len(others) for others in read.other_captions or ()] == [1, 1, 1, 1]
    assert read.captions is not None
    assert all(first not in others for first, others in zip(read.captions, read.other_captions or (), strict=True))


def test_a_list_in_json_is_the_captions_of_one_sample(tmp_path: Path, encode: Callable[..., bytes]) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, content in (("1.png", encode(1)), ("1.json", json.dumps({"caption": ["one", "two"]}).encode())):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    data = WebDataset(path=str(tmp_path), image_size=8)
    assert (data[data.ids()].captions, data[data.ids()].other_captions) == (("one",), (("two",),))


def test_scenes_say_everything_when_asked() -> None:
    plain, every = Scenes(size=20, image_size=8), Scenes(size=20, image_size=8, every_caption=True)
    ids = plain.ids()
    assert plain[ids].other_captions is None
    said = every[ids]
    assert said.captions == plain[ids].captions
    assert [(first, *others) for first, others in zip(said.captions or (), said.other_captions or (), strict=True)] == (
        plain.all_captions(ids)
    )
    assert plain.fingerprint() != every.fingerprint()


def test_the_cache_and_inserted_records_lose_none() -> None:
    source = Cached(Scenes(size=30, image_size=8, every_caption=True))
    ids = source.ids()
    expected = Scenes(size=30, image_size=8, every_caption=True)[ids].other_captions
    assert expected is not None
    assert source[ids].other_captions == expected
    assert source[ids].other_captions == expected  # now from memory
    noise = make_canaries("noise", 2, source, ids[:10], KEY)
    mixed = WithCanaries(source, noise)[np.array(["scene/4", "noise/1", "scene/0"])]
    assert mixed.other_captions == (expected[4], (), expected[0])


def test_a_lent_caption_is_none_of_the_images_own() -> None:
    source = Scenes(size=200, image_size=8, every_caption=True)
    made = make_canaries("miscaptioned", 40, source, source.ids()[:60], KEY)
    assert made.other_captions is None
    every = {
        image.tobytes(): said
        for image, said in zip(source[source.ids()].images, source.all_captions(source.ids()), strict=True)
    }
    for image, caption in zip(made.images, made.captions or (), strict=True):
        assert caption not in every[image.tobytes()]
