"""The application: its verbs, and what a failure prints."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Annotated

import typer

from dpaudit.errors import DpauditError

__all__ = ["application", "main"]

# Threads of OpenMP spin while they wait for each other. When another program holds a core, a step of a small model then
# takes ten times as long (measured: 3.2 s against 0.27 s on two cores); waiting passively costs nothing measurable.
# Those of OpenBLAS spin when numpy is loaded: 0.2 s of a second that an answer from counts takes in all.
_PATIENCE = {"OMP_WAIT_POLICY": "PASSIVE", "OPENBLAS_THREAD_TIMEOUT": "4"}

#: verb -> module and function; a verb's module is loaded when the verb is asked for
_VERBS = {
    "run": "audits:run",
    "train": "audits:train",
    "train-references": "references:train_references",
    "attack": "audits:attack",
    "bound": "bounds:bound",
    "account": "numbers:account",
    "plan": "plan:plan",
    "probe": "audits:probe",
    "report": "audits:report",
    "gate": "gate:gate",
    "compare": "compare:compare",
    "list": "looks:list_plugins",
    "show": "looks:show",
    "doctor": "looks:doctor",
    "bench": "bench:app",
}


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version  # noqa: PLC0415 (imports stay lazy for --help)

        typer.echo(f"dpaudit {version('dpaudit')}")
        raise typer.Exit


def _options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def application(verb: str | None = None) -> typer.Typer:
    """Return the application with this verb alone, or with all of them."""
    app = typer.Typer(
        name="dpaudit",
        help="Train vision-language models under differential privacy, attack them, and compare three numbers: "
        "the epsilon promised, the epsilon refuted, the utility bought.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    app.callback()(_options)
    for name in _VERBS if verb is None else (verb,):
        module, _, function = _VERBS[name].partition(":")
        found = getattr(import_module(f"dpaudit.cli.{module}"), function)
        if isinstance(found, typer.Typer):
            app.add_typer(found, name=name)
        else:
            app.command(name)(found)
    return app


def main() -> None:
    """Run the command line: every failure that a user can mend is one line on standard error."""
    for name, value in _PATIENCE.items():  # read when numpy and torch are loaded
        os.environ.setdefault(name, value)
    verb = sys.argv[1] if sys.argv[1:] and sys.argv[1] in _VERBS else None
    try:
        application(verb)()
    except DpauditError as error:
        print(f"dpaudit: {error}", file=sys.stderr)  # noqa: T201 (the command line's own output)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("dpaudit: stopped; the same command continues where it was", file=sys.stderr)  # noqa: T201
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
