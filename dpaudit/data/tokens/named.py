"""Tokenizers by the name that a recipe gives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dpaudit.data.tokens.words import SCENES, Words
from dpaudit.errors import InputError

if TYPE_CHECKING:
    from dpaudit.data.tokens.tokenizer import Tokenizer

__all__ = ["open_tokenizer"]

_WORDS = "words:"


def open_tokenizer(name: str) -> Tokenizer:
    """Return a tokenizer: `clip-bpe` (open_clip's), `scenes` (the words of that data set), given words, or a folder's.

    `words: cat dog` knows these words alone, which whoever reads the recipe sees: they must not be drawn from private
    captions. A folder is one of Hugging Face's format, and anything with a slash in it; nothing is downloaded.

    >>> open_tokenizer("clip-bpe").vocabulary, open_tokenizer("scenes").vocabulary
    (49408, 48)
    >>> open_tokenizer("words: a cat dog").pieces("A dog")
    [4, 6]
    """
    if name == "scenes":
        return SCENES
    if name.startswith(_WORDS):
        return _words(name)
    if name == "clip-bpe":
        from dpaudit.data.tokens.clip_bpe import ClipBpe  # noqa: PLC0415 (ftfy and regex take a while)

        return ClipBpe.installed()
    if "/" in name:
        from dpaudit.data.tokens.huggingface import FolderTokenizer  # noqa: PLC0415 (as above)

        return FolderTokenizer.of(name)
    expected = "clip-bpe, scenes, words: and the words, or the path of a folder with a slash, such as ./bert"
    raise InputError("tokenizer", name, expected)


def _words(name: str) -> Words:
    words = tuple(name.removeprefix(_WORDS).split())
    if not words:
        raise InputError("tokenizer", name, f"at least one word behind {_WORDS!r}")
    try:
        return Words(words)
    except InputError as error:
        raise InputError("tokenizer", error.value, error.expected) from error
