"""A folder of image files, one subfolder per class or flat."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from dpaudit.data.annotations import Index, Indexed
from dpaudit.data.decode import check_image_size, decode
from dpaudit.data.files import IMAGE_SUFFIXES, existing, fingerprint, walk
from dpaudit.data.labels import captions_from_classes, check_template, number_classes
from dpaudit.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from dpaudit.data.examples import Examples

__all__ = ["ImageFolder"]


@dataclass(frozen=True, kw_only=True)
class ImageFolder(Indexed):
    """Image files below a folder; one record = one file, its id the relative path.

    With subfolders, the first one of a path is the class (names sorted, labels 0, 1, ...). Without subfolders there are
    no labels. Both at once is an error. Hidden files and files without an image suffix are left out; linked folders
    are followed. caption_template, for example "a photo of a {class}", makes captions from class names.
    """

    path: str
    image_size: int
    caption_template: str | None = None

    def __post_init__(self) -> None:
        check_image_size(self.image_size)
        check_template(self.caption_template)

    def __getitem__(self, ids: NDArray[np.str_]) -> Examples:
        """Return the records with these ids, in this order."""
        positions = self._index.positions(ids)
        files = ((str(self._folder / name), self._folder / name) for name in self._index.ids[positions].tolist())
        return self._index.examples(positions, decode(files, len(positions), self.image_size))

    def fingerprint(self) -> str:
        """Return a hash of the options and of every file's name, size and edges; decodes nothing."""
        files = ((name, self._folder / name) for name in self.ids().tolist())
        return fingerprint(("folder", self.image_size, self.caption_template), files)

    @cached_property
    def _folder(self) -> Path:
        folder = existing("data path", self.path)
        if not folder.is_dir():
            raise InputError("data path", str(folder), "a folder of images")
        return folder

    @cached_property
    def _index(self) -> Index:
        names = sorted(walk(self._folder, IMAGE_SUFFIXES))
        if not names:
            raise InputError("data path", str(self._folder), "at least one image (" + " ".join(IMAGE_SUFFIXES) + ")")
        labels, classes = self._labels(names)
        template = self.caption_template
        captions = None if template is None else captions_from_classes(template, labels, classes)
        return Index(ids=np.array(names), captions=captions, labels=labels, classes=classes)

    def _labels(self, names: list[str]) -> tuple[NDArray[np.int64] | None, tuple[str, ...] | None]:
        tops = [name.partition("/")[0] for name in names if "/" in name]
        if tops and len(tops) < len(names):
            loose = next(name for name in names if "/" not in name)
            raise InputError("data file", str(self._folder / loose), "a place in a class's subfolder, like the others")
        return number_classes(tops) if tops else (None, None)
