"""The application: its verbs, and what a failure prints."""

from __future__ import annotations

import os
import shlex
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Annotated

import typer

from dpaudit.errors import DpauditError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["application", "continuation", "main"]

# Threads of OpenMP spin while they wait for each other. When another program holds a core, a step of a small model then
# takes ten times as long (measured: 3.2 s against 0.27 s on two cores); waiting passively costs nothing measurable.
# Those of OpenBLAS spin when numpy is loaded: 0.2 s of a second that an answer from counts takes in all.
_PATIENCE = {"OMP_WAIT_POLICY": "PASSIVE", "OPENBLAS_THREAD_TIMEOUT": "4"}

#: verb -> module and function; a verb's module is loaded when the verb is asked for
_VERBS = {
    "run": "audits:run",
    "train": "audits:train",
    "sweep": "sweep:sweep",
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
    "new": "kit:new",
    "check": "kit:check",
    "bench": "bench:app",
}


#: verbs that go on, when they are given again, where they were stopped
_CONTINUE = {"run", "train", "train-references", "sweep", "attack", "probe", "report"}


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


def continuation(argv: Sequence[str]) -> str:
    """Return what to say of a command that was stopped: the very command that continues it, where one does.

    >>> continuation(["/usr/bin/dpaudit", "run", "my recipe.yaml", "--fresh"])
    "; this continues where it was: dpaudit run 'my recipe.yaml'"
    >>> continuation(["dpaudit", "bench", "bounds"])
    ''
    """
    program, *arguments = argv
    if not arguments or arguments[0] not in _CONTINUE:
        return ""
    name = ["python", "-m", "dpaudit"] if program.endswith("__main__.py") else ["dpaudit"]
    left = [argument for argument in arguments if argument != "--fresh"]  # it would delete what there is to continue
    return f"; this continues where it was: {shlex.join([*name, *left])}"


def _trace() -> None:
    """With --verbose, show where a failure came from."""
    from dpaudit.cli.progress import verbose_now  # noqa: PLC0415 (imports stay lazy for --help)

    if verbose_now():
        import traceback  # noqa: PLC0415 (seldom needed)

        traceback.print_exc()


def main() -> None:
    """Run the command line: every failure that a user can mend is one line on standard error."""
    for name, value in _PATIENCE.items():  # read when numpy and torch are loaded
        os.environ.setdefault(name, value)
    verb = sys.argv[1] if sys.argv[1:] and sys.argv[1] in _VERBS else None
    try:
        application(verb)()
    except DpauditError as error:
        _trace()
        print(f"dpaudit: {error}", file=sys.stderr)  # noqa: T201 (the command line's own output)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print(f"dpaudit: stopped{continuation(sys.argv)}", file=sys.stderr)  # noqa: T201
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
