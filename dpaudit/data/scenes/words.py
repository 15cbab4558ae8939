"""What can be said and asked of a scene."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from dpaudit.data.questions import Question
from dpaudit.data.scenes.layout import COLOURS, SHAPES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dpaudit.data.scenes.layout import Layouts

__all__ = ["ANSWERS", "Box", "Exchange", "Question", "boxes", "captions", "misdescribed", "questions"]

#: of a true caption: the colours of two things, or how they stand to each other
Exchange: TypeAlias = Literal["attributes", "relation"]
_COLOURS = tuple(COLOURS)
_NUMBERS = ("zero", "one", "two", "three")
#: relation -> the same seen from the other object
_OTHER_WAY = {"to the left of": "to the right of", "above": "below"}
_OTHER_WAY |= {back: there for there, back in _OTHER_WAY.items()}
#: every answer that a question of a scene can have
ANSWERS = (*_NUMBERS[1:], "yes", "no", *_COLOURS, *SHAPES)


@dataclass(frozen=True, kw_only=True)
class Box:
    """An object's name and the smallest upright square around its disc, in fractions of the side, y down."""

    name: str
    left: float
    top: float
    right: float
    bottom: float


def captions(scenes: Layouts, row: int) -> tuple[str, ...]:
    """Return several true captions of one scene, the first of them the most telling."""
    names = [_named(scenes, row, item) for item in range(int(scenes.count[row]))]
    plain = " and ".join(f"a {_colour(scenes, row, item)} {_shape(scenes, row, item)}" for item in range(len(names)))
    if len(names) == 1:
        return f"a {names[0]}", plain
    relation, rest = _relation(scenes, row, 0, 1), "".join(f", and a {name}" for name in names[2:])
    there = f"a {names[0]} {relation} a {names[1]}{rest}"
    back = f"a {names[1]} {_OTHER_WAY[relation]} a {names[0]}{rest}"
    return there, back, plain


def misdescribed(scenes: Layouts, row: int, exchanged: Exchange) -> tuple[str, str] | None:
    """Return the first caption of one scene and the same made false, None where it has one object.

    Either could be true of some scene, and of as many: words alone do not tell which is.
    """
    if int(scenes.count[row]) < 2:
        return None
    true = captions(scenes, row)[0]
    if exchanged == "relation":
        relation = _relation(scenes, row, 0, 1)
        return true, true.replace(relation, _OTHER_WAY[relation])
    one, other = _colour(scenes, row, 0), _colour(scenes, row, 1)
    swap = {one: other, other: one}
    return true, " ".join(swap.get(word, word) for word in true.split(" "))


def questions(scenes: Layouts, row: int) -> tuple[Question, ...]:
    """Return three to five questions of one scene: number, colour, shape, presence and, with two objects, relation."""
    return tuple(_ask(scenes, row))


def boxes(scenes: Layouts, row: int) -> tuple[Box, ...]:
    """Return where each object of one scene stands."""
    found = []
    for item in range(int(scenes.count[row])):
        (x, y), radius = scenes.centres[row, item].tolist(), float(scenes.radii[row, item])
        name = _named(scenes, row, item)
        found.append(Box(name=name, left=x - radius, top=y - radius, right=x + radius, bottom=y + radius))
    return tuple(found)


def _ask(scenes: Layouts, row: int) -> Iterator[Question]:
    count, choices = int(scenes.count[row]), scenes.choices[row].tolist()
    asked = int(choices[0] * count)
    yield Question(text="how many objects are there?", answer=_NUMBERS[count])
    yield Question(text="what colour is the large object?", answer=_colour(scenes, row, 0))
    yield Question(text=f"what shape is the {_colour(scenes, row, asked)} object?", answer=_shape(scenes, row, asked))
    shape = _shape(scenes, row, asked)
    if choices[1] < 0.5:
        yield Question(text=f"is there a {_colour(scenes, row, asked)} {shape}?", answer="yes")
    else:
        absent = [colour for colour in _COLOURS if colour not in _colours(scenes, row)]
        yield Question(text=f"is there a {absent[int(choices[2] * len(absent))]} {shape}?", answer="no")
    if count > 1:
        one, other = (0, 1) if choices[3] < 0.5 else (1, 0)
        said = _relation(scenes, row, 0, 1)
        where = f"the {_colour(scenes, row, one)} object {said} the {_colour(scenes, row, other)} object"
        yield Question(text=f"is {where}?", answer="yes" if one == 0 else "no")


def _relation(scenes: Layouts, row: int, one: int, other: int) -> str:
    """Return how an object stands to another: sideways if they are in different columns, else up or down."""
    first, second = int(scenes.cells[row, one]), int(scenes.cells[row, other])
    if first % 2 != second % 2:
        return "to the left of" if first % 2 < second % 2 else "to the right of"
    return "above" if first < second else "below"


def _named(scenes: Layouts, row: int, item: int) -> str:
    size = "large" if item == 0 else "small"
    return f"{size} {_colour(scenes, row, item)} {_shape(scenes, row, item)}"


def _colours(scenes: Layouts, row: int) -> set[str]:
    return {_colour(scenes, row, item) for item in range(int(scenes.count[row]))}


def _colour(scenes: Layouts, row: int, item: int) -> str:
    return _COLOURS[int(scenes.colours[row, item])]


def _shape(scenes: Layouts, row: int, item: int) -> str:
    return SHAPES[int(scenes.shapes[row, item])]
