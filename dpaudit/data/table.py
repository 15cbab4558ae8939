"""What image tables of every format share: columns for images, captions and labels, and ids by row number."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from dpaudit.data.annotations import Index, Indexed
from dpaudit.data.captions import first_and_others
from dpaudit.data.columns import AUTO, choose_column, find_column
from dpaudit.data.decode import check_image_size, decode
from dpaudit.data.labels import captions_from_classes, check_template, name_labels, number_classes
from dpaudit.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dpaudit.data.examples import Examples

__all__ = ["EncodedImages", "ImageTable", "Table"]


class EncodedImages(Protocol):
    """Random access to a column of encoded images."""

    def __getitem__(self, rows: NDArray[np.int64]) -> list[bytes]:
        """Return the bytes of these rows, in this order."""


class Table(Protocol):
    """What a format must offer."""

    columns: list[str]

    def __len__(self) -> int: ...

    def values(self, column: str) -> list[Any]:
        """Return every cell of a column as a Python value."""

    def class_names(self, column: str) -> tuple[str, ...] | None:
        """Return the names that are stored beside an integer label column, if there are any."""

    def cells(self, column: str) -> EncodedImages:
        """Return random access to a column of encoded images."""


@dataclass(frozen=True, kw_only=True)
class ImageTable(Indexed):
    """One record = one row. A format adds `_table` and its own fingerprint.

    A list of captions is one record's. Labels are strings, or integers with names from the class column or from what
    the format stores. Ids are "row/0", "row/1", ...; `limit` keeps the first rows only, with the classes of the
    whole. A column option is a name, "auto" (the usual names, if there) or, except for the image, null (do not use).
    caption_template, for example "a photo of a {class}", makes captions from class names instead of reading a column.
    """

    path: str
    image_size: int
    image_column: str = AUTO
    caption_column: str | None = AUTO
    label_column: str | None = AUTO
    class_column: str | None = AUTO
    caption_template: str | None = None
    limit: int | None = None

    def __post_init__(self) -> None:
        check_image_size(self.image_size)
        check_template(self.caption_template)
        if self.limit is not None and self.limit < 1:
            raise InputError("data limit", self.limit, "a number of rows of at least 1, or null for all")

    def __getitem__(self, ids: NDArray[np.str_]) -> Examples:
        """Return the records with these ids, in this order."""
        positions = self._index.positions(ids)
        names = (f"row/{row} of {self.path}" for row in positions.tolist())
        sources = zip(names, self._cells[positions], strict=True)
        return self._index.examples(positions, decode(sources, len(positions), self.image_size))

    @property
    def _table(self) -> Table:
        raise NotImplementedError

    @cached_property
    def _cells(self) -> EncodedImages:
        return self._table.cells(choose_column("image", self.image_column, self._table.columns))

    @cached_property
    def _index(self) -> Index:
        count = len(self._table) if self.limit is None else min(self.limit, len(self._table))
        if count == 0:
            raise InputError("data path", self.path, "at least one row")
        labels, classes = self._labels()
        labels = None if labels is None else labels[:count]
        ids = np.array([f"row/{row}" for row in range(count)])
        if self.caption_template is not None:
            captions = captions_from_classes(self.caption_template, labels, classes)
            return Index(ids=ids, captions=captions, labels=labels, classes=classes)
        column = find_column("caption", self.caption_column, self._table.columns)
        if column is None:
            return Index(ids=ids, labels=labels, classes=classes)
        cells = self._table.values(column)[: self.limit]
        captions, others = first_and_others(_captions(column, row, cell) for row, cell in enumerate(cells))
        return Index(ids=ids, captions=captions, labels=labels, classes=classes, other_captions=others)

    def _labels(self) -> tuple[NDArray[np.int64] | None, tuple[str, ...] | None]:
        label = find_column("label", self.label_column, self._table.columns)
        spelled = find_column("class", self.class_column, self._table.columns)
        column = label or spelled
        if column is None:
            return None, None
        values = _label_values(column, self._table.values(column))
        if isinstance(values[0], str):
            return number_classes(values)
        classes = self._table.class_names(column)
        if classes is not None:
            return _look_up(column, values, classes), classes
        names = values if spelled is None or spelled == column else _label_values(spelled, self._table.values(spelled))
        return name_labels(values, [str(name) for name in names])


def _captions(column: str, row: int, cell: Any) -> list[str]:
    texts = cell if isinstance(cell, list) else [cell]
    if not texts or not all(isinstance(text, str) for text in texts):
        raise InputError(f"data column {column}", f"row/{row}: {cell!r}", "a text or a list of texts")
    return texts


def _label_values(column: str, values: list[Any]) -> list[Any]:
    """Return the values when they are all strings or all integers; an empty, true or fractional one is refused."""
    kind = type(values[0])
    for row, value in enumerate(values):
        if type(value) is not kind or kind not in {str, int}:
            raise InputError(
                f"data column {column}", f"row/{row}: {value!r}", "an integer or a text, the same in all rows"
            )
    return values


def _look_up(column: str, values: list[int], classes: tuple[str, ...]) -> NDArray[np.int64]:
    for row, value in enumerate(values):
        if not 0 <= value < len(classes):
            raise InputError(f"data column {column}", f"row/{row}: {value}", f"a label from 0 to {len(classes) - 1}")
    return np.array(values, dtype=np.int64)
