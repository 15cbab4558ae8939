"""Random access to the columns of parquet files. The one module that imports pyarrow: `Parquet` loads it late."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dpaudit.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["Cells", "ParquetFiles"]

_UNREADABLE = (pa.lib.ArrowException, OSError)
_KEEP_BYTES = 1 << 30


class ParquetFiles:
    """One table cut into files: rows are counted over all of them, in order."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths
        self._files = [_open(path) for path in paths]
        self.columns: list[str] = self._files[0].schema_arrow.names
        for path, file in zip(paths, self._files, strict=True):
            found = file.schema_arrow.names
            if found != self.columns:
                raise InputError("data path", str(path), f"columns {', '.join(self.columns)}, found {', '.join(found)}")

    def __len__(self) -> int:
        return sum(file.metadata.num_rows for file in self._files)

    def values(self, column: str) -> list[Any]:
        """Return every cell of a column as a Python value."""
        return [cell for file in range(len(self._files)) for cell in self._read(file, column, None).to_pylist()]

    def class_names(self, column: str) -> tuple[str, ...] | None:
        """Return the names that the `datasets` library stores beside an integer label column, if it wrote the file."""
        try:
            stored = json.loads((self._files[0].schema_arrow.metadata or {}).get(b"huggingface", b"{}"))
            feature = stored.get("info", {}).get("features", {}).get(column, {})
            names = feature.get("names") if isinstance(feature, dict) else None
        except (ValueError, AttributeError) as error:
            raise InputError("data path", str(self._paths[0]), f"readable class names ({error})") from error
        return None if names is None else tuple(str(name) for name in names)

    def cells(self, column: str) -> Cells:
        """Return random access to a column of encoded images."""
        groups = [(file, group) for file, opened in enumerate(self._files) for group in range(opened.num_row_groups)]
        sizes = [self._files[file].metadata.row_group(group).num_rows for file, group in groups]

        def load(number: int) -> Any:
            file, group = groups[number]
            return _binary(self._read(file, column, group), column)

        return Cells(column, sizes, load)

    def _read(self, file: int, column: str, group: int | None) -> Any:
        opened = self._files[file]
        try:
            if group is None:
                return opened.read(columns=[column]).column(0)
            return opened.read_row_group(group, columns=[column]).column(0)
        except _UNREADABLE as error:
            where = "" if group is None else f" in row group {group}"
            raise InputError(
                "data path", str(self._paths[file]), f"a readable column {column}{where} ({error})"
            ) from error


class Cells:
    """Encoded images by row number.

    Parquet is read a row group at a time. The first row groups asked for, up to 1 GiB, stay in memory and are never
    given up for later ones: when every row is as likely as any other, evicting the least recent would miss nearly
    always. Data far larger than that are better kept as an `ImageFolder`.
    """

    def __init__(self, column: str, sizes: Sequence[int], load: Callable[[int], Any]) -> None:
        self._column, self._load = column, load
        self._starts = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
        self._kept: dict[int, Any] = {}
        self._kept_bytes = 0

    def __getitem__(self, rows: NDArray[np.int64]) -> list[bytes]:
        """Return the bytes of these rows, in this order; each row group is read at most once."""
        found: dict[int, bytes] = {}
        distinct = np.unique(rows)
        groups = np.searchsorted(self._starts, distinct, side="right") - 1
        for group in np.unique(groups).tolist():
            found.update(self._of_group(group, distinct[groups == group]))
        return [found[row] for row in rows.tolist()]

    def _of_group(self, group: int, rows: NDArray[np.int64]) -> Iterator[tuple[int, bytes]]:
        cells, start = self._group(group), int(self._starts[group])
        for row in rows.tolist():
            content = cells[row - start].as_py()
            if content is None:
                raise InputError(f"data column {self._column}", f"row/{row}", "the bytes of an image (none are stored)")
            yield row, content

    def _group(self, group: int) -> Any:
        if group in self._kept:
            return self._kept[group]
        cells = self._load(group)
        if self._kept_bytes + cells.nbytes <= _KEEP_BYTES:
            self._kept[group] = cells
            self._kept_bytes += cells.nbytes
        return cells


def _open(path: Path) -> Any:
    try:
        return pq.ParquetFile(path, memory_map=True)
    except _UNREADABLE as error:
        raise InputError("data path", str(path), f"a readable parquet file ({error})") from error


def _binary(column: Any, name: str) -> Any:
    """Return the cells themselves, or the field `bytes` of cells that are structs."""
    kind = column.type
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        return _binary(pc.struct_field(column, "bytes"), name)
    if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
        raise InputError("data image_column", name, f"a column of bytes or of structs with bytes, found {kind}")
    return column
