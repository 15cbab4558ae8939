"""Lists of image-caption pairs: one image with all its captions is one record."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from dpaudit.data.csv import CsvPairs
from dpaudit.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_all_captions_of_an_image_are_one_record_with_its_first_caption(pairs: Path) -> None:
    data = CsvPairs(path=str(pairs), image_size=8)
    assert data.ids().tolist() == ["shots/2.png", "shots/0.png", "shots/3.png", "shots/1.png"]
    assert data[data.ids()].captions == tuple(f"first of {shot}, said plainly" for shot in (2, 0, 3, 1))
    assert data.classes == ("even", "odd")
    assert data[data.ids()].labels.tolist() == [0, 0, 1, 1]  # type: ignore[union-attr]  # has labels


def test_one_image_under_several_spellings_of_its_path_is_one_record(
    tmp_path: Path, encode: Callable[..., bytes]
) -> None:
    (tmp_path / "a.png").write_bytes(encode(0))
    (tmp_path / "sub").mkdir()
    spellings = ("a.png", "./a.png", "sub/../a.png", str(tmp_path / "a.png"))
    (tmp_path / "list.csv").write_text("path,caption\n" + "".join(f"{name},say {name}\n" for name in spellings))
    data = CsvPairs(path=str(tmp_path / "list.csv"), image_size=8)
    assert data.ids().tolist() == ["a.png"]
    assert data[data.ids()].captions == ("say a.png",)
    assert data.classes is None


def test_tabs_root_and_named_columns(tmp_path: Path, folder: Path) -> None:
    listing = tmp_path / "list.TSV"
    listing.write_bytes("\ufefftitel\two\ngrüner, Hund\tdog/0.png\n".encode())
    data = CsvPairs(path=str(listing), image_size=8, root=str(folder), path_column="wo", caption_column="titel")
    assert data[np.array(["dog/0.png"])].captions == ("grüner, Hund",)


def test_the_label_can_be_left_out(pairs: Path) -> None:
    data = CsvPairs(path=str(pairs), image_size=8, label_column=None)
    assert data.classes is None
    assert data[data.ids()].labels is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "columns found are"),
        ("path,caption\n", "at least one row"),
        ("path,words\na.png,x\n", r"caption_column = 'auto'.*the columns found are path, words"),
        ("wo,caption\na.png,x\n", r"path_column = 'auto'.*the columns found are wo, caption"),
        ("path,caption,path\na.png,x,b.png\n", "without repeated names"),
        ("path,caption\na.png\n", "line 2"),
        ("path,caption\na.png,x\nb.png,\n", "line 3"),
        ("path,caption\na.png,x,y\n", "line 2"),
        ("path,caption,label\na.png,x,\n", "line 2"),
        ("path,caption,label\na.png,x,cat\na.png,y,dog\n", r"line 3 = 'dog': expected 'cat', as in line 2 for a\.png"),
        ('path,caption\na.png,"open\n', "readable list"),
        ("path,caption\n\x1fa.png,x\n", "data file name"),
    ],
)
def test_a_bad_list_is_refused_with_its_place(text: str, message: str, tmp_path: Path) -> None:
    listing = tmp_path / "list.csv"
    listing.write_text(text)
    with pytest.raises(InputError, match=message):
        len(CsvPairs(path=str(listing), image_size=8))


def test_a_list_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_bytes(b"path,caption\n\xff\xfe,x\n")
    for path in (tmp_path / "list.csv", tmp_path):
        with pytest.raises(InputError, match="readable list"):
            len(CsvPairs(path=str(path), image_size=8))


def test_a_listed_image_that_is_missing_or_damaged_is_named(pairs: Path) -> None:
    data = CsvPairs(path=str(pairs), image_size=8)
    image = pairs.parent / "shots" / "3.png"
    image.write_bytes(b"broken")
    with pytest.raises(InputError, match=r"shots/3\.png.*readable image"):
        data[data.ids()]
    image.unlink()
    with pytest.raises(InputError, match=r"shots/3\.png.*No such file"):
        data.fingerprint()


def test_the_fingerprint_sees_captions_and_images(pairs: Path, encode: Callable[..., bytes]) -> None:
    seen = {CsvPairs(path=str(pairs), image_size=8).fingerprint()}
    pairs.write_text(pairs.read_text().replace("second of 3", "another of 3"))
    seen.add(CsvPairs(path=str(pairs), image_size=8).fingerprint())
    (pairs.parent / "shots" / "3.png").write_bytes(encode(77))
    seen.add(CsvPairs(path=str(pairs), image_size=8).fingerprint())
    assert len(seen) == 3
