"""Write the page of the Python API from the docstrings: python docs/api.py > docs/api.md."""

from __future__ import annotations

import inspect
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

#: module -> what the page says of it; everything in its __all__ is public
MODULES = {
    "dpaudit": "The verbs of the command line, as calls. None of them prints.",
    "dpaudit.calls.sweeps": "What `dpaudit.sweep` is made of.",
    "dpaudit.calls.own_scores": "Bounds of scores and counts that were made elsewhere.",
    "dpaudit.executors": "Where independent pieces of work are done.",
    "dpaudit.errors": "What may be raised. Each ends a command with its exit code and one line.",
    "dpaudit.plugins": "The contracts of data sets, trainers, attacks and probes.",
    "dpaudit.results": "What an audit found: the types of results.json.",
}


def page() -> str:
    """Return the page."""
    head = "# API\n\nMade from the docstrings by `python docs/api.py`. What is not listed may change without notice.\n"
    return head + "".join(_module(name, said) for name, said in MODULES.items())


def _module(name: str, said: str) -> str:
    module = import_module(name)
    return f"\n## {name}\n\n{said}\n" + "".join(_entries(module))


def _entries(module: Any) -> Iterator[str]:
    for name in module.__all__:
        found = getattr(module, name)
        if not (inspect.isfunction(found) or inspect.isclass(found)):
            continue
        signature = _signature(name, found)
        yield f"\n**`{name}`**{_said(found)}\n" + (f"\n```text\n{signature}\n```\n" if signature else "")


def _said(found: Any) -> str:
    text = found.__doc__ or ""
    if text.startswith(f"{found.__name__}("):  # a dataclass without a docstring has its signature instead
        return ""
    first = inspect.cleandoc(text).split("\n\n")[0]
    return " " + " ".join(first.split()) if first else ""


def _signature(name: str, found: Any) -> str:
    if not inspect.isfunction(found):
        return ""
    parameters = inspect.signature(found).parameters.values()
    lines = [_parameter(each) for each in parameters if each.kind is not inspect.Parameter.KEYWORD_ONLY]
    named = [_parameter(each) for each in parameters if each.kind is inspect.Parameter.KEYWORD_ONLY]
    listed = [*lines, *(["    *,"] if named else []), *named]
    returned = inspect.signature(found).return_annotation
    return "\n".join([f"{name}(", *listed, f") -> {returned}"]) if listed else f"{name}() -> {returned}"


def _parameter(each: inspect.Parameter) -> str:
    default = "" if each.default is inspect.Parameter.empty else f" = {each.default!r}"
    return f"    {each.name}: {each.annotation}{default},"


if __name__ == "__main__":
    sys.stdout.write(page())
