"""CLIP's byte-pair encoding (Radford et al. 2021; Sennrich, Haddow, Birch 2016), read from open_clip's package.

The same numbers as open_clip's `SimpleTokenizer`, without its import, which takes seconds; only that "<start_of_text>"
and "<end_of_text>" within a caption are plain text here.
"""

from __future__ import annotations

import gzip
import html
import importlib.util
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import ftfy
import regex

from dpaudit.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ClipBpe"]

_FILE = "bpe_simple_vocab_16e6.txt.gz"
_MERGES = 48_894
_END_OF_WORD = "</w>"
_WORD = regex.compile(r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+", regex.IGNORECASE)


def _byte_symbols() -> dict[int, str]:
    """Return a visible character for every byte, in the vocabulary's order: bytes that have one of their own first."""
    visible = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in visible]
    return {byte: chr(byte) for byte in visible} | {byte: chr(256 + k) for k, byte in enumerate(others)}


_SYMBOLS = _byte_symbols()
_BYTES = {symbol: byte for byte, symbol in _SYMBOLS.items()}


@dataclass(frozen=True)
class ClipBpe:
    """The tokenizer of CLIP: 49,408 tokens; letters become small, white space single.

    >>> bpe = ClipBpe.installed()
    >>> bpe.pieces("A red-ball"), bpe.text([320, 736, 268, 1069])
    ([320, 736, 268, 1069], 'a red - ball')
    """

    merges: tuple[tuple[str, str], ...] = field(repr=False)

    @classmethod
    def installed(cls) -> ClipBpe:
        """Return the tokenizer of the installed open_clip; nothing is downloaded."""
        found = importlib.util.find_spec("open_clip")
        path = Path((found.submodule_search_locations or [""])[0] if found else "") / _FILE
        if not path.is_file():
            raise InputError("tokenizer", "clip-bpe", f"the file {_FILE} of an installed open_clip_torch")
        lines = gzip.decompress(path.read_bytes()).decode().splitlines()[1 : 1 + _MERGES]
        pairs = [line.split() for line in lines]
        return cls(tuple((left, right) for left, right in pairs))

    @property
    def vocabulary(self) -> int:
        """The number of tokens: bytes inside and at the end of a word, what they merge to, start and end."""
        return self.end + 1

    @property
    def start(self) -> int:
        """The token in front of every caption."""
        return 2 * len(_SYMBOLS) + len(self.merges)

    @property
    def end(self) -> int:
        """The token behind every caption."""
        return self.start + 1

    def pieces(self, text: str) -> list[int]:
        """Return the tokens of a text whose encoding errors and HTML entities have been put right."""
        clean = html.unescape(html.unescape(ftfy.fix_text(text)))
        words = _WORD.findall(" ".join(clean.split()).lower())
        return [token for word in words for token in self._word(word)]

    def text(self, pieces: Sequence[int]) -> str:
        """Return the words with single spaces; tokens that are no whole characters become U+FFFD."""
        joined = "".join(self._vocabulary[piece] for piece in pieces if piece < self.start)
        words = joined.replace(_END_OF_WORD, " ").split(" ")
        return " ".join(bytes(_BYTES[symbol] for symbol in word).decode(errors="replace") for word in words).strip()

    def _word(self, word: str) -> tuple[int, ...]:
        known = self._known.get(word)
        if known is None:
            known = self._known[word] = tuple(self._numbers[symbol] for symbol in self._merged(word))
        return known

    def _merged(self, word: str) -> list[str]:
        """Return a word's symbols after all merges, the earliest merge of the list first."""
        symbols = [_SYMBOLS[byte] for byte in word.encode()]
        symbols[-1] += _END_OF_WORD
        while len(symbols) > 1:
            best = min(pairwise(symbols), key=lambda pair: self._ranks.get(pair, _MERGES))
            if best not in self._ranks:
                break
            symbols = _joined(symbols, best)
        return symbols

    @cached_property
    def _vocabulary(self) -> list[str]:
        single = list(_SYMBOLS.values())
        return [*single, *(symbol + _END_OF_WORD for symbol in single), *(a + b for a, b in self.merges)]

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {symbol: number for number, symbol in enumerate(self._vocabulary)}

    @cached_property
    def _ranks(self) -> dict[tuple[str, str], int]:
        return {pair: rank for rank, pair in enumerate(self.merges)}

    @cached_property
    def _known(self) -> dict[str, tuple[int, ...]]:
        return {}


def _joined(symbols: list[str], pair: tuple[str, str]) -> list[str]:
    """Return the symbols with every occurrence of the pair made one, from the left."""
    joined: list[str] = []
    for symbol in symbols:
        if joined and (joined[-1], symbol) == pair:
            joined[-1] += symbol
        else:
            joined.append(symbol)
    return joined
