"""Small files that the data tests make for themselves."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from dpaudit.data.csv import CsvPairs
from dpaudit.data.digits import Digits
from dpaudit.data.folder import ImageFolder
from dpaudit.data.parquet import Parquet
from dpaudit.data.scenes.source import Scenes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dpaudit.plugins import Dataset

SIDE = 12


def _encode(seed: int, kind: str = "PNG", size: tuple[int, int] = (SIDE, SIDE)) -> bytes:
    """Return an encoded image of random pixels, size = (width, height)."""
    pixels = np.random.default_rng(seed).integers(0, 256, size=(size[1], size[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def encode() -> Callable[..., bytes]:
    return _encode


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three classes of four images each, in PNG and JPEG, with things beside them that are no records."""
    root = tmp_path / "images"
    for number, name in enumerate(("dog", "cat", "polar_bear")):
        (root / name / "deep").mkdir(parents=True)
        for shot in range(4):
            inside = f"deep/{shot}.JPG" if shot == 3 else f"{shot}.png"
            (root / name / inside).write_bytes(_encode(10 * number + shot, "JPEG" if shot == 3 else "PNG"))
    (root / "README.txt").write_text("no record")
    (root / "cat" / "._0.png").write_text("no record")
    return root


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Four images with two captions each and a label, listed out of order."""
    (tmp_path / "shots").mkdir()
    lines = ["image,caption,label"]
    for turn in ("first", "second"):
        for shot in (2, 0, 3, 1):
            (tmp_path / "shots" / f"{shot}.png").write_bytes(_encode(shot))
            lines.append(f'shots/{shot}.png,"{turn} of {shot}, said plainly",{"even" if shot % 2 == 0 else "odd"}')
    listing = tmp_path / "list.csv"
    listing.write_text("\n".join(lines) + "\n")
    return listing


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Ten rows in row groups of three."""
    path = tmp_path / "table.parquet"
    columns = {
        "image": [_encode(row) for row in range(10)],
        "caption": [f"picture {row}" for row in range(10)],
        "label": [row % 3 for row in range(10)],
        "class": [("ant", "bee", "cow")[row % 3] for row in range(10)],
    }
    pq.write_table(pa.table(columns), path, row_group_size=3)
    return path


@pytest.fixture(params=["digits", "folder", "csv", "parquet", "scenes"])
def dataset(request: pytest.FixtureRequest) -> Dataset:
    """Every built-in source in turn, at 12 x 12 pixels."""
    match request.param:
        case "digits":
            return Digits(image_size=SIDE)
        case "folder":
            path = request.getfixturevalue("folder")
            return ImageFolder(path=str(path), image_size=SIDE, caption_template="a photo of a {class}")
        case "scenes":
            return Scenes(size=60, image_size=SIDE)
        case "csv":
            return CsvPairs(path=str(request.getfixturevalue("pairs")), image_size=SIDE)
        case _:
            return Parquet(path=str(request.getfixturevalue("table")), image_size=SIDE)
