"""The data set `scenes`: image-caption pairs of any number, made as they are asked for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from dpaudit.data.annotations import Annotations
from dpaudit.data.decode import check_image_size
from dpaudit.data.examples import Examples
from dpaudit.data.files import fingerprint
from dpaudit.data.scenes import words
from dpaudit.data.scenes.layout import SHAPES, draw_layouts
from dpaudit.data.scenes.pictures import paint
from dpaudit.errors import InputError
from dpaudit.rng import Rng

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dpaudit.data.scenes.layout import Layouts
    from dpaudit.data.scenes.words import Box, Exchange, Question

__all__ = ["Scenes"]

_VERSION = 1  # of the pictures and words: a change is another data set
_ID = re.compile(r"scene/(0|[1-9][0-9]*)\Z")


@dataclass(frozen=True, kw_only=True)
class Scenes:
    """`size` scenes of one to three coloured shapes; label and class: the shape of the large object.

    Ids "scene/0", "scene/1", ...; a scene depends on its id and the seed alone, so a larger set begins with the smaller
    one. Caption: "a large red circle to the left of a small blue square". every_caption: the other one or two true
    captions of a scene belong to the record as well.

    >>> scenes = Scenes(size=10)
    >>> record = scenes[np.array(["scene/3"])]
    >>> record.captions, record.images.shape
    (('a large pink diamond',), (1, 3, 32, 32))
    """

    size: int = 20_000
    image_size: int = 32
    seed: int = 0
    every_caption: bool = False

    def __post_init__(self) -> None:
        check_image_size(self.image_size)
        if self.size < 1:
            raise InputError("data size", self.size, "a number of scenes of at least 1")

    @property
    def classes(self) -> tuple[str, ...]:
        """The shapes' names by label."""
        return SHAPES

    def __len__(self) -> int:
        return self.size

    def ids(self) -> NDArray[np.str_]:
        """Return all ids, (size,)."""
        return np.array([f"scene/{number}" for number in range(self.size)])

    def __getitem__(self, ids: NDArray[np.str_]) -> Examples:
        """Return the records with these ids, in this order."""
        layouts = self._layouts(ids)
        known = _annotations(layouts)
        names = np.asarray(ids, dtype=np.str_)
        images = paint(layouts, names, self._root.child("grain"), self.image_size)
        return Examples(
            ids=names,
            images=images,
            captions=known.captions,
            labels=known.labels,
            other_captions=_others(layouts) if self.every_caption else None,
        )

    def annotations(self, ids: NDArray[np.str_]) -> Annotations:
        """Return captions and labels of these records, in this order; nothing is painted."""
        return _annotations(self._layouts(ids))

    def all_captions(self, ids: NDArray[np.str_]) -> list[tuple[str, ...]]:
        """Return two or three true captions of each record; the first is the record's caption."""
        layouts = self._layouts(ids)
        return [words.captions(layouts, row) for row in range(len(ids))]

    @property
    def answers(self) -> tuple[str, ...]:
        """Every answer that a question of a scene can have."""
        return words.ANSWERS

    def questions(self, ids: NDArray[np.str_]) -> list[tuple[Question, ...]]:
        """Return the questions of each record; their answers are among `answers`."""
        layouts = self._layouts(ids)
        return [words.questions(layouts, row) for row in range(len(ids))]

    def misdescribed(self, ids: NDArray[np.str_], exchanged: Exchange) -> list[tuple[str, str] | None]:
        """Return each record's caption and the same made false, None for a scene of one object.

        >>> Scenes(size=10).misdescribed(np.array(["scene/1"]), "relation")
        [('a large red square above a small turquoise cross', 'a large red square below a small turquoise cross')]
        """
        layouts = self._layouts(ids)
        return [words.misdescribed(layouts, row, exchanged) for row in range(len(ids))]

    def boxes(self, ids: NDArray[np.str_]) -> list[tuple[Box, ...]]:
        """Return where the objects of each record stand."""
        layouts = self._layouts(ids)
        return [words.boxes(layouts, row) for row in range(len(ids))]

    def fingerprint(self) -> str:
        """Return a hash of the options; the pictures follow from them."""
        said = ("every caption",) if self.every_caption else ()
        return fingerprint(("scenes", _VERSION, self.size, self.image_size, self.seed, *said), ())

    @cached_property
    def _root(self) -> Rng:
        return Rng.from_seed(self.seed).child("scenes", _VERSION)

    def _layouts(self, ids: NDArray[np.str_]) -> Layouts:
        for name in np.asarray(ids, dtype=np.str_).tolist():
            found = _ID.match(name)
            if found is None or int(found[1]) >= self.size:
                raise InputError("data id", name, f"an id from scene/0 to scene/{self.size - 1}")
        return draw_layouts(self._root.child("layout"), ids)


def _annotations(layouts: Layouts) -> Annotations:
    texts = tuple(words.captions(layouts, row)[0] for row in range(len(layouts.count)))
    return Annotations(captions=texts, labels=layouts.shapes[:, 0].copy())


def _others(layouts: Layouts) -> tuple[tuple[str, ...], ...]:
    return tuple(words.captions(layouts, row)[1:] for row in range(len(layouts.count)))
