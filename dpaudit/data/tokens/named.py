"""Tokenizers by the name that a recipe gives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dpaudit.data.tokens.words import SCENES
from dpaudit.errors import InputError

if TYPE_CHECKING:
    from dpaudit.data.tokens.tokenizer import Tokenizer

__all__ = ["open_tokenizer"]


def open_tokenizer(name: str) -> Tokenizer:
    """Return a tokenizer: `clip-bpe` (open_clip's), `scenes` (the words of that data set), or a folder's.

    A folder is one of Hugging Face's format, and anything with a slash in it; nothing is downloaded.

    >>> open_tokenizer("clip-bpe").vocabulary, open_tokenizer("scenes").vocabulary
    (49408, 48)
    """
    if name == "scenes":
        return SCENES
    if name == "clip-bpe":
        from dpaudit.data.tokens.clip_bpe import ClipBpe  # noqa: PLC0415 (ftfy and regex take a while)

        return ClipBpe.installed()
    if "/" in name:
        from dpaudit.data.tokens.huggingface import FolderTokenizer  # noqa: PLC0415 (as above)

        return FolderTokenizer.of(name)
    raise InputError("tokenizer", name, "clip-bpe, scenes, or the path of a folder with a slash, such as ./bert")
