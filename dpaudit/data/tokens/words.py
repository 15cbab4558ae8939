"""Whole words as tokens, of a list that is fixed by hand."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from dpaudit.data.scenes.layout import COLOURS, SHAPES
from dpaudit.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["SCENES", "Words"]

_WORD = re.compile(r"\w+|[^\w\s]")
_SPACE_BEFORE_MARK = re.compile(r" (?=[.,;:!?])")
_SPECIAL = ("", "<start>", "<end>", "<unknown>")  # 0 is what stands behind a caption's end
_UNKNOWN = 3


@dataclass(frozen=True)
class Words:
    """A tokenizer of lower-case words and marks; any other word is <unknown>.

    >>> words = Words(("a", "dog", ","))
    >>> words.pieces("A dog, a cat"), words.text([4, 5, 6, 4, 3])
    ([4, 5, 6, 4, 3], 'a dog, a <unknown>')
    """

    words: tuple[str, ...]

    def __post_init__(self) -> None:
        for word in self.words:
            if _WORD.findall(word.lower()) != [word]:
                raise InputError("word of a vocabulary", word, "one lower-case word, or one mark")
        if len(self._numbers) < len(self.words):
            raise InputError("words of a vocabulary", self.words, "words without repetition")

    @property
    def vocabulary(self) -> int:
        """The number of tokens: the words and four others."""
        return len(_SPECIAL) + len(self.words)

    @property
    def start(self) -> int:
        """The token in front of every caption."""
        return 1

    @property
    def end(self) -> int:
        """The token behind every caption."""
        return 2

    def pieces(self, text: str) -> list[int]:
        """Return one token per word or mark."""
        return [self._numbers.get(word, _UNKNOWN) for word in _WORD.findall(text.lower())]

    def text(self, pieces: Sequence[int]) -> str:
        """Return the words with single spaces, none before a mark."""
        said = (*_SPECIAL, *self.words)
        return _SPACE_BEFORE_MARK.sub("", " ".join(said[piece] for piece in pieces if piece >= _UNKNOWN))

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {word: number for number, word in enumerate(self.words, start=len(_SPECIAL))}


#: every word that can be said or asked of a scene
SCENES = Words(
    (
        *("a", "and", "the", "is", "there", "are", "of", "to", "left", "right", "above", "below", "large", "small"),
        *("how", "many", "objects", "object", "what", "colour", "shape", "one", "two", "three", "yes", "no"),
        *COLOURS,
        *SHAPES,
        *(",", "?"),
    )
)
