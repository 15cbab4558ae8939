"""Verbs that only look: list, show, doctor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer

from dpaudit.errors import DpauditError, InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dpaudit.discovery import Group
    from dpaudit.mechanism import Adjacency

__all__ = ["doctor", "list_plugins", "show"]

_GROUPS = ("attacks", "trainers", "datasets", "probes")


def list_plugins(
    what: Annotated[
        str, typer.Argument(help="recipes, attacks, trainers, datasets, probes, bounds or verbs.")
    ] = "recipes",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")] = False,
) -> None:
    """List what there is. A plug-in that fails to import is listed as broken, with its reason.

    `list verbs` shows an example of every command.

    Example: dpaudit list attacks
    """
    from dpaudit.cli.tables import print_table  # noqa: PLC0415 (imports stay lazy for --help)

    rows = _rows(what)
    if as_json:
        _print_json([dict(zip(rows[0], row, strict=True)) for row in rows[1:]])
    else:
        print_table(rows)


def show(
    what: Annotated[str, typer.Argument(help="`schema`, or the name of a built-in recipe.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print a recipe as JSON.")] = False,
) -> None:
    """Show the JSON Schema of recipes (for editors), or a built-in recipe: copy it and change it.

    Example: dpaudit show quickstart > mine.yaml
    """
    from dpaudit.recipes.recipe import built_in_recipes, json_schema, load_recipe  # noqa: PLC0415 (imports stay lazy for --help)

    if what == "schema":
        _print_json(json_schema())
        return
    loaded = load_recipe(what)
    if as_json:
        _print_json(loaded.recipe.model_dump(mode="json"))
        return
    path = built_in_recipes().get(what)
    if path is None:
        raise InputError("what", what, f"schema or a built-in recipe: {', '.join(built_in_recipes())}")
    typer.echo(path.read_text(encoding="utf-8"), nl=False)


def doctor(
    recipe: Annotated[str, typer.Argument(help="Whose data are read.")] = "dp-cap-micro",
    every: Annotated[
        bool, typer.Option("--all", help="Replay under every adjacency, not add-remove alone (takes thrice as long).")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")] = False,
) -> None:
    """Check installation, devices and data, and test the parts that every number rests on, in about ten seconds.

    Example: dpaudit doctor
    Example: dpaudit doctor mine.yaml --all
    """
    from dpaudit.calls.doctor import examine  # noqa: PLC0415 (imports torch)

    findings = examine(recipe, _adjacencies(every=every))
    if as_json:
        _print_json([{"check": found.check, "fine": found.fine, "finding": found.finding} for found in findings])
    else:
        for found in findings:
            typer.echo(f"{'ok  ' if found.fine else 'FAIL'}  {found.check}: {found.finding}")
    broken = [found.check for found in findings if not found.fine]
    if broken:
        raise DpauditError(f"doctor found: {', '.join(broken)}")


def _adjacencies(*, every: bool) -> Sequence[Adjacency]:
    from dpaudit.mechanism import Adjacency  # noqa: PLC0415 (imports stay lazy for --help)

    return get_args(Adjacency) if every else ("add-remove",)


def _rows(what: str) -> list[list[str]]:
    if what == "recipes":
        from dpaudit.recipes.recipe import built_in_recipes, load_recipe  # noqa: PLC0415 (imports stay lazy for --help)

        names = built_in_recipes()
        return [["name", "title"], *([name, load_recipe(name).recipe.title or ""] for name in names)]
    if what == "bounds":
        from dpaudit.bounds.methods import METHODS  # noqa: PLC0415 (imports scipy)
        from dpaudit.calls.own_scores import NEEDS  # noqa: PLC0415

        head = ["method", "takes", "hypotheses", "guarantee", "summary", "source", "needs"]
        return [
            head,
            *(
                [m.name, m.takes, ", ".join(m.testable), m.guarantee, m.summary, m.source, NEEDS[m.takes]]
                for m in METHODS.values()
            ),
        ]
    if what == "verbs":
        from dpaudit.cli.spoken import examples, summary, verbs  # noqa: PLC0415 (loads every verb)

        found = verbs().items()
        return [
            ["verb", "what it does", "example"],
            *([name, summary(verb), examples(verb)[0]] for name, verb in found),
        ]
    if what not in _GROUPS:
        raise InputError("what", what, f"one of recipes, bounds, verbs, {', '.join(_GROUPS)}")
    from dpaudit.discovery import available  # noqa: PLC0415 (may import torch)

    rows = [["name", "status", "origin", "summary"]]
    for plug_in in available(cast("Group", what)):
        status = "ok" if plug_in.broken is None else f"broken: {plug_in.broken}"
        rows.append([plug_in.name, status, plug_in.origin, plug_in.summary])
    return rows


def _print_json(value: object) -> None:
    import json  # noqa: PLC0415 (imports stay lazy for --help)

    typer.echo(json.dumps(value, indent=1))
