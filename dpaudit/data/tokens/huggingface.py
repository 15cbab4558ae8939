"""Tokenizers of Hugging Face's format, from a folder on disk. Needs the extra `hf`."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dpaudit.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["FolderTokenizer"]

_FIELD = "tokenizer"
_VOCABULARY, _CONFIG = "tokenizer.json", "tokenizer_config.json"


@dataclass(frozen=True)
class FolderTokenizer:
    """A tokenizer as `save_pretrained` leaves it: tokenizer.json, and tokenizer_config.json, which names start and end.

    start is its cls_token or else bos_token, end its sep_token or else eos_token.
    """

    folder: str
    start: int
    end: int
    rules: Any = field(repr=False)

    @classmethod
    def of(cls, path: str) -> FolderTokenizer:
        """Return the tokenizer of a folder; nothing is downloaded. InputError names what the folder lacks."""
        folder = Path(path).expanduser()
        missing = [name for name in (_VOCABULARY, _CONFIG) if not (folder / name).is_file()]
        if missing:
            expected = f"a folder that save_pretrained wrote; it lacks {' and '.join(missing)}"
            raise InputError(_FIELD, path, expected)
        config, rules = _config(path, folder / _CONFIG), _rules(path, folder / _VOCABULARY)
        start = _number(path, config, rules, ("cls_token", "bos_token"))
        end = _number(path, config, rules, ("sep_token", "eos_token"))
        return cls(folder=path, start=start, end=end, rules=rules)

    @property
    def vocabulary(self) -> int:
        """One more than the highest token."""
        numbers: dict[str, int] = self.rules.get_vocab(with_added_tokens=True)
        return 1 + max(numbers.values())

    def pieces(self, text: str) -> list[int]:
        """Return the tokens of a text; names of special tokens in it are plain text."""
        tokens: list[int] = self.rules.encode(text, add_special_tokens=False).ids
        return tokens

    def text(self, pieces: Sequence[int]) -> str:
        """Return the text without special tokens."""
        said: str = self.rules.decode(list(pieces), skip_special_tokens=True)
        return said.strip()


def _config(path: str, file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(_FIELD, path, f"a {file.name} in JSON ({error})") from error
    if not isinstance(found, dict):
        raise InputError(_FIELD, path, f"a {file.name} that is a mapping")
    return found


def _rules(path: str, file: Path) -> Any:
    try:
        import tokenizers  # noqa: PLC0415  # an optional extra
    except ImportError as error:
        raise InputError(_FIELD, path, "the extra: pip install 'dpaudit[hf]'") from error
    try:
        rules = tokenizers.Tokenizer.from_str(file.read_text(encoding="utf-8"))
    except Exception as error:  # the library raises plain Exception
        reason = (str(error).splitlines() or [""])[0]
        raise InputError(_FIELD, path, f"a {file.name} that the tokenizers library reads ({reason})") from error
    rules.no_truncation()
    rules.no_padding()
    rules.encode_special_tokens = True
    return rules


def _number(path: str, config: dict[str, Any], rules: Any, keys: tuple[str, str]) -> int:
    """Return the number of the first special token of these keys that the folder names."""
    named = (config.get(key) for key in keys)
    word = next((entry for entry in named if entry is not None), None)
    content = word.get("content") if isinstance(word, dict) else word
    if not isinstance(content, str):
        raise InputError(_FIELD, path, f"a {_CONFIG} with {keys[0]} or {keys[1]}")
    number: int | None = rules.token_to_id(content)
    if number is None:
        raise InputError(_FIELD, path, f"a {_VOCABULARY} with the token {content} of {_CONFIG}")
    return number
