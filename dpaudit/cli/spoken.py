"""The command line as documents speak of it: every verb, its examples, and whether a line of a shell parses."""

from __future__ import annotations

import re
import shlex
from functools import cache
from typing import TYPE_CHECKING, Any

from dpaudit.cli.app import application
from dpaudit.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["examples", "flags", "parse", "verbs"]

_END = re.compile(r"\s(?:[|>&;]|#)|\s<\s")  # of what one command reads


def verbs() -> dict[str, Any]:
    """Return every verb that does something, by its words: "run", "bench bounds"."""
    return dict(_leaves((), _root()))


def flags(command: Any) -> set[str]:
    """Return the options of a verb: "--json", "-q"."""
    return {name for parameter in command.params for name in parameter.opts}


def examples(command: Any) -> list[str]:
    """Return the lines of a verb's help that show how to use it."""
    lines = (line.strip().removeprefix("Example: ") for line in (command.callback.__doc__ or "").splitlines())
    return [line for line in lines if re.match(r"(?:\w+=\S+ )*(?:torchrun .*)?dpaudit ", line)]


def parse(line: str) -> None:
    """Read one line of a shell as the command line would; nothing is run. InputError says what does not parse."""
    command = line.rpartition("| ")[2] if "| dpaudit " in line else line
    words = shlex.split(_END.split(command)[0])
    if "dpaudit" not in words:
        raise InputError("line", line, "a command `dpaudit ...`")
    words, group, name = words[words.index("dpaudit") + 1 :], _root(), "dpaudit"
    try:
        context = group.make_context(name, list(words), resilient_parsing=not words or words[0].startswith("-"))
        while hasattr(group, "commands") and words and not words[0].startswith("-"):
            name, group, words = group.resolve_command(context, words)
            context = group.make_context(name, list(words), parent=context)
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        raise InputError("line", line, f"a command that parses ({error.format_message()})") from error


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
