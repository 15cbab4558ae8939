"""The verb sweep: one recipe at every point of a grid, then compared."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 (typer reads it)
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dpaudit.cli.audits import (  # noqa: TC001 (typer reads them when it runs)
    Json,
    Measure,
    Overrides,
    Quiet,
    RecipeArgument,
)
from dpaudit.cli.progress import Verbose, progress_for
from dpaudit.errors import DpauditError, FalsifiedError, InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dpaudit.calls.sweeps import Outcome, Point, Sweep
    from dpaudit.pipeline.forecasts import Forecast

__all__ = ["sweep"]


def sweep(  # noqa: PLR0913 (the options of a command)
    recipe: RecipeArgument,
    *,
    over: Annotated[
        list[str] | None,
        typer.Option("--over", help="A key and its values: --over privacy.epsilon=1,8. Repeatable: all combinations."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The folder of all run folders [default: sweeps/NAME].")
    ] = None,
    overrides: Overrides = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the points with their hours.")] = False,
    measure: Measure = False,
    jobs: Annotated[
        int,
        typer.Option("--jobs", "-j", min=1, help="Points at a time; beside others a point has one thread."),
    ] = 1,
    executor: Annotated[
        str, typer.Option("--executor", help="Where points are worked on: local processes, or ray (an extra).")
    ] = "local",
    as_json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Audit a recipe at every point of a grid, then compare. Run again, it continues; finished points are skipped.

    A point that fails stops no other. Exit code 3 if a promise fell at any point, else 1 if a point failed.

    Example: dpaudit sweep quickstart --over privacy.epsilon=1,2,4,8 --over trainer.size=micro,nano --out sweeps/first

    Example: dpaudit sweep mine.yaml --over trainer=vip,dp-cap --dry-run
    """
    from dpaudit.calls.sweeps import grid, parse_axis  # noqa: PLC0415 (imports stay lazy for --help)
    from dpaudit.calls.sweeps import sweep as call  # noqa: PLC0415
    from dpaudit.executors import executor as executor_of  # noqa: PLC0415

    if measure and not dry_run:
        raise InputError("--measure", measure, "--dry-run beside it: a run measures itself")
    axes: dict[str, Any] = {}
    for text in over or ():
        key, values = parse_axis(text)
        if key in axes:
            raise InputError("--over", text, f"{key} once, with all its values")
        axes[key] = values
    progress = progress_for(quiet=quiet, verbose=verbose)
    if dry_run:
        from dpaudit.calls.sweeps import look_ahead  # noqa: PLC0415

        points = grid(recipe, axes, out=out, overrides=overrides or ())
        _show_points(list(look_ahead(recipe, points, progress, measure=measure)), as_json=as_json)
        return
    found = call(
        recipe,
        axes,
        out=out,
        overrides=overrides or (),
        executor=executor_of(executor, jobs),
        progress=progress,
    )
    _show(found, as_json=as_json)
    _judge(found.outcomes)


def _show(found: Sweep, *, as_json: bool) -> None:
    from dpaudit.cli.compare import comparison_table  # noqa: PLC0415 (imports stay lazy for --help)
    from dpaudit.cli.tables import print_json, print_table  # noqa: PLC0415

    page = None if found.page is None else str(found.page)
    if as_json:
        told = [
            {
                "point": each.point.name,
                "folder": str(each.point.folder),
                "settings": list(each.point.settings),
                "status": each.status,
                "verdict": each.verdict or None,
                "reason": each.reason or None,
                "log": None if each.log is None else str(each.log),
            }
            for each in found.outcomes
        ]
        print_json({"page": page, "points": told})
        return
    if found.done:
        print_table(comparison_table(found.done))
    for each in found.outcomes:
        if each.status == "failed":
            more = "" if each.log is None else f" (traceback: {each.log})"
            typer.echo(f"failed: {each.point.name}: {each.reason}{more}")
    if page is not None:
        typer.echo(f"\npage: {page}")
    if len(found.done) > 1:
        typer.echo(
            "Every point read the same records. Who releases one of these models because it did best pays for the "
            "others too: privacy.tuning_runs."
        )


def _judge(outcomes: Sequence[Outcome]) -> None:
    """Leave with exit code 3 where a promise fell, which no second attempt undoes, else 1 where a point failed."""
    fell = [each.point.name for each in outcomes if each.verdict in ("VIOLATED", "UNSOUND")]
    failed = [each.point.name for each in outcomes if each.status == "failed"]
    if fell:
        raise FalsifiedError(f"verdict VIOLATED or UNSOUND at {', '.join(fell)}")
    if failed:
        raise DpauditError(f"{len(failed)} of {len(outcomes)} points failed; the same command tries them again")


def _show_points(found: Sequence[tuple[Point, Forecast]], *, as_json: bool) -> None:
    from dpaudit.cli.tables import print_json, print_table  # noqa: PLC0415 (imports stay lazy for --help)
    from dpaudit.reports.numbers import at_most  # noqa: PLC0415

    hours = [_hours(forecast) for _, forecast in found]
    total = None if None in hours else sum(each for each in hours if each is not None)
    if as_json:
        rows = [
            {"point": point.name, "folder": str(point.folder), "settings": list(point.settings), "hours": each}
            for (point, _), each in zip(found, hours, strict=True)
        ]
        print_json({"points": rows, "hours": total})
        return
    table = [["point", "promise", "parameters", "hours"]]
    for (point, forecast), each in zip(found, hours, strict=True):
        promise = "none" if forecast.promise.kind == "none" else at_most(forecast.promise.epsilon)
        table.append([point.name, promise, f"{forecast.parameters:,}", "not known" if each is None else f"{each:.3g}"])
    print_table(table)
    known = "not known (--measure times a few steps of each)" if total is None else f"{total:.3g}"
    typer.echo(f"\n{len(found)} points, hours of training in all: {known}; nothing was trained or written")


def _hours(forecast: Forecast) -> float | None:
    """Return the hours of training of one point, its public stage and references included; None if not known."""
    known = [None if stage.hours is None else stage.times * stage.hours for stage in forecast.stages]
    return None if None in known else sum(each for each in known if each is not None)
