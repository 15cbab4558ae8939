"""The application: its verbs, and what a failure prints."""

from __future__ import annotations

import os
import sys

import typer

from dpaudit.cli import audits, bench, bounds, looks, numbers
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
app.command()(audits.run)
app.command()(audits.train)
app.command()(audits.attack)
app.command()(bounds.bound)
app.command()(numbers.account)
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
