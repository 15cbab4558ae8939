"""Finding plug-ins by name and making them from a recipe's options.

A name is that of an entry point, `pkg.mod:Name`, or `./file.py:Name` (from the working directory). A plug-in that
fails to import, or is not what its group asks for, is broken: listed with the reason, refused when it is asked for,
and in nobody else's way.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import importlib.util
import sys
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, overload

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json

from dpaudit.errors import DpauditError, InputError
from dpaudit.plugins import Attack, BatchTrainer, Dataset, PerExampleTrainer, Probe
from dpaudit.recipes.located import Where
from dpaudit.recipes.recipe import AttackEntry, PlugInEntry
from dpaudit.recipes.refusals import any_of, first_refusal, nearest

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["GROUPS", "Group", "PlugIn", "available", "configure", "find"]

Group: TypeAlias = Literal["datasets", "trainers", "attacks", "probes"]
#: what a plug-in of each group must offer: all of at least one of these
GROUPS: dict[Group, tuple[type, ...]] = {
    "datasets": (Dataset,),
    "trainers": (PerExampleTrainer, BatchTrainer),
    "attacks": (Attack,),
    "probes": (Probe,),
}
_OWN = frozenset(
    {"name", "label", "split", "expected_size", "public"}
)  # keys of a recipe's entry that can be no option of a plug-in
_SHARED = ("family", "limit")  # keys that the recipe reads and a plug-in with such an option gets as well
_OPERATORS = frozenset({"__len__", "__getitem__"})


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlugIn:
    """A plug-in that is installed, as `dpaudit list` shows it. `broken`: why it cannot be used, or None."""

    name: str
    target: str
    origin: str
    summary: str
    broken: str | None


class _BrokenPlugInError(DpauditError):
    """Why a plug-in cannot be used."""


def available(group: Group) -> list[PlugIn]:
    """Return the plug-ins that installed packages offer, by name; broken ones too, with the reason.

    >>> [plug_in.name for plug_in in available("trainers") if plug_in.origin.startswith("dpaudit ")][:3]
    ['dp-cap', 'dp-clip', 'dp-clip-linear']
    """
    return [_described(group, point) for point in sorted(_points(group), key=lambda point: (point.name, point.value))]


def find(group: Group, entry: PlugInEntry, where: Where | None = None) -> type:
    """Return the class that an entry names, of which it is sure that it offers what its group asks for."""
    place = Where() if where is None else where
    try:
        found = _named(entry.name, place) if ":" in entry.name else _loaded(_point(group, entry.name, place))
        return _checked(group, found)
    except _BrokenPlugInError as error:
        raise place.refusal("name", entry.name, f"a plug-in that works; it is broken: {error}") from None


@overload
def configure(group: Literal["datasets"], entry: PlugInEntry, where: Where | None = None) -> Dataset: ...
@overload
def configure(
    group: Literal["trainers"], entry: PlugInEntry, where: Where | None = None
) -> PerExampleTrainer | BatchTrainer: ...
@overload
def configure(group: Literal["attacks"], entry: PlugInEntry, where: Where | None = None) -> Attack: ...
@overload
def configure(group: Literal["probes"], entry: PlugInEntry, where: Where | None = None) -> Probe: ...
def configure(group: Group, entry: PlugInEntry, where: Where | None = None) -> Any:
    """Return the plug-in of an entry, its options checked.

    `where` is the place of the entry in its recipe, for example `loaded.where.at("attacks.0")`: a refusal names it.

    >>> configure("datasets", PlugInEntry(name="digits", image_size=8))
    Digits(image_size=8)
    """
    place = Where() if where is None else where
    plug_in = _made(find(group, entry, place), entry, place)
    if isinstance(entry, AttackEntry) and entry.family not in (None, *plug_in.needs.families):
        raise place.refusal("family", entry.family, f"a family that it can attack, {any_of(plug_in.needs.families)}")
    return plug_in


def _made(cls: type, entry: PlugInEntry, place: Where) -> Any:
    names = _option_names(cls)
    options = {name: getattr(entry, name, None) for name in _SHARED if name in names}
    options = {name: value for name, value in options.items() if value is not None} | entry.options
    for name, value in options.items():
        if name not in names:
            raise place.refusal(name, value, nearest(name, {*names, *type(entry).model_fields}))
    try:
        return _adapter(cls).validate_json(to_json(options, inf_nan_mode="constants"), strict=True)
    except ValidationError as error:
        raise place.refusal(*first_refusal(error, lambda keys: () if keys else names)) from None
    except InputError as error:
        words = error.field.replace(".", " ").split()  # a plug-in may say "data image_size"
        name = words[-1] if len(words) <= 2 and words[-1] in names else error.field
        raise place.refusal(name, error.value, error.expected) from None


def _points(group: Group) -> list[EntryPoint]:
    return list(entry_points(group=f"dpaudit.{group}"))


def _point(group: Group, name: str, place: Where) -> EntryPoint:
    points = _points(group)
    matches = [point for point in points if point.name == name]
    if not matches:
        expected = f"{nearest(name, {point.name for point in points})} (see `dpaudit list {group}`)"
        raise place.refusal("name", name, expected)
    if len(matches) > 1:
        raise place.refusal("name", name, any_of(point.value for point in matches) + ": two packages use this name")
    return matches[0]


def _described(group: Group, point: EntryPoint) -> PlugIn:
    origin = f"{point.dist.name} {point.dist.version}" if point.dist else "unknown"
    summary, broken = "", None
    try:
        summary = _summary(_checked(group, _loaded(point)))
    except _BrokenPlugInError as error:
        broken = str(error)
    return PlugIn(name=point.name, target=point.value, origin=origin, summary=summary, broken=broken)


def _loaded(point: EntryPoint) -> Any:
    try:
        return point.load()
    except (Exception, SystemExit) as error:
        raise _BrokenPlugInError(_reason(error)) from error


def _named(name: str, place: Where) -> Any:
    source, _, attribute = name.rpartition(":")
    module = _file_module(source, name, place) if source.endswith(".py") else _module(source)
    if not hasattr(module, attribute):
        names = [key for key, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__]
        raise place.refusal("name", name, f"after the colon {nearest(attribute, names)}")
    return getattr(module, attribute)


def _module(source: str) -> ModuleType:
    try:
        return importlib.import_module(source)
    except (Exception, SystemExit) as error:
        raise _BrokenPlugInError(_reason(error)) from error


def _file_module(source: str, name: str, place: Where) -> ModuleType:
    path = Path(source).resolve()
    if not path.is_file():
        raise place.refusal("name", name, f"a file that exists; there is no {path}")
    module_name = f"dpaudit_file_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    if module_name in sys.modules:
        return sys.modules[module_name]
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise place.refusal("name", name, "a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # dataclasses look their annotations up there
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[module_name]
        raise _BrokenPlugInError(_reason(error)) from error
    return module


def _checked(group: Group, found: Any) -> type:
    """Return the class if it is a frozen dataclass with readable options that offers what its group asks for."""
    if not isinstance(found, type):
        raise _BrokenPlugInError(f"it is {type(found).__name__}, not a class")
    if not dataclasses.is_dataclass(found) or not found.__dataclass_params__.frozen:  # type: ignore[attr-defined]  # typeshed leaves it out
        raise _BrokenPlugInError("it is not a frozen dataclass")
    lacks = min((_lacking(found, protocol) for protocol in GROUPS[group]), key=len)
    if lacks:
        raise _BrokenPlugInError(f"it lacks {', '.join(lacks)}, which {group} must have")
    if taken := sorted(_OWN & _option_names(found)):
        raise _BrokenPlugInError(f"its option {taken[0]!r} has a name that recipes use themselves")
    try:
        _adapter(found)
    except Exception as error:  # pydantic documents no common class of what an annotation can make it raise
        raise _BrokenPlugInError(f"the types of its options cannot be read: {_reason(error)}") from error
    return found


def _adapter(cls: type) -> TypeAdapter[Any]:
    adapter = TypeAdapter[Any](cls)
    adapter.rebuild()  # raises where an annotation names nothing; without it pydantic puts that off until first use
    return adapter


def _lacking(cls: type, protocol: type) -> list[str]:
    offered = {*dir(cls), *_option_names(cls)}
    members = {name for base in protocol.__mro__ for name in vars(base)}
    wanted = {name for name in members if not name.startswith("_") or name in _OPERATORS}
    return sorted(wanted - offered)


def _option_names(cls: type) -> set[str]:
    return {field.name for field in dataclasses.fields(cls) if field.init}


def _summary(cls: type) -> str:
    doc = (cls.__doc__ or "").strip()
    return "" if doc.startswith(f"{cls.__name__}(") else doc.partition("\n")[0]  # dataclasses make up a docstring


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
