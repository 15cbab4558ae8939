"""What every section of a recipe is, what names a plug-in, and where a key leads in a tree of sections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, get_args

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic import GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue
    from pydantic_core import CoreSchema

__all__ = ["PlugInEntry", "Section", "keys_at", "without_tags"]


class Section(BaseModel):
    """A part of a recipe: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class PlugInEntry(Section):
    """A plug-in by name, with its options as they were written."""

    model_config = ConfigDict(extra="allow")
    by_name: ClassVar[bool] = True  # whether the name alone may stand for the whole entry

    name: str = Field(min_length=1, description="a name, pkg.mod:Name or ./file.py:Name")

    @property
    def options(self) -> dict[str, Any]:
        """Return all keys that are not the recipe's own: the plug-in's options, not yet checked."""
        return dict(self.model_extra or {})

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Return the schema of the entry, or of its name where that is enough."""
        entry = handler(schema)
        return {"anyOf": [{"type": "string"}, handler.resolve_ref_schema(entry)]} if cls.by_name else entry


def keys_at(root: type[Section], keys: Sequence[str | int]) -> list[str]:
    """Return the keys that the section at a place of pydantic's may have: fields of sections, positions of lists."""
    sections = _sections(_walk(root, keys)[1])
    return list(sections[0].model_fields) if len(sections) == 1 else []


def without_tags(root: type[Section], keys: Sequence[str | int]) -> tuple[str | int, ...]:
    """Return a place of pydantic's as a user writes it: pydantic adds the name of whatever was chosen from a union."""
    return _walk(root, keys)[0]


def _walk(root: type[Section], keys: Sequence[str | int]) -> tuple[tuple[str | int, ...], Any]:
    kind: Any = root
    written: list[str | int] = []
    for key in keys:
        tagged = _tagged(kind)
        if key in tagged:
            kind = tagged[str(key)]
            continue
        written.append(key)
        kind = _inside(kind, key)
    return tuple(written), kind


def _inside(kind: Any, key: str | int) -> Any:
    """Return the annotation of what a key leads to, None where that is not known."""
    if isinstance(key, int):
        return get_args(kind)[0] if get_args(kind) else None
    fields = [section.model_fields[key] for section in _sections(kind) if key in section.model_fields]
    return fields[0].annotation if fields else None


def _tagged(kind: Any) -> dict[str, type[Section]]:
    """Return the members of a closed union by name."""
    members = _sections(kind)
    if len(members) < 2:
        return {}
    return {get_args(member.model_fields["name"].annotation)[0]: member for member in members}


def _sections(kind: Any) -> list[type[Section]]:
    """Return the sections that an annotation allows: itself, or the members of a union."""
    if isinstance(kind, type):
        return [kind] if issubclass(kind, Section) else []
    return [section for part in get_args(kind) for section in _sections(part)]
