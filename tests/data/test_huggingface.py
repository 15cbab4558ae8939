"""Folders that the `datasets` library saved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from dpaudit.data.decode import decode
from dpaudit.data.huggingface import HuggingFace
from dpaudit.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

datasets = pytest.importorskip("datasets")


@pytest.fixture
def saved(tmp_path: Path, encode: Callable[..., bytes]) -> Path:
    """Six rows in a part called train and two in one called test."""
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "captions": datasets.Sequence(datasets.Value("string")),
            "label": datasets.ClassLabel(names=["ant", "bee"]),
        }
    )

    def rows(start: int, count: int) -> Any:
        numbers = range(start, start + count)
        columns = {
            "image": [{"bytes": encode(number), "path": None} for number in numbers],
            "captions": [[f"first of {number}", f"second of {number}"] for number in numbers],
            "label": [number % 2 for number in numbers],
        }
        return datasets.Dataset.from_dict(columns, features=features)

    datasets.DatasetDict({"train": rows(0, 6), "test": rows(6, 2)}).save_to_disk(str(tmp_path / "saved"))
    return tmp_path / "saved"


def test_rows_come_with_first_captions_and_class_names(saved: Path, encode: Callable[..., bytes]) -> None:
    data = HuggingFace(path=str(saved), part="train", image_size=12)
    records = data[np.array(["row/4", "row/1", "row/4"])]
    assert len(data) == 6
    assert data.classes == ("ant", "bee")
    assert records.captions == ("first of 4", "first of 1", "first of 4")
    assert records.labels is not None
    assert records.labels.tolist() == [0, 1, 0]
    assert np.array_equal(records.images[1], decode([("one", encode(1))], 1, 12)[0])
    assert np.array_equal(records.images[0], records.images[2])
    assert len(data[data.ids()[:0]]) == 0


def test_a_folder_of_one_part_needs_no_name(saved: Path) -> None:
    data = HuggingFace(path=str(saved / "test"), image_size=8, limit=1)
    assert data.ids().tolist() == ["row/0"]
    with pytest.raises(InputError, match="null: the folder holds one part only"):
        len(HuggingFace(path=str(saved / "test"), part="train", image_size=8))


def test_bad_input_is_one_line(saved: Path, tmp_path: Path) -> None:
    for part in (None, "validation"):
        with pytest.raises(InputError, match=r"data part = .*one of train, test"):
            len(HuggingFace(path=str(saved), part=part, image_size=8))
    with pytest.raises(InputError, match="nowhere"):
        len(HuggingFace(path=str(tmp_path / "nowhere"), image_size=8))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="written by save_to_disk") as raised:
        len(HuggingFace(path=str(tmp_path / "empty"), image_size=8))
    assert "\n" not in str(raised.value)
    words = HuggingFace(path=str(saved), part="test", image_size=8, image_column="captions")
    with pytest.raises(InputError, match="a column of images"):
        words[words.ids()[:1]]


def test_fingerprints_follow_the_files(saved: Path) -> None:
    one, other = (HuggingFace(path=str(saved), part=part, image_size=8).fingerprint() for part in ("train", "test"))
    assert one != other
