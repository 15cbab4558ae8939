"""The verb train-references: more hands for the pool of references."""

from __future__ import annotations

from typing import Annotated

import typer

from dpaudit.cli.audits import (  # noqa: TC001 (typer reads them when it runs)
    Device,
    ExecutorName,
    Jobs,
    Json,
    Out,
    Overrides,
    Quiet,
    RecipeArgument,
)
from dpaudit.cli.progress import Verbose, progress_for

__all__ = ["train_references"]

Worker = Annotated[
    bool,
    typer.Option("--worker", help="Train in this process, and end when nothing is left that nobody else is training."),
]


def train_references(  # noqa: PLR0913 (the options of a command)
    recipe: RecipeArgument,
    *,
    out: Out = None,
    overrides: Overrides = None,
    device: Device = None,
    worker: Worker = False,
    jobs: Jobs = None,
    executor: ExecutorName = "local",
    as_json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Train the references of a recipe that the pool lacks; `dpaudit run` does so by itself.

    The pool lies in the cache folder (DPAUDIT_CACHE). Any number of these commands may run at the same time, on any
    machines that see the folder: each reference is trained once, and what a killed one held is taken by another.

    Example: dpaudit train-references mine.yaml --jobs 8

    Example: DPAUDIT_CACHE=/shared/pool dpaudit train-references mine.yaml --worker
    """
    from dpaudit.calls.verbs import train_references as call  # noqa: PLC0415 (imports stay lazy for --help)
    from dpaudit.executors import executor as executor_of  # noqa: PLC0415

    held, wanted = call(
        recipe,
        out=out,
        overrides=overrides or [],
        device=device,
        worker=worker,
        executor=executor_of(executor, jobs),
        progress=progress_for(quiet=quiet, verbose=verbose),
    )
    if as_json:
        import json  # noqa: PLC0415

        typer.echo(json.dumps({"in the pool": held, "of": wanted}))
    else:
        typer.echo(f"references: {held} of {wanted} are in the pool")
