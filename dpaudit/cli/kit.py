"""The verbs new and check: the kit for one's own attacks, trainers and probes."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 (typer reads it)
from typing import Annotated

import typer

from dpaudit.errors import FalsifiedError

__all__ = ["check", "new"]


def new(
    kind: Annotated[str, typer.Argument(help="attack, trainer or probe.")],
    name: Annotated[str, typer.Argument(help="What recipes will call it, for example nearest-mean.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The folder to write [default: ./NAME].")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")] = False,
) -> None:
    """Write a package with one working attack, trainer or probe and its test, to be changed. Overwrites nothing.

    Example: dpaudit new attack my-attack
    """
    from dpaudit.calls.kit import new as call  # noqa: PLC0415 (imports stay lazy for --help)

    folder = call(kind, name, out)
    written = sorted(str(path) for path in folder.iterdir())
    if as_json:
        _print_json({"folder": str(folder), "files": written})
        return
    for path in written:
        typer.echo(path)
    typer.echo(f"next: pip install -e {folder} && pytest {folder}   (then `{name}` is a name in any recipe)")


def check(
    name: Annotated[str, typer.Argument(help="A name, pkg.mod:Name or ./mine.py:Mine.")],
    options: Annotated[list[str] | None, typer.Option("--set", help="Its options: --set width=16.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Also fail where the suite cannot tell.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")] = False,
) -> None:
    """Check that an attack, trainer or probe keeps what dpaudit asks of it, in seconds: exit code 3 if it does not.

    Example: dpaudit check ./mine.py:Mine
    """
    from dpaudit.calls.kit import check as call  # noqa: PLC0415 (imports stay lazy for --help)
    from dpaudit.cli.audits import options_of  # noqa: PLC0415

    findings = call(name, options_of(options or []))
    if as_json:
        _print_json([{"check": each.check, "status": each.status, "finding": each.words} for each in findings])
    else:
        for each in findings:
            typer.echo(str(each))
    broken = [each.check for each in findings if each.status == "failed" or (strict and each.status == "unclear")]
    if broken:
        raise FalsifiedError(f"{name} fails: {', '.join(broken)}")


def _print_json(value: object) -> None:
    import json  # noqa: PLC0415 (imports stay lazy for --help)

    typer.echo(json.dumps(value, indent=1))
