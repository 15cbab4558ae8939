"""Folders of images: what is a record, what is a class, and what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from dpaudit.data.folder import ImageFolder
from dpaudit.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_subfolders_are_classes_and_paths_are_ids(folder: Path) -> None:
    data = ImageFolder(path=str(folder), image_size=8)
    assert data.classes == ("cat", "dog", "polar_bear")
    assert data.ids().tolist()[:4] == ["cat/0.png", "cat/1.png", "cat/2.png", "cat/deep/3.JPG"]
    assert data.annotations(data.ids()).labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4  # type: ignore[union-attr]  # has labels
    assert data[data.ids()].captions is None


def test_a_template_makes_captions(folder: Path) -> None:
    data = ImageFolder(path=str(folder), image_size=8, caption_template="a photo of a {class}.")
    assert data[np.array(["polar_bear/1.png"])].captions == ("a photo of a polar bear.",)
    with pytest.raises(InputError, match="caption_template"):
        ImageFolder(path=str(folder), image_size=8, caption_template="a photo")


def test_a_flat_folder_has_no_labels(tmp_path: Path, encode: Callable[..., bytes]) -> None:
    for name in ("b.png", "a.jpeg"):
        (tmp_path / name).write_bytes(encode(0, "PNG" if name.endswith("png") else "JPEG"))
    data = ImageFolder(path=str(tmp_path), image_size=8)
    assert data.ids().tolist() == ["a.jpeg", "b.png"]
    assert data.classes is None
    assert data[data.ids()].labels is None
    with pytest.raises(InputError, match="data with labels"):
        len(ImageFolder(path=str(tmp_path), image_size=8, caption_template="a {class}"))


def test_flat_and_classes_at_once_are_refused(folder: Path, encode: Callable[..., bytes]) -> None:
    (folder / "loose.png").write_bytes(encode(0))
    with pytest.raises(InputError, match=r"loose\.png.*subfolder"):
        ImageFolder(path=str(folder), image_size=8).ids()


def test_linked_folders_are_followed(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "cat").symlink_to(folder / "cat", target_is_directory=True)
    linked = ImageFolder(path=str(tmp_path / "links"), image_size=8)
    assert linked.ids().tolist() == ["cat/0.png", "cat/1.png", "cat/2.png", "cat/deep/3.JPG"]


def test_no_image_at_all_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing to see")
    with pytest.raises(InputError, match="at least one image"):
        len(ImageFolder(path=str(tmp_path), image_size=8))
    with pytest.raises(InputError, match="a folder of images"):
        len(ImageFolder(path=str(tmp_path / "notes.txt"), image_size=8))


@pytest.mark.parametrize("name", ["new\nline.png", "b\udce9.png"])
def test_a_name_that_cannot_be_an_id_is_refused(name: str, tmp_path: Path, encode: Callable[..., bytes]) -> None:
    try:
        (tmp_path / name).write_bytes(encode(0))
    except (OSError, UnicodeEncodeError):
        pytest.skip("this file system refuses such names itself")
    with pytest.raises(InputError, match="data file name"):
        ImageFolder(path=str(tmp_path), image_size=8).ids()


def test_a_damaged_image_is_named(folder: Path) -> None:
    broken = folder / "dog" / "1.png"
    broken.write_bytes(broken.read_bytes()[:60])
    data = ImageFolder(path=str(folder), image_size=8)
    data[np.array(["dog/0.png"])]
    with pytest.raises(InputError, match=r"data image = '.*dog/1\.png': expected a readable image"):
        data[data.ids()]


def test_an_image_that_vanished_is_named(folder: Path) -> None:
    data = ImageFolder(path=str(folder), image_size=8)
    ids = data.ids()
    (folder / "dog" / "1.png").unlink()
    for use in (lambda: data[ids], data.fingerprint):
        with pytest.raises(InputError, match=r"dog/1\.png.*No such file"):
            use()


def test_the_fingerprint_sees_content_names_and_new_files(folder: Path, encode: Callable[..., bytes]) -> None:
    def now() -> str:
        return ImageFolder(path=str(folder), image_size=8).fingerprint()

    seen = [now()]
    image = folder / "cat" / "0.png"
    content = bytearray(image.read_bytes())
    content[-20] ^= 1
    image.write_bytes(content)
    seen.append(now())
    image.rename(folder / "cat" / "9.png")
    seen.append(now())
    (folder / "cat" / "0.png").write_bytes(encode(5))
    seen.append(now())
    (folder / "notes.txt").write_text("no record")
    assert len(set(seen)) == 4
    assert now() == seen[-1]


def test_the_fingerprint_does_not_depend_on_where_the_folder_lies(folder: Path, tmp_path: Path) -> None:
    before = ImageFolder(path=str(folder), image_size=8).fingerprint()
    folder.rename(tmp_path / "moved")
    assert ImageFolder(path=str(tmp_path / "moved"), image_size=8).fingerprint() == before
