"""The application: its verbs, and what a failure prints."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from dpaudit.cli import audits, bench, bounds, looks, numbers, plan
from dpaudit.errors import DpauditError

__all__ = ["app", "main"]

# Threads of OpenMP spin while they wait for each other. When another program holds a core, a step of a small model then
# takes ten times as long (measured: 3.2 s against 0.27 s on two cores); waiting passively costs nothing measurable.

app = typer.Typer(
    name="dpaudit",
    help="Train vision-language models under differential privacy, attack them, and compare three numbers: "
    "the epsilon promised, the epsilon refuted, the utility bought.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version  # noqa: PLC0415 (imports stay lazy for --help)

        typer.echo(f"dpaudit {version('dpaudit')}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


app.command()(audits.run)
app.command()(audits.train)
app.command()(audits.attack)
app.command()(bounds.bound)
app.command()(numbers.account)
app.command()(plan.plan)
app.command()(audits.probe)
app.command()(audits.report)
app.command("list")(looks.list_plugins)
app.command()(looks.show)
app.command()(looks.doctor)
app.add_typer(bench.app, name="bench")


def main() -> None:
    """Run the command line: every failure that a user can mend is one line on standard error."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch is loaded
    try:
        app()
    except DpauditError as error:
        print(f"dpaudit: {error}", file=sys.stderr)  # noqa: T201 (the command line's own output)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("dpaudit: stopped; the same command continues where it was", file=sys.stderr)  # noqa: T201
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
