"""What a tokenizer offers, and captions as rows of equal length."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, Protocol

import numpy as np

from dpaudit.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

__all__ = ["Encoded", "Tokenizer", "decode", "encode"]

_SHORTEST = 3  # start, one piece, end


class Tokenizer(Protocol):
    """A fixed vocabulary of pieces of text, numbered 0, 1, ..."""

    @property
    def vocabulary(self) -> int:
        """The number of tokens, start and end included."""

    @property
    def start(self) -> int:
        """The token in front of every caption."""

    @property
    def end(self) -> int:
        """The token behind every caption."""

    def pieces(self, text: str) -> list[int]:
        """Return the tokens of a text, without start and end; the text cannot bring these along."""

    def text(self, pieces: Sequence[int]) -> str:
        """Return what these tokens say; tokens that say nothing, such as start and end, are left out."""


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """n captions: tokens (n, length) int64, 0 behind a caption's end; mask (n, length), False behind its end."""

    tokens: NDArray[np.int64]
    mask: NDArray[np.bool_]


def encode(tokenizer: Tokenizer, captions: Sequence[str], ids: Iterable[str], length: int) -> Encoded:
    """Return captions between start and end, cut so that both fit into `length`.

    ids: one per caption, to name the one in which there is nothing to read: InputError.

    >>> from dpaudit.data.tokens.words import SCENES
    >>> encode(SCENES, ["a red ring"], ["scene/0"], 7).tokens.tolist()
    [[1, 4, 30, 43, 2, 0, 0]]
    """
    if length < _SHORTEST:
        raise InputError("caption length", length, f"at least {_SHORTEST} tokens: start, one piece, end")
    tokens = np.zeros((len(captions), length), dtype=np.int64)
    mask = np.zeros(tokens.shape, dtype=np.bool_)
    for row, (caption, identity) in enumerate(zip(captions, ids, strict=True)):
        pieces = tokenizer.pieces(caption)
        if not pieces:
            raise InputError(f"caption of {identity}", caption, "text with at least one token")
        whole = [tokenizer.start, *pieces[: length - 2], tokenizer.end]
        tokens[row, : len(whole)], mask[row, : len(whole)] = whole, True
    return Encoded(tokens=tokens, mask=mask)


def decode(tokenizer: Tokenizer, tokens: Iterable[Sequence[int]]) -> list[str]:
    """Return what rows of tokens say, each up to its first end token.

    >>> from dpaudit.data.tokens.words import SCENES
    >>> decode(SCENES, [[1, 4, 30, 43, 2, 9, 9]])
    ['a red ring']
    """
    return [tokenizer.text(list(takewhile(lambda token: token != tokenizer.end, row))) for row in tokens]
