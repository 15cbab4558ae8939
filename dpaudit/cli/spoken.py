"""The command line as documents speak of it: every verb, what it does, its examples."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any

from dpaudit.cli.app import application

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["examples", "summary", "verbs"]


def verbs() -> dict[str, Any]:
    """Return every verb that does something, by its words: "run", "bench bounds"."""
    return dict(_leaves((), _root()))


def summary(command: Any) -> str:
    """Return what a verb does: the first sentence of its help."""
    return " ".join((command.callback.__doc__ or "").split()).partition(". ")[0].rstrip(".")


def examples(command: Any) -> list[str]:
    """Return the lines of a verb's help that show how to use it."""
    lines = (line.strip().removeprefix("Example: ") for line in (command.callback.__doc__ or "").splitlines())
    return [line for line in lines if re.match(r"(?:\w+=\S+ )*(?:torchrun .*)?dpaudit ", line)]


@cache
def _root() -> Any:
    from typer.main import get_command  # noqa: PLC0415 (imports stay lazy for --help)

    return get_command(application())


def _leaves(name: tuple[str, ...], command: Any) -> Iterator[tuple[str, Any]]:
    inner = getattr(command, "commands", None)
    if inner is None:
        yield " ".join(name), command
        return
    for word, each in inner.items():
        yield from _leaves((*name, word), each)
