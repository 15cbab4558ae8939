"""The verb gate: exit code 3 unless a finished audit meets every condition."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 (typer reads it)
from typing import Annotated

import typer

from dpaudit.errors import FalsifiedError, InputError

__all__ = ["gate"]


def gate(  # noqa: PLR0913 (the options of a command)
    folder: Annotated[Path, typer.Argument(help="A run folder with a finished report.")],
    *,
    max_lower_bound: Annotated[
        float | None, typer.Option(help="The largest epsilon that a certified bound may show.")
    ] = None,
    max_epsilon: Annotated[
        float | None, typer.Option(help="The largest epsilon that may be promised, tuning and earlier training paid.")
    ] = None,
    require_assumptions: Annotated[
        bool, typer.Option("--require-assumptions", help="Every premise of the promise must be held.")
    ] = False,
    allow_unknown: Annotated[list[str] | None, typer.Option(help="A premise that may be unknown. Repeatable.")] = None,
    allow_inconclusive: Annotated[
        bool, typer.Option("--allow-inconclusive", help="Let an audit pass that could not have found a fault.")
    ] = False,
    min_score: Annotated[
        list[str] | None, typer.Option(help="PROBE=VALUE: least lower end of the trained model's interval. Repeatable.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")] = False,
) -> None:
    """Check a finished audit against conditions, for CI: exit code 3 unless all are met. Nothing is computed.

    Always required: a promise was made, and the audit's verdict is CONSISTENT.

    Example: dpaudit gate runs/quickstart --max-lower-bound 6 --require-assumptions
    """
    from dpaudit.calls.verbs import gate as call  # noqa: PLC0415 (imports stay lazy for --help)
    from dpaudit.conditions import Gate  # noqa: PLC0415

    conditions = call(
        folder,
        Gate(
            max_lower_bound=max_lower_bound,
            max_epsilon=max_epsilon,
            require_assumptions=require_assumptions,
            allow_unknown=tuple(allow_unknown or ()),
            allow_inconclusive=allow_inconclusive,
            min_score=tuple(_score(pair) for pair in min_score or ()),
        ),
    )
    failed = [condition.name for condition in conditions if not condition.met]
    if as_json:
        import json  # noqa: PLC0415 (imports stay lazy for --help)

        found = [{"condition": each.name, "met": each.met, "finding": each.finding} for each in conditions]
        typer.echo(json.dumps({"passed": not failed, "conditions": found}, indent=1))
    else:
        for each in conditions:
            typer.echo(f"{'ok  ' if each.met else 'FAIL'}  {each.name}: {each.finding}")
    if failed:
        raise FalsifiedError(f"the gate failed: {', '.join(failed)}")


def _score(pair: str) -> tuple[str, float]:
    label, _, value = pair.partition("=")
    try:
        return label, float(value)
    except ValueError as error:
        raise InputError("--min-score", pair, "PROBE=VALUE, for example linear=0.6") from error
