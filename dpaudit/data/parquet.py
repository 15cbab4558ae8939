"""Encoded images in parquet files, with captions and labels in other columns."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from dpaudit.data.files import existing, fingerprint, walk
from dpaudit.data.table import ImageTable
from dpaudit.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from dpaudit.data.parquet_files import ParquetFiles

__all__ = ["Parquet"]


@dataclass(frozen=True, kw_only=True)
class Parquet(ImageTable):
    """Rows of a parquet file, or of all *.parquet files of a folder in the order of their names.

    Images are encoded files (bytes, or a struct with a field `bytes`); integer labels take their names from the class
    column or from the `datasets` library's metadata. The options are those of every image table.
    """

    def fingerprint(self) -> str:
        """Return a hash of the options and of every file's name, size and edges; opens no parquet file as such."""
        options = astuple(self)[1:]
        return fingerprint(("parquet", *options), [(path.name, path) for path in self._paths])

    @cached_property
    def _paths(self) -> list[Path]:
        path = existing("data path", self.path)
        if not path.is_dir():
            return [path]
        found = [path / name for name in sorted(walk(path, (".parquet",)))]
        if not found:
            raise InputError("data path", str(path), "a parquet file, or a folder with at least one *.parquet in it")
        return found

    @cached_property
    def _table(self) -> ParquetFiles:
        from dpaudit.data.parquet_files import ParquetFiles  # noqa: PLC0415  # pyarrow is slow; fingerprints go without

        return ParquetFiles(self._paths)
