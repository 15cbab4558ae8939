"""YAML whose every value knows the line it stands on, so that a refusal can name it.

Reads the core schema of YAML 1.2 (1e-5 is a number, `no` is a word), plus `inf` and 100_000. Tags, aliases and
duplicate keys are refused: a recipe is data, and what it says is said once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import yaml

from dpaudit.errors import InputError, RecipeError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Document", "Keys", "Where", "dump", "parse_setting", "read"]

Keys: TypeAlias = tuple[str, ...]  # ("attacks", "0", "label"): keys of mappings, positions in lists

_TAG = "tag:yaml.org,2002:"
_PATTERNS = {
    "null": r"~|null|Null|NULL|",
    "bool": r"true|True|TRUE|false|False|FALSE",
    "int": r"[-+]?(?:0|[1-9][0-9_]*)",
    "float": r"""[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?
                |[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+|[-+]?\.?(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)""",
}
_SCALARS: dict[str, Callable[[str], Any]] = {
    f"{_TAG}str": str,
    f"{_TAG}null": lambda _text: None,
    f"{_TAG}bool": lambda text: text.lower() == "true",
    f"{_TAG}int": lambda text: int(text.replace("_", "")),
    f"{_TAG}float": lambda text: float(text.replace("_", "").replace(".inf", "inf").replace(".nan", "nan")),
}


@dataclass(frozen=True)
class Where:
    """Says where a value stands; within a `scope`, fields are named from there.

    >>> where = Where({("attacks", "0"): "mine.yaml:7", ("attacks", "0", "steps"): "mine.yaml:9"})
    >>> where("attacks.0.steps"), where.at("attacks.0")("label")
    ('mine.yaml:9', 'mine.yaml:7')
    """

    lines: Mapping[Keys, str] = field(default_factory=dict)
    scope: Keys = ()

    def __call__(self, name: str = "") -> str:
        """Return "file:line" or "--set" of a dotted field or of what holds it; "" when nothing is known."""
        keys = (*self.scope, *_split(name))
        while keys and keys not in self.lines:
            keys = keys[:-1]
        return self.lines.get(keys, "")

    def at(self, name: str) -> Where:
        """Return the same for the fields below `name`."""
        return Where(self.lines, (*self.scope, *_split(name)))

    def refusal(self, name: str, value: Any, expected: str) -> InputError:
        """Return the error to raise for a field's value; it carries the line when there is one."""
        full = ".".join((*self.scope, *_split(name)))
        line = self(name)
        return RecipeError(full, value, expected, line) if line else InputError(full, value, expected)


@dataclass(frozen=True)
class Document:
    """A mapping read from YAML, and the place of each of its values."""

    tree: dict[str, Any]
    lines: Mapping[Keys, str]

    def replaced(self, keys: Keys, value: Any, where: str) -> Document:
        """Return the document with another value at `keys`; missing mappings on the way are made."""
        lines = {place: line for place, line in self.lines.items() if place[: len(keys)] != keys}
        return Document(_replace(self.tree, keys, value, keys), {**lines, keys: where})

    def get(self, keys: Keys) -> Any:
        """Return the value at these keys of mappings, or None."""
        node: Any = self.tree
        for key in keys:
            node = node.get(key) if isinstance(node, dict) else None
        return node


def read(text: str, file: str) -> Document:
    """Return the mapping that `text` holds; `file` is the name that lines are given with."""
    reader = _Reader(file)
    tree = reader.value(_compose(text, file), ())
    if not isinstance(tree, dict):
        raise RecipeError("recipe", tree, "a mapping of sections", f"{file}:1")
    return Document(tree, reader.lines)


def parse_setting(setting: str) -> tuple[Keys, Any]:
    """Return the keys and the value of a `--set` argument.

    >>> parse_setting("privacy.epsilon=4")
    (('privacy', 'epsilon'), 4)
    """
    name, equals, text = setting.partition("=")
    keys = _split(name.strip())
    if not equals or not keys or "" in keys:
        raise InputError("--set", setting, "KEY=VALUE, for example privacy.epsilon=4")
    try:
        return keys, _Reader("--set").value(_compose(text, "--set"), ())
    except RecipeError as error:
        raise InputError(f"--set {name.strip()}", text, error.expected) from None


def dump(tree: dict[str, Any]) -> str:
    """Return YAML that `read` reads back as the same tree, keys in order."""
    return yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


class _Loader(yaml.SafeLoader):
    """Resolves plain words as YAML 1.2 does; only its composer is used, so nothing is ever constructed."""


class _Dumper(yaml.SafeDumper):
    """Quotes what either YAML 1.1 or `_Loader` would not read back as a string."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002  # the signature is yaml's
        """Write every value out, because `read` refuses aliases."""
        return True


_Loader.yaml_implicit_resolvers = {}
for _kind, _pattern in _PATTERNS.items():
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(f"{_TAG}{_kind}", re.compile(f"(?:{_pattern})$", re.VERBOSE), None)


@dataclass
class _Reader:
    """Turns composed nodes into values and notes their lines."""

    file: str
    lines: dict[Keys, str] = field(default_factory=dict)
    seen: set[int] = field(default_factory=set)

    def value(self, node: yaml.Node | None, keys: Keys) -> Any:
        if node is None:
            return None
        self.lines.setdefault(keys, self._line(node))
        if id(node) in self.seen:
            raise self._refusal(node, keys, "a value written out: aliases (*name) are not read")
        self.seen.add(id(node))
        if isinstance(node, yaml.MappingNode) and node.tag == f"{_TAG}map":
            return self._mapping(node, keys)
        if isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAG}seq":
            return [self.value(item, (*keys, str(index))) for index, item in enumerate(node.value)]
        return self._scalar(node, keys)

    def _mapping(self, node: yaml.MappingNode, keys: Keys) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag != f"{_TAG}str":
                raise self._refusal(key, keys, "a word as key")
            place = (*keys, key.value)
            if key.value in mapping:
                raise self._refusal(key, place, f"each key once; it stands already in {self.lines[place]}")
            self.lines[place] = self._line(key)
            mapping[key.value] = self.value(value, place)
        return mapping

    def _scalar(self, node: yaml.Node, keys: Keys) -> Any:
        try:
            return _SCALARS[node.tag](node.value)
        except (KeyError, ValueError):
            raise self._refusal(node, keys, f"a plain value, without the tag {node.tag}") from None

    def _refusal(self, node: yaml.Node, keys: Keys, expected: str) -> RecipeError:
        shown = node.value if isinstance(node, yaml.ScalarNode) else node.tag.removeprefix(_TAG)
        return RecipeError(".".join(keys) or "recipe", shown, expected, self._line(node))

    def _line(self, node: yaml.Node) -> str:
        return f"{self.file}:{node.start_mark.line + 1}"


def _compose(text: str, file: str) -> yaml.Node | None:
    try:
        return yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line if mark else 0
        shown = (text.splitlines() or [""])[min(line, max(len(text.splitlines()) - 1, 0))]
        raise RecipeError("recipe", shown.strip(), f"valid YAML: {error.problem}", f"{file}:{line + 1}") from None
    except yaml.YAMLError as error:
        raise RecipeError("recipe", str(error).splitlines()[0], "valid YAML", f"{file}:1") from None


def _replace(node: Any, rest: Keys, value: Any, keys: Keys) -> Any:
    if not rest:
        return value
    head, *tail = rest
    if isinstance(node, list):
        if not head.isdecimal() or int(head) >= len(node):
            raise InputError(f"--set {'.'.join(keys)}", head, f"a position from 0 to {len(node) - 1}")
        return [_replace(item, tuple(tail), value, keys) if i == int(head) else item for i, item in enumerate(node)]
    if isinstance(node, str):
        node = {"name": node}  # a plug-in that was given by its name alone now gets options
    if node is not None and not isinstance(node, dict):
        raise InputError(f"--set {'.'.join(keys)}", value, f"a key that exists; there is only {node!r} before .{head}")
    return {**(node or {}), head: _replace((node or {}).get(head), tuple(tail), value, keys)}


def _split(name: str) -> Keys:
    return tuple(name.split(".")) if name else ()
