"""Parquet: columns found and named, labels in all their spellings, random access over row groups and files."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dpaudit.data import parquet_files
from dpaudit.data.parquet import Parquet
from dpaudit.data.parquet_files import ParquetFiles
from dpaudit.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def write(tmp_path: Path, encode: Callable[..., bytes]) -> Callable[..., Parquet]:
    """Return a function that writes columns beside four images and opens the file with options."""

    def made(options: dict[str, Any] | None = None, features: dict[str, Any] | None = None, **columns: Any) -> Parquet:
        table = pa.table({"image": [encode(row) for row in range(4)]} | columns)
        if features is not None:
            stored = json.dumps({"info": {"features": features}})
            table = table.replace_schema_metadata({"huggingface": stored})
        pq.write_table(table, tmp_path / "made.parquet", row_group_size=2)
        return Parquet(path=str(tmp_path / "made.parquet"), image_size=8, **(options or {}))

    return made


def labels(data: Parquet) -> list[int] | None:
    found = data[data.ids()].labels
    return None if found is None else found.tolist()


def test_columns_with_usual_names_are_found(table: Path) -> None:
    data = Parquet(path=str(table), image_size=8)
    assert data.ids().tolist() == [f"row/{row}" for row in range(10)]
    assert data.classes == ("ant", "bee", "cow")
    assert labels(data) == [row % 3 for row in range(10)]
    assert data[np.array(["row/7"])].captions == ("picture 7",)


def test_rows_of_any_row_group_come_back_whole(table: Path, encode: Callable[..., bytes]) -> None:
    data = Parquet(path=str(table), image_size=12)
    order = np.random.default_rng(0).permutation(10)
    images = data[data.ids()[order]].images
    single = Parquet(path=str(table), image_size=12)
    for row, image in zip(order, images, strict=True):
        assert np.array_equal(image, single[np.array([f"row/{row}"])].images[0])
    content = ParquetFiles([table]).cells("image")[order]
    assert content == [encode(int(row)) for row in order]


def test_each_row_group_is_read_once_and_kept(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files, loaded = ParquetFiles([table]), []
    read = files._read

    def counted(file: int, column: str, group: int | None) -> Any:
        loaded.append(group)
        return read(file, column, group)

    monkeypatch.setattr(files, "_read", counted)
    cells = files.cells("image")
    everything = np.array([9, 0, 1, 9, 5])
    first = cells[everything]
    assert cells[everything] == first
    assert loaded == [0, 1, 3]


def test_row_groups_past_the_limit_are_read_again_and_the_first_stay(
    table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet_files, "_KEEP_BYTES", 2_000)  # one group of three images takes about 1,600
    files = ParquetFiles([table])
    cells = files.cells("image")
    everything = np.arange(10)
    assert cells[everything] == cells[everything]
    assert list(cells._kept) == [0]


def test_a_folder_of_files_is_one_table(tmp_path: Path, table: Path, encode: Callable[..., bytes]) -> None:
    shards = tmp_path / "shards"
    shards.mkdir()
    whole = pq.read_table(table)
    for number, (start, count) in enumerate(((0, 4), (4, 1), (5, 5))):
        pq.write_table(whole.slice(start, count), shards / f"part-{number}.parquet", row_group_size=2)
    (shards / "notes.txt").write_text("no shard")
    parts, data = Parquet(path=str(shards), image_size=8), Parquet(path=str(table), image_size=8)
    asked = data.ids()[[9, 4, 0, 5]]
    assert np.array_equal(parts[asked].images, data[asked].images)
    assert parts[asked].captions == data[asked].captions
    pq.write_table(pa.table({"image": [encode(0)]}), shards / "part-3.parquet")
    with pytest.raises(InputError, match=r"part-3\.parquet.*columns image, caption, label, class, found image"):
        len(Parquet(path=str(shards), image_size=8))


def test_limit_keeps_the_first_rows_and_all_classes(table: Path) -> None:
    data = Parquet(path=str(table), image_size=8, limit=2)
    assert data.ids().tolist() == ["row/0", "row/1"]
    assert data.classes == ("ant", "bee", "cow")
    assert data[data.ids()].captions == ("picture 0", "picture 1")
    assert len(Parquet(path=str(table), image_size=8, limit=99)) == 10
    with pytest.raises(InputError, match="data limit"):
        Parquet(path=str(table), image_size=8, limit=0)
    with pytest.raises(InputError, match="data id"):
        data[np.array(["row/2"])]


def test_structs_with_bytes_are_images(write: Callable[..., Parquet], encode: Callable[..., bytes]) -> None:
    data = write(
        {"image_column": "photo"}, photo=[{"bytes": encode(9), "path": "x.png"}] * 3 + [{"bytes": None, "path": "y"}]
    )
    plain = write({"image_column": "photo"}, photo=pa.array([encode(9)] * 4, pa.large_binary()))
    assert np.array_equal(data[np.array(["row/1"])].images, plain[np.array(["row/1"])].images)
    data = write(
        {"image_column": "photo"}, photo=[{"bytes": encode(9), "path": "x.png"}] * 3 + [{"bytes": None, "path": "y"}]
    )
    with pytest.raises(InputError, match=r"column photo = 'row/3'"):
        data[data.ids()]
    with pytest.raises(InputError, match="bytes or of structs with bytes, found string"):
        write({"image_column": "photo"}, photo=list("abcd"))[np.array(["row/0"])]


def test_captions_can_be_lists_or_come_from_a_template(write: Callable[..., Parquet]) -> None:
    data = write(text=[["one", "two"], ["three"], ["four"], ["five"]])
    assert data[data.ids()].captions == ("one", "three", "four", "five")
    data = write({"caption_template": "a {class}"}, text=list("abcd"), label=["x", "y", "x", "y"])
    assert data[data.ids()].captions == ("a x", "a y", "a x", "a y")
    data = write({"caption_column": None}, text=list("abcd"))
    assert data[data.ids()].captions is None


@pytest.mark.parametrize("cell", [None, [], 3])
def test_a_caption_that_is_no_text_is_named(write: Callable[..., Parquet], cell: object) -> None:
    kind = pa.list_(pa.string()) if cell == [] else pa.int64() if cell == 3 else pa.string()
    fill = ["a"] if cell == [] else 3 if cell == 3 else "a"
    with pytest.raises(InputError, match=r"column caption = .row/(0|2)"):
        len(write(caption=pa.array([fill, fill, cell, fill], kind)))


def test_labels_in_every_spelling(write: Callable[..., Parquet]) -> None:
    cases: list[tuple[dict[str, Any], tuple[str, ...] | None, list[int] | None]] = [
        ({}, None, None),
        ({"label": ["dog", "cat", "dog", "ant"]}, ("ant", "cat", "dog"), [2, 1, 2, 0]),
        ({"label": [0, 2, 1, 0]}, ("0", "1", "2"), [0, 2, 1, 0]),
        ({"label": [10, 9, 10, 2]}, ("2", "9", "10"), [2, 1, 2, 0]),
        ({"label": [1, 0, 1, 0], "class": ["ant", "zoo", "ant", "zoo"]}, ("zoo", "ant"), [1, 0, 1, 0]),
        ({"class": ["b", "a", "b", "b"]}, ("a", "b"), [1, 0, 1, 1]),
        ({"label": pa.array(["b", "a", "b", "b"]).dictionary_encode()}, ("a", "b"), [1, 0, 1, 1]),
    ]
    for columns, classes, wanted in cases:
        data = write(**columns)
        assert data.classes == classes
        assert labels(data) == wanted


def test_names_stored_by_the_datasets_library_are_used(write: Callable[..., Parquet]) -> None:
    features = {"label": {"_type": "ClassLabel", "names": ["cat", "dog", "eel"]}, "image": {"_type": "Image"}}
    data = write(label=[1, 0, 1, 0], features=features)
    assert data.classes == ("cat", "dog", "eel")
    assert labels(data) == [1, 0, 1, 0]
    with pytest.raises(InputError, match=r"row/2: -1.*label from 0 to 2"):
        len(write(label=[1, 0, -1, 0], features=features))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"label": [0, 1, None, 1]}, "row/2: None"),
        ({"label": [0.0, 1.0, 0.5, 1.0]}, "row/0: 0.0"),
        ({"label": [True, False, True, False]}, "row/0: True"),
        ({"label": [0, 1, 0, 1], "class": ["a", "b", "b", "b"]}, r"one name for each label"),
        ({"label": [0, 1, 2, 1], "class": ["a", "b", "a", "b"]}, r"one name for each label"),
        ({"label": [0, 1, 2, 1], "class": ["a", None, "a", "b"]}, r"row/1: None"),
    ],
)
def test_labels_that_cannot_be_are_refused(
    write: Callable[..., Parquet], columns: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        len(write(**columns))


def test_columns_that_are_not_there_are_refused_with_what_is(write: Callable[..., Parquet], tmp_path: Path) -> None:
    for role in ("image", "caption", "label", "class"):
        data = write({f"{role}_column": "nope"}, text=list("abcd"))
        with pytest.raises(InputError, match=rf"{role}_column = 'nope'.*columns found are image, text"):
            data[data.ids()]
    pq.write_table(pa.table({"x": [1]}), tmp_path / "none.parquet")
    data = Parquet(path=str(tmp_path / "none.parquet"), image_size=8)
    with pytest.raises(InputError, match=r"image_column = 'auto'.*columns found are x"):
        data[data.ids()]


def test_a_damaged_image_is_named_by_row(write: Callable[..., Parquet], encode: Callable[..., bytes]) -> None:
    data = write({"image_column": "jpg"}, jpg=[encode(0), encode(1), encode(2)[:70], encode(3)])
    data[np.array(["row/1", "row/3"])]
    with pytest.raises(InputError, match=r"data image = 'row/2 of .*made\.parquet': expected a readable image"):
        data[data.ids()]


def test_files_that_are_no_parquet_or_empty_are_refused(tmp_path: Path, write: Callable[..., Parquet]) -> None:
    (tmp_path / "text.parquet").write_text("PAR1 not really")
    with pytest.raises(InputError, match=r"text\.parquet.*readable parquet file"):
        len(Parquet(path=str(tmp_path / "text.parquet"), image_size=8))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"at least one \*\.parquet"):
        len(Parquet(path=str(tmp_path / "empty"), image_size=8))
    pq.write_table(
        pa.table({"image": pa.array([], pa.binary()), "label": pa.array([], pa.int8())}), tmp_path / "zero.parquet"
    )
    with pytest.raises(InputError, match="at least one row"):
        len(Parquet(path=str(tmp_path / "zero.parquet"), image_size=8))
    assert len(write()) == 4


def test_a_damaged_row_group_is_an_input_error(tmp_path: Path, encode: Callable[..., bytes]) -> None:
    path = tmp_path / "hurt.parquet"
    pq.write_table(
        pa.table({"image": [encode(row) for row in range(50)]}), path, compression="zstd", use_dictionary=False
    )
    content = bytearray(path.read_bytes())
    content[4:4000] = bytes(3996)
    path.write_bytes(content)
    data = Parquet(path=str(path), image_size=8)
    with pytest.raises(InputError, match=r"hurt\.parquet.*readable column image in row group 0"):
        data[data.ids()]


def test_the_fingerprint_sees_rows_and_options(write: Callable[..., Parquet]) -> None:
    seen = {
        write(text=list("abcd")).fingerprint(),
        write(text=list("abce")).fingerprint(),
        write({"limit": 2}, text=list("abce")).fingerprint(),
        write({"caption_column": None}, text=list("abce")).fingerprint(),
    }
    assert len(seen) == 4


def test_real_cifar10(cifar10: Path) -> None:
    data = Parquet(path=str(cifar10 / "train.parquet"), image_size=32)
    assert len(data) == 50_000
    assert data.classes is not None
    assert data.classes[0] == "airplane"
    assert data.classes[9] == "truck"
    records = data[data.ids()[[49_999, 0, 123]]]
    assert records.ids.tolist() == ["row/49999", "row/0", "row/123"]
    assert 60 < records.images.mean() < 190
    assert np.bincount(data.annotations(data.ids()).labels).tolist() == [5_000] * 10  # type: ignore[arg-type]  # has labels
