"""What a refused value should have been, in plain words.

Turns pydantic's errors into the field, the value and what was expected: one line, the most telling error first.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

__all__ = ["MISSING", "any_of", "first_refusal", "nearest"]


class _Missing:
    """Stands for a value that was not given."""

    def __repr__(self) -> str:
        return "(missing)"


MISSING = _Missing()

#: pydantic's error type -> what was expected; braces are filled in from the error's context
_EXPECTED = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "dataclass_type": "a mapping",
    "dict_type": "a mapping",
    "finite_number": "a finite number",
    "float_parsing": "a number",
    "float_type": "a number",
    "frozen_set_type": "a list",
    "greater_than": "a number above {gt:g}",
    "greater_than_equal": "a number of at least {ge:g}",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "less_than": "a number below {lt:g}",
    "less_than_equal": "a number of at most {le:g}",
    "list_type": "a list",
    "literal_error": "one of {expected}",
    "model_attributes_type": "a mapping",
    "model_type": "a mapping",
    "none_required": "null",
    "string_pattern_mismatch": "a name that matches {pattern}",
    "string_too_short": "text of at least {min_length} characters",
    "string_type": "text",
    "too_short": "at least {min_length} entries",
    "tuple_type": "a list",
    "union_tag_invalid": "one that is named {expected_tags}",
    "union_tag_not_found": "one with a {discriminator}",
    "value_error": "{error}",
}


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint at the known name that was meant, or all known names when none is near.

    >>> nearest("batchsize", ["batch_size", "steps"])
    "a known name; did you mean 'batch_size'?"
    >>> nearest("zzz", ["batch_size", "steps"])
    "one of 'batch_size', 'steps'"
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f"a known name; did you mean {close[0]!r}?"
    return any_of(names) if names else "a known name"


def any_of(known: Iterable[str]) -> str:
    """Return all known names in words.

    >>> any_of(["loss", "lira"])
    "one of 'loss', 'lira'"
    """
    return f"one of {', '.join(map(repr, known)) or '(none)'}"


def first_refusal(
    error: ValidationError,
    known: Callable[[tuple[str | int, ...]], Iterable[str]],
    written: Callable[[tuple[str | int, ...]], tuple[str | int, ...]] = tuple,
) -> tuple[str, Any, str]:
    """Return the dotted field, its value and what was expected, of the most telling error.

    `known(keys)` gives the field names of the section at these keys, `written(keys)` the keys as a user writes them. An
    unknown key comes first: a misspelt name is also a missing one, and the misspelling is what must be changed.
    """
    details = min(error.errors(include_url=False), key=lambda each: each["type"] != "extra_forbidden")
    field = ".".join(str(part) for part in written(details["loc"]))
    if details["type"] == "extra_forbidden":
        return field, details["input"], nearest(str(details["loc"][-1]), known(details["loc"][:-1]))
    if details["type"] == "missing":
        return field, MISSING, "a value: it has no default"
    return field, details["input"], _expected(details)


def _expected(details: ErrorDetails) -> str:
    words = _EXPECTED.get(details["type"])
    if words is None:
        return details["msg"].removeprefix("Input should be ")
    return words.format(**details.get("ctx", {}))
