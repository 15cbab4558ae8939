"""The kit for plug-ins: a package of one's own to begin with, and the checks that every plug-in must pass."""

from __future__ import annotations

import builtins
import importlib.util
import keyword
import re
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Literal, TypeAlias, cast, get_args

from dpaudit.discovery import available, configure, find
from dpaudit.errors import DpauditError, InputError
from dpaudit.recipes.recipe import PlugInEntry

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dpaudit.conformance import Finding
    from dpaudit.discovery import Group

__all__ = ["Kind", "check", "new"]

Kind: TypeAlias = Literal["attack", "trainer", "probe"]
_Checked: TypeAlias = Literal["attacks", "trainers", "probes"]
_NAME = re.compile(r"[a-z][a-z0-9]*([_-][a-z0-9]+)*\Z")


def new(kind: str, name: str, out: str | Path | None = None) -> Path:
    """Write a package that holds one working plug-in and its test; return its folder, by default ./NAME.

    kind: attack, trainer or probe. name: what recipes call it. InputError where the name is bad or taken, or where the
    folder is already there: nothing is ever overwritten.
    """
    if kind not in get_args(Kind):
        raise InputError("kind", kind, f"one of {', '.join(get_args(Kind))}")
    _check_name(f"{kind}s", name)
    folder = Path(out) if out is not None else Path(name)
    if folder.exists():
        raise InputError("folder", str(folder), "a folder that does not exist yet: nothing is overwritten")
    words = re.split(r"[_-]", name)
    module = "_".join(words)
    named = {
        "kind": kind,
        "name": name,
        "group": f"{kind}s",
        "title": " ".join(words).capitalize(),
        "module": module,
        "plugin": "".join(word.capitalize() for word in words),
        "distribution": f"dpaudit-{'-'.join(words)}",
    }
    texts = {f"{module}.py": kind, "pyproject.toml": "pyproject", f"test_{module}.py": "test"}
    filled = {path: _filled(template, named) for path, template in texts.items()}
    try:
        folder.mkdir(parents=True)
        for path, text in filled.items():
            (folder / path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError("folder", str(folder), f"a folder that can be written ({error.strerror})") from None
    return folder


def check(name: str, options: Mapping[str, object] | None = None) -> tuple[Finding, ...]:
    """Return what the conformance suite finds of a plug-in: a name, `pkg.mod:Name` or `./mine.py:Mine`.

    options: its own, its defaults else. InputError where there is no such attack, trainer or probe, or it is broken.
    """
    from dpaudit.conformance import check as examine  # noqa: PLC0415 (imports torch)

    entry = PlugInEntry.model_validate({"name": name, **(options or {})})
    return examine(configure(_group(entry), entry))


def _group(entry: PlugInEntry) -> _Checked:
    """Return the group in which an entry names a plug-in: of several, attacks before trainers before probes."""
    groups: tuple[_Checked, ...] = get_args(_Checked)
    if ":" not in entry.name:
        known = {each: [plug_in.name for plug_in in available(each)] for each in groups}
        found = [each for each in groups if entry.name in known[each]]
        if found:
            return found[0]
        expected = "the name of an attack, trainer or probe (see `dpaudit list`), pkg.mod:Name or ./mine.py:Mine"
        raise InputError("name", entry.name, expected)
    refusals = []
    for each in groups:
        try:
            find(each, entry)
        except InputError as error:
            refusals.append(error)
            continue
        return each
    raise min(refusals, key=_lacking)


def _lacking(error: DpauditError) -> int:
    """Return how much a class lacks by a refusal's words: of three kinds it was meant to be the nearest."""
    return str(error).count(",")


def _filled(template: str, named: Mapping[str, str]) -> str:
    text = (files("dpaudit") / "templates" / f"{template}.template").read_text(encoding="utf-8")
    return Template(text).substitute(named)


def _check_name(group: str, name: str) -> None:
    if not _NAME.match(name):
        raise InputError("name", name, "small letters and digits, words joined by - or _, a letter first")
    module = name.replace("-", "_")
    if keyword.iskeyword(module) or hasattr(builtins, module):
        raise InputError("name", name, "a name that is no word of Python")
    if name in {plug_in.name for plug_in in available(cast("Group", group))}:
        raise InputError("name", name, f"a name that none of the {group} has (see `dpaudit list {group}`)")
    if importlib.util.find_spec(module) is not None:
        raise InputError("name", name, f"another name: a module {module} is installed, which this one would hide")
