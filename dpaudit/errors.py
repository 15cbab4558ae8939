"""The errors that a user may see. Each ends the command with its exit code and one line.

DpauditError (1: a stage failed)
├── InputError (2: bad usage or input; names the field, the value and what was expected)
│   ├── RecipeError (2: the same, with the recipe's line)
│   └── DamagedRunError (2: a file of a run folder is not what was written)
└── FalsifiedError (3: verdict VIOLATED or UNSOUND, or a gate failed)
"""

from __future__ import annotations

from typing import Any

__all__ = ["DamagedRunError", "DpauditError", "FalsifiedError", "InputError", "RecipeError"]


class DpauditError(Exception):
    """A stage failed for a reason that the message states in one line."""

    exit_code = 1


class InputError(DpauditError):
    """Bad usage or input: one line with the field, its value and what was expected.

    >>> raise InputError("privacy.delta", 2.0, "a number between 0 and 1, both excluded")
    Traceback (most recent call last):
    ...
    dpaudit.errors.InputError: privacy.delta = 2.0: expected a number between 0 and 1, both excluded
    """

    exit_code = 2

    def __init__(self, field: str, value: Any, expected: str) -> None:
        self.field, self.value, self.expected = field, value, expected
        super().__init__(f"{field} = {_short(value)}: expected {expected}")


class RecipeError(InputError):
    """An `InputError` in a recipe, with the file and line where the value stands."""

    def __init__(self, field: str, value: Any, expected: str, where: str) -> None:
        super().__init__(field, value, expected)
        self.where = where
        self.args = (f"{self.args[0]} ({where})",)


class DamagedRunError(InputError):
    """A file of a run folder differs from what the run wrote, so nothing of it is read."""


class FalsifiedError(DpauditError):
    """The audit ended VIOLATED or UNSOUND, or a gate failed."""

    exit_code = 3


def _short(value: Any, limit: int = 120) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= limit else text[: limit - 1] + "…"
