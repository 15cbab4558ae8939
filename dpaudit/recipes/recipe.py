"""Recipes: one YAML file that says everything about an audit, read and checked before anything runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from pydantic_core import to_json

from dpaudit.errors import InputError
from dpaudit.recipes.located import Where, dump, parse_setting, read
from dpaudit.recipes.refusals import MISSING, first_refusal, nearest
from dpaudit.recipes.schema import keys_at, without_tags
from dpaudit.recipes.sections import (
    AttackEntry,
    BoundRequest,
    Bounds,
    Canaries,
    Compute,
    DataEntry,
    DecidingBound,
    InputCanaries,
    PlugInEntry,
    Pretrain,
    Privacy,
    ProbeEntry,
    PublicData,
    Recipe,
    References,
    Report,
    Runs,
    Section,
    Split,
    Start,
    TrainerEntry,
    Weights,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dpaudit.recipes.located import Document

__all__ = [
    "AttackEntry",
    "BoundRequest",
    "Bounds",
    "Canaries",
    "Compute",
    "DataEntry",
    "DecidingBound",
    "InputCanaries",
    "LoadedRecipe",
    "PlugInEntry",
    "Pretrain",
    "Privacy",
    "ProbeEntry",
    "PublicData",
    "Recipe",
    "References",
    "Report",
    "Runs",
    "Section",
    "Split",
    "Start",
    "TrainerEntry",
    "Weights",
    "built_in_recipes",
    "completed",
    "differences",
    "json_schema",
    "load_recipe",
    "resolved",
    "said",
]

#: an override of the one puts the other aside
_EITHER = {
    ("privacy", "epsilon"): ("privacy", "noise_multiplier"),
    ("privacy", "noise_multiplier"): ("privacy", "epsilon"),
}


@dataclass(frozen=True)
class LoadedRecipe:
    """A recipe, and where each of its values stands."""

    recipe: Recipe
    where: Where = field(default_factory=Where)


def load_recipe(source: str | Path, overrides: Sequence[str] = (), attacks: Sequence[str] = ()) -> LoadedRecipe:
    """Return the recipe of a file or a built-in name, with `KEY=VALUE` overrides applied in order.

    attacks: names to append to the recipe's. An override of privacy.epsilon puts privacy.noise_multiplier aside, and
    the other way round. RecipeError names the field, the value, what was expected, and the line or `--set`.

    >>> loaded = load_recipe("quickstart", ["privacy.epsilon=4"])
    >>> loaded.recipe.privacy.epsilon, loaded.where("privacy.epsilon")
    (4.0, '--set')
    """
    path = _find(source)
    document = _with_attacks(_override(read(_text(path), str(path)), overrides), attacks)
    where = Where(document.lines)
    try:
        # As JSON, because pydantic's strict mode then takes lists for tuples and still refuses "3" and true for 3.
        recipe = Recipe.model_validate_json(to_json(document.tree, inf_nan_mode="constants"), strict=True)
    except ValidationError as error:
        raise where.refusal(*first_refusal(error, partial(keys_at, Recipe), partial(without_tags, Recipe))) from None
    except InputError as error:
        raise where.refusal(error.field, error.value, error.expected) from None
    return LoadedRecipe(recipe, where)


def built_in_recipes() -> dict[str, Path]:
    """Return the built-in recipes by name."""
    return {path.stem: path for path in sorted(Path(__file__).parent.glob("*.yaml"))}


def resolved(recipe: Recipe) -> str:
    """Return the recipe as YAML with every default written out; it loads back to an equal recipe."""
    return dump(recipe.model_dump(mode="json"))


def completed(recipe: Any) -> Any:
    """Return a recipe's dictionary with today's defaults for fields that it lacks; as it is where it is none today.

    >>> written = load_recipe("quickstart").recipe.model_dump(mode="json")
    >>> older = {name: value for name, value in written.items() if name != "references"}
    >>> completed(older) == written
    True
    """
    try:
        return Recipe.model_validate(recipe).model_dump(mode="json")
    except (ValidationError, InputError):
        return recipe


def said(recipe: Recipe, **selection: Any) -> tuple[Any, ...]:
    """Return what a recipe says beyond defaults, and which kind its parts are: a field that is new changes nothing.

    selection: `include` or `exclude` of whole sections, as of pydantic's `model_dump`.

    >>> loud, plain = (load_recipe("quickstart", [f"seed={seed}"]).recipe for seed in (1, 0))
    >>> said(loud, include={"seed"}), said(plain, include={"seed"})
    (({'seed': 1}, []), ({}, []))
    """
    names = [leaf for leaf in _leaves(recipe.model_dump(mode="json", **selection), "") if leaf[0].endswith(".name")]
    return recipe.model_dump(mode="json", exclude_defaults=True, **selection), names


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Return what differs between two recipes as dictionaries, one line per value.

    >>> differences({"privacy": {"epsilon": 8.0}}, {"privacy": {"epsilon": 4.0, "steps": 10}})
    ['privacy.epsilon: 8 -> 4', 'privacy.steps: (absent) -> 10']
    """
    before, after = dict(_leaves(old, "")), dict(_leaves(new, ""))
    return [
        f"{name}: {_shown(before.get(name, MISSING))} -> {_shown(after.get(name, MISSING))}"
        for name in {**before, **after}
        if before.get(name, MISSING) != after.get(name, MISSING)
    ]


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of recipes, for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Recipe.model_json_schema()}


def _find(source: str | Path) -> Path:
    """Return the file: a name that ends in .yaml or .yml or holds a separator is a path, any other is built in."""
    if isinstance(source, Path) or source.endswith((".yaml", ".yml")) or "/" in source or "\\" in source:
        return Path(source)
    known = built_in_recipes()
    if source not in known:
        raise InputError("recipe", source, f"a file NAME.yaml or {nearest(source, known)} (see `dpaudit list recipes`)")
    return known[source]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError("recipe", str(path), f"text in UTF-8 (byte {error.start} is not)") from None
    except OSError as error:
        raise InputError("recipe", str(path), f"a file that can be read ({error.strerror})") from None


def _override(document: Document, overrides: Sequence[str]) -> Document:
    settings = [parse_setting(setting) for setting in overrides]
    given = {keys for keys, value in settings if value is not None}
    for keys, value in settings:
        document = document.replaced(keys, value, "--set")
        if keys not in _EITHER or value is None:
            continue
        other = _EITHER[keys]
        if other in given:
            raise InputError(f"--set {'.'.join(keys)}", value, f"only one of the two; {'.'.join(other)} is set too")
        if document.get(other) is not None:
            document = document.replaced(other, None, "--set")
    return document


def _with_attacks(document: Document, names: Sequence[str]) -> Document:
    if not names:
        return document
    own = document.get(("attacks",))
    if own is None:
        own = [entry.name for entry in Recipe.model_fields["attacks"].default]
    if not isinstance(own, list):
        return document  # refused as it is
    return document.replaced(("attacks",), [*own, *names], "--attack")


def _leaves(node: Any, name: str) -> Iterator[tuple[str, Any]]:
    children = dict(enumerate(node)) if isinstance(node, (list, tuple)) else node
    if not isinstance(children, dict) or not children:
        yield name, node
        return
    for key, value in children.items():
        yield from _leaves(value, f"{name}.{key}" if name else str(key))


def _shown(value: Any) -> str:
    if value is MISSING:
        return "(absent)"
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value).removesuffix(".0")
