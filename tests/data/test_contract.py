"""What every source promises, whichever format it reads."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import FrozenInstanceError, fields
from typing import TYPE_CHECKING, get_type_hints

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from dpaudit.data.annotations import Annotated, Source
from dpaudit.data.csv import CsvPairs
from dpaudit.data.digits import Digits
from dpaudit.data.folder import ImageFolder
from dpaudit.data.parquet import Parquet
from dpaudit.errors import InputError
from dpaudit.plugins import Dataset

if TYPE_CHECKING:
    from pathlib import Path

SOURCES = (Digits, ImageFolder, CsvPairs, Parquet)


def same_contract(source: Source) -> Dataset:
    """Type-checks only as long as `Source` still says what `plugins.Dataset` says."""
    return source


def test_is_a_dataset_and_knows_captions_and_labels(dataset: Dataset) -> None:
    assert isinstance(same_contract(dataset), Dataset)
    assert isinstance(dataset, Annotated)


def test_records_have_the_promised_types(dataset: Dataset) -> None:
    records = dataset[dataset.ids()]
    assert len(records) == len(dataset) == len(dataset.ids()) == len(set(dataset.ids().tolist()))
    assert records.ids.dtype.kind == "U"
    assert records.images.dtype == np.uint8
    assert records.images.shape == (len(dataset), 3, 12, 12)
    assert records.labels is not None
    assert records.labels.dtype == np.int64
    assert dataset.classes is not None
    assert set(records.labels.tolist()) == set(range(len(dataset.classes)))
    assert records.captions is not None
    assert all(records.captions)
    assert isinstance(records.captions, tuple)


def test_rows_come_in_the_order_asked_with_repeats(dataset: Dataset) -> None:
    ids = dataset.ids()
    asked = ids[[3, 0, 3, 2]]
    records = dataset[asked]
    assert records.ids.tolist() == asked.tolist()
    for row, identity in enumerate(asked):
        alone = dataset[np.array([identity])]
        assert np.array_equal(records.images[row], alone.images[0])
        assert (records.captions or ())[row] == (alone.captions or ())[0]
        assert records.labels is not None
        assert alone.labels is not None
        assert records.labels[row] == alone.labels[0]
    assert len({records.images[row].tobytes() for row in (0, 1, 3)}) == 3


def test_an_empty_request_has_zero_rows_of_the_right_shape(dataset: Dataset) -> None:
    for empty in (np.array([], dtype=np.str_), dataset.ids()[:0]):
        records = dataset[empty]
        assert records.images.shape == (0, 3, 12, 12)
        assert records.captions == ()
        assert records.labels is not None
        assert records.labels.shape == (0,)


@pytest.mark.parametrize("identity", ["nobody", "row/10", "row/-1", "digits/1797", "digits/+1", ""])
def test_an_unknown_id_is_named(dataset: Dataset, identity: str) -> None:
    with pytest.raises(InputError, match="data id") as raised:
        dataset[np.array([dataset.ids()[0], identity])]
    assert raised.value.value == identity


def test_annotations_are_those_of_the_records(dataset: Dataset) -> None:
    assert isinstance(dataset, Annotated)
    asked = dataset.ids()[[2, 0, 2]]
    known, records = dataset.annotations(asked), dataset[asked]
    assert known.captions == records.captions
    assert np.array_equal(known.labels, records.labels)  # type: ignore[arg-type]  # all four sources have labels here


def test_options_resolve_and_are_checked(folder: Path) -> None:
    for source in SOURCES:
        assert set(get_type_hints(source)) >= {field.name for field in fields(source)}
    made = TypeAdapter(ImageFolder).validate_python({"path": str(folder), "image_size": 8})
    assert made == ImageFolder(path=str(folder), image_size=8)
    assert made[made.ids()[:1]].images.shape == (1, 3, 8, 8)
    with pytest.raises(ValidationError, match="image_size"):
        TypeAdapter(Parquet).validate_python({"path": "x", "image_size": "wide"})
    with pytest.raises(FrozenInstanceError):
        made.image_size = 9  # type: ignore[misc]  # the point of the test


@pytest.mark.parametrize("size", [0, -1, 5000])
def test_an_absurd_image_size_is_refused(size: int) -> None:
    with pytest.raises(InputError, match="image_size"):
        Digits(image_size=size)
    for source in (ImageFolder, CsvPairs, Parquet):
        with pytest.raises(InputError, match="image_size"):
            source(path="x", image_size=size)


@pytest.mark.parametrize("source", [ImageFolder, CsvPairs, Parquet])
def test_a_missing_path_is_named(source: type, tmp_path: Path) -> None:
    made = source(path=str(tmp_path / "nowhere"), image_size=8)
    for use in (len, made.__class__.ids, made.__class__.fingerprint):
        with pytest.raises(InputError, match="nowhere"):
            use(made)


def test_fingerprints_are_repeatable_and_differ_by_option(dataset: Dataset) -> None:
    options = {field.name: getattr(dataset, field.name) for field in fields(dataset)}  # type: ignore[arg-type]  # a plug-in
    again = type(dataset)(**options)
    smaller = type(dataset)(**{**options, "image_size": 4})
    assert dataset.fingerprint() == again.fingerprint()
    assert dataset.fingerprint() != smaller.fingerprint()


def test_a_fingerprint_imports_nothing_heavy(folder: Path, pairs: Path, table: Path) -> None:
    code = f"""
import sys
from dpaudit.data.csv import CsvPairs
from dpaudit.data.digits import Digits
from dpaudit.data.folder import ImageFolder
from dpaudit.data.parquet import Parquet
from dpaudit.data import cached, input_canaries, split, with_canaries
Digits().fingerprint()
len(Digits())
ImageFolder(path={str(folder)!r}, image_size=8).fingerprint()
CsvPairs(path={str(pairs)!r}, image_size=8).fingerprint()
Parquet(path={str(table)!r}, image_size=8).fingerprint()
print(sorted({{'torch', 'sklearn', 'pyarrow', 'pandas', 'scipy'}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
