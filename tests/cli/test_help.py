"""What every verb shares: examples that parse, --json, -v and -q, the command that continues, completion."""

from __future__ import annotations

import re
import shlex
import sys
from typing import TYPE_CHECKING

import pytest
import typer
from typer.main import get_command

from dpaudit.cli.app import application, continuation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Cli = Callable[..., tuple[int, str, str]]


def verbs(group: object = None, name: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], object]]:
    """Yield every verb that does something, with its words."""
    group = get_command(application()) if group is None else group
    inner = getattr(group, "commands", None)
    if inner is None:
        yield name, group
        return
    for word, command in inner.items():
        yield from verbs(command, (*name, word))


VERBS = dict(verbs())


def flags(command: object) -> set[str]:
    return {name for parameter in command.params for name in parameter.opts}  # type: ignore[attr-defined]  # click's


def examples(command: object) -> list[str]:
    text = command.callback.__doc__ or ""  # type: ignore[attr-defined]  # click's
    return [line.partition("Example: ")[2] or line.strip() for line in text.splitlines() if "dpaudit " in line
            and (line.strip().startswith(("Example: ", "dpaudit ")))]


def parse(line: str) -> None:
    """Parse a line of a shell up to its first pipe or redirection, as the command line would; nothing is run."""
    words = shlex.split(re.split(r"\s[|>&]|\s#", line)[0])
    start = words.index("dpaudit")
    command, name = get_command(application()), "dpaudit"
    words = words[start + 1 :]
    with typer.Context(command, info_name=name) as context:  # type: ignore[arg-type]  # typer's own group
        while hasattr(command, "commands") and words:
            command, words = command.commands[words[0]], words[1:]
        command.make_context(name, list(words), parent=context)


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_every_verb_has_an_example_that_parses_and_prints_json(verb: tuple[str, ...]) -> None:
    found = examples(VERBS[verb])
    assert found, f"the help of {' '.join(verb)} has no example"
    for line in found:
        assert f"dpaudit {' '.join(verb)}" in line
        parse(line)
    assert "--json" in flags(VERBS[verb])
