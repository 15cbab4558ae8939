"""Image-caption pairs listed in a CSV or TSV file."""

from __future__ import annotations

import csv
import hashlib
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dpaudit.data.annotations import Index, Indexed
from dpaudit.data.captions import first_and_others
from dpaudit.data.columns import AUTO, choose_column, find_column
from dpaudit.data.decode import check_image_size, decode
from dpaudit.data.files import check_name, existing, fingerprint
from dpaudit.data.labels import number_classes
from dpaudit.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from dpaudit.data.examples import Examples

__all__ = ["CsvPairs"]


class _Pair(NamedTuple):
    caption: str
    label: str | None
    line: int


@dataclass(frozen=True, kw_only=True)
class CsvPairs(Indexed):
    """Images and captions by row: columns path, caption and, if there is one, label.

    One record = one image with ALL its captions: rows that name the same file are one privacy unit. Its caption is that
    of its first row, the others are its `other_captions`. Its id is the image's path relative to `root`, by default
    the list's own folder. A file ending in .tsv is tab-separated, any other comma-separated; both are UTF-8 with a
    header. A column option is a name, "auto" (the usual names), or, for the label, null (do not use).
    """

    path: str
    image_size: int
    root: str | None = None
    path_column: str = AUTO
    caption_column: str = AUTO
    label_column: str | None = AUTO

    def __post_init__(self) -> None:
        check_image_size(self.image_size)

    def __getitem__(self, ids: NDArray[np.str_]) -> Examples:
        """Return the records with these ids, in this order."""
        positions = self._index.positions(ids)
        files = ((str(self._root / name), self._root / name) for name in self._index.ids[positions].tolist())
        return self._index.examples(positions, decode(files, len(positions), self.image_size))

    def fingerprint(self) -> str:
        """Return a hash of the options, the whole list, and every image's name, size and edges; decodes nothing."""
        columns = (self.path_column, self.caption_column, self.label_column)
        files = ((name, self._root / name) for name in self.ids().tolist())
        content = hashlib.sha256(self._list.read_bytes()).hexdigest()
        return fingerprint(("csv", self.image_size, columns, content), files)

    @cached_property
    def _list(self) -> Path:
        return existing("data path", self.path)

    @cached_property
    def _root(self) -> Path:
        return self._list.parent if self.root is None else existing("data root", self.root)

    @cached_property
    def _index(self) -> Index:
        pairs: dict[str, list[_Pair]] = {}
        for name, pair in self._pairs():
            same = pairs.setdefault(name, [])
            same.append(pair)
            first = same[0]
            if first.label != pair.label:
                raise self._refusal(pair.line, pair.label, f"{first.label!r}, as in line {first.line} for {name}")
        if not pairs:
            raise InputError("data path", str(self._list), "at least one row below the header")
        names = [same[0].label for same in pairs.values() if same[0].label is not None]
        labels, classes = number_classes(names) if names else (None, None)
        captions, others = first_and_others([pair.caption for pair in same] for same in pairs.values())
        ids = np.array(list(pairs))
        return Index(ids=ids, captions=captions, labels=labels, classes=classes, other_captions=others)

    def _pairs(self) -> Iterator[tuple[str, _Pair]]:
        try:
            with self._list.open(encoding="utf-8-sig", newline="") as file:
                delimiter = "\t" if self._list.suffix.lower() == ".tsv" else ","
                yield from self._rows(csv.DictReader(file, delimiter=delimiter, strict=True))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise InputError("data path", str(self._list), f"a readable list in UTF-8 ({error})") from error

    def _rows(self, reader: csv.DictReader[str]) -> Iterator[tuple[str, _Pair]]:
        found = list(reader.fieldnames or ())
        if len(set(found)) < len(found):
            raise InputError("data path", str(self._list), f"a header without repeated names, found {', '.join(found)}")
        path = choose_column("path", self.path_column, found)
        caption = choose_column("caption", self.caption_column, found)
        label = find_column("label", self.label_column, found)
        for row in reader:
            line = reader.line_num
            for column in row:
                if column is None or (column in {path, caption, label} and not row[column]):
                    raise self._refusal(line, list(row.values()), f"one value for each of {', '.join(found)}")
            yield self._name(row[path]), _Pair(row[caption], None if label is None else row[label], line)

    def _name(self, path: str) -> str:
        return check_name(Path(os.path.relpath(self._root / path, self._root)).as_posix())

    def _refusal(self, line: int, value: object, expected: str) -> InputError:
        return InputError(f"{self._list.name} line {line}", value, expected)
