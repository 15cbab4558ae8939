"""Data sets of the `datasets` library, as `save_to_disk` leaves them. Needs the extra `hf`."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from dpaudit.data.files import existing, fingerprint, walk
from dpaudit.data.table import ImageTable
from dpaudit.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["HuggingFace"]


@dataclass(frozen=True, kw_only=True)
class HuggingFace(ImageTable):
    """A folder that `Dataset.save_to_disk` or `DatasetDict.save_to_disk` wrote; one record = one row.

    part: which split of a folder with several, such as "train"; nothing is downloaded. Images are of the library's
    type `Image`; integer labels of its type `ClassLabel` bring their names. The options are those of every image table.
    """

    part: str | None = None

    def fingerprint(self) -> str:
        """Return a hash of the options and of every Arrow file's name, size and edges; opens none as such."""
        files = sorted(walk(self._folder, (".arrow",)))
        return fingerprint(("huggingface", *astuple(self)[1:]), [(name, self._folder / name) for name in files])

    @cached_property
    def _folder(self) -> Path:
        return existing("data path", self.path)

    @cached_property
    def _table(self) -> _Rows:
        try:
            import datasets  # noqa: PLC0415  # an optional extra, and slow
        except ImportError as error:
            raise InputError("data name", "huggingface", "the extra: pip install 'dpaudit[hf]'") from error
        try:
            found = datasets.load_from_disk(str(self._folder))
        except (FileNotFoundError, ValueError, OSError) as error:
            expected = f"a folder written by save_to_disk ({' '.join(str(error).split())})"
            raise InputError("data path", str(self._folder), expected) from error
        if isinstance(found, datasets.DatasetDict):
            if self.part not in found:
                raise InputError("data part", self.part, f"one of {', '.join(found)}")
            found = found[self.part]
        elif self.part is not None:
            raise InputError("data part", self.part, "null: the folder holds one part only")
        return _Rows(found)


class _Rows:
    """A `datasets.Dataset` as a table."""

    def __init__(self, rows: Any) -> None:
        self._rows = rows.with_format(None)
        self.columns: list[str] = list(rows.column_names)

    def __len__(self) -> int:
        return len(self._rows)

    def values(self, column: str) -> list[Any]:
        return list(self._rows[column])

    def class_names(self, column: str) -> tuple[str, ...] | None:
        names = getattr(self._rows.features[column], "names", None)
        return None if names is None else tuple(names)

    def cells(self, column: str) -> _Cells:
        from datasets import Image  # noqa: PLC0415  # as above

        if not isinstance(self._rows.features[column], Image):
            raise InputError("data image_column", column, f"a column of images, found {self._rows.features[column]}")
        return _Cells(self._rows.select_columns([column]).cast_column(column, Image(decode=False)), column)


class _Cells:
    """The encoded images of one column."""

    def __init__(self, rows: Any, column: str) -> None:
        self._rows, self._column = rows, column

    def __getitem__(self, rows: NDArray[np.int64]) -> list[bytes]:
        cells = self._rows[rows.tolist()][self._column] if len(rows) else []
        return [self._bytes(row, cell) for row, cell in zip(rows.tolist(), cells, strict=True)]

    def _bytes(self, row: int, cell: dict[str, Any] | None) -> bytes:
        if cell is None or (cell["bytes"] is None and cell["path"] is None):
            raise InputError(f"data column {self._column}", f"row/{row}", "the bytes of an image (none are stored)")
        stored: bytes | None = cell["bytes"]
        return existing("data image", cell["path"]).read_bytes() if stored is None else stored
