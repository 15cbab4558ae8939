"""Tar shards with random access."""

from __future__ import annotations

import io
import json
import tarfile
from typing import TYPE_CHECKING

import numpy as np
import pytest

from dpaudit.data.decode import decode
from dpaudit.data.webdataset import WebDataset
from dpaudit.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def _write(path: Path, files: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


@pytest.fixture
def shards(tmp_path: Path, encode: Callable[..., bytes]) -> Path:
    """Two shards of three samples as img2dataset writes them, with a sample that has no image beside them."""
    for shard in (0, 1):
        files: dict[str, bytes] = {}
        for row in range(3):
            key, number = f"{row:05d}", 3 * shard + row
            files[f"{key}.jpg"] = encode(number, "JPEG")
            files[f"{key}.txt"] = f"caption {number}\n".encode()
            files[f"{key}.json"] = json.dumps({"caption": "not this one", "width": 12}).encode()
            files[f"{key}.cls"] = str(number % 2).encode()
        files["00009.json"] = json.dumps({"status": "failed_to_download"}).encode()
        _write(tmp_path / f"{shard:05d}.tar", files)
    return tmp_path


def test_every_sample_is_one_seek_away(shards: Path, encode: Callable[..., bytes]) -> None:
    data = WebDataset(path=str(shards), image_size=12)
    records = data[np.array(["00001/00002", "00000/00001"])]
    assert len(data) == 6
    assert records.captions == ("caption 5", "caption 1")
    assert records.labels is not None
    assert records.labels.tolist() == [1, 1]
    assert np.array_equal(records.images, decode([("", encode(5, "JPEG")), ("", encode(1, "JPEG"))], 2, 12))


def test_a_pattern_names_the_shards(shards: Path) -> None:
    both = WebDataset(path=f"{shards}/{{00000..00001}}.tar", image_size=8)
    assert both.ids().tolist() == WebDataset(path=str(shards), image_size=8).ids().tolist()
    assert len(WebDataset(path=f"{shards}/00001.tar", image_size=8)) == 3
    with pytest.raises(InputError, match="00002"):
        len(WebDataset(path=f"{shards}/{{00000..00002}}.tar", image_size=8))


def test_the_caption_in_the_json_stands_in_for_a_missing_text(tmp_path: Path, encode: Callable[..., bytes]) -> None:
    _write(tmp_path / "a.tar", {"x/1.png": encode(1), "x/1.json": json.dumps({"caption": "from json"}).encode()})
    data = WebDataset(path=str(tmp_path), image_size=8)
    assert data[np.array(["a/x/1"])].captions == ("from json",)
    assert data.classes is None


def test_bad_shards_are_one_line(tmp_path: Path, encode: Callable[..., bytes]) -> None:
    cases: list[tuple[dict[str, bytes], str]] = [
        ({"1.png": encode(1), "1.txt": b"a", "2.png": encode(2)}, "a/2.*a caption"),
        ({"1.png": encode(1), "1.txt": b"\xff\xfe"}, "1.txt.*UTF-8"),
        ({"1.png": encode(1), "1.json": b"{"}, "1.json.*JSON"),
        ({"1.txt": b"alone"}, "at least one image"),
    ]
    for files, message in cases:
        _write(tmp_path / "a.tar", files)
        with pytest.raises(InputError, match=message) as raised:
            len(WebDataset(path=str(tmp_path), image_size=8))
        assert "\n" not in str(raised.value)
    (tmp_path / "a.tar").write_bytes(b"no tar at all" * 100)
    with pytest.raises(InputError, match="a readable, uncompressed tar"):
        len(WebDataset(path=str(tmp_path), image_size=8))
    (tmp_path / "a.tar").unlink()
    with pytest.raises(InputError, match=r"at least one \*.tar"):
        len(WebDataset(path=str(tmp_path), image_size=8))


def test_a_shard_that_was_cut_off_is_refused_and_not_shorter(tmp_path: Path, encode: Callable[..., bytes]) -> None:
    _write(tmp_path / "a.tar", {"1.png": encode(1), "2.png": encode(2), "3.png": encode(3)})
    whole = (tmp_path / "a.tar").read_bytes()
    starts = [at for at in range(0, len(whole), 512) if whole[at : at + 5] in {b"2.png", b"3.png"}]
    assert len(starts) == 2
    for cut in (*starts, starts[1] + 100, starts[1] + 512, starts[1] + 700):
        (tmp_path / "a.tar").write_bytes(whole[:cut])
        with pytest.raises(InputError, match=r"a whole tar file|unexpected end of data"):
            len(WebDataset(path=str(tmp_path), image_size=8))


def test_a_broken_image_names_its_sample(tmp_path: Path) -> None:
    _write(tmp_path / "a.tar", {"1.jpg": b"not an image", "1.txt": b"a"})
    data = WebDataset(path=str(tmp_path), image_size=8)
    with pytest.raises(InputError, match="a/1"):
        data[data.ids()]
