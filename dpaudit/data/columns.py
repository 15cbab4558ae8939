"""Which column of a table holds what: by name, or by the usual names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dpaudit.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["AUTO", "choose_column", "find_column"]

AUTO = "auto"
_USUAL = {
    "image": ("image", "img", "jpg", "jpeg", "png", "webp", "image_bytes", "bytes"),
    "path": ("path", "file", "filename", "file_name", "filepath", "image", "image_path"),
    "caption": ("caption", "captions", "text", "txt", "title"),
    "label": ("label", "labels", "fine_label", "target"),
    "class": ("class", "class_name", "category"),
}


def choose_column(role: str, option: str, found: Sequence[str]) -> str:
    """Return the column for a role: the one asked for, or for "auto" the first of the usual names that is there.

    >>> choose_column("caption", "auto", ["image", "text"])
    'text'
    """
    column = find_column(role, option, found)
    if column is None:
        raise InputError(f"data {role}_column", option, _expected(_USUAL[role], found))
    return column


def find_column(role: str, option: str | None, found: Sequence[str]) -> str | None:
    """Return the column for a role that may be absent: None for None, and for "auto" when no usual name is there."""
    if option == AUTO:
        return next((name for name in _USUAL[role] if name in found), None)
    if option is not None and option not in found:
        raise InputError(f"data {role}_column", option, _expected((), found))
    return option


def _expected(usual: Sequence[str], found: Sequence[str]) -> str:
    named = f"a column named {', '.join(usual)}, or its name; " if usual else ""
    return f"{named}the columns found are {', '.join(found) or '(none)'}"
