"""Verbs that work on numbers alone: account."""

from __future__ import annotations

from typing import Annotated

import typer

from dpaudit.errors import InputError

__all__ = ["account"]


def account(  # noqa: PLR0913 (the numbers of a mechanism, each by its name)
    *,
    noise_multiplier: Annotated[float, typer.Option(help="Noise std / add-remove sensitivity.")],
    batch_size: Annotated[int, typer.Option(help="Expected batch size.")],
    dataset_size: Annotated[int, typer.Option(help="Records that could be in.")],
    steps: Annotated[int, typer.Option(help="Number of updates.")],
    delta: Annotated[float, typer.Option(help="The delta at which epsilon is given.")],
    sampling: Annotated[str, typer.Option(help="poisson, fixed, shuffle or full.")] = "poisson",
    adjacency: Annotated[str, typer.Option(help="add-remove, replace-one or zero-out.")] = "add-remove",
    tuning_runs: Annotated[int | None, typer.Option(min=0, help="Trainings on the same data before this one.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")] = False,
) -> None:
    """Say what every accountant promises for a mechanism, before anything is trained.

    Example: dpaudit account --noise-multiplier 0.728 --batch-size 1310720 --dataset-size 233804767 --steps 5708
    --delta 4.277e-9
    """
    from dpaudit.calls import account as call  # noqa: PLC0415 (imports stay lazy for --help)
    from dpaudit.cli.tables import guarantee_rows, print_table  # noqa: PLC0415

    _check(noise_multiplier, batch_size, dataset_size, steps, delta)
    statement = call(
        noise_multiplier=noise_multiplier,
        batch_size=batch_size,
        dataset_size=dataset_size,
        steps=steps,
        delta=delta,
        sampling=_one_of("--sampling", sampling, ("poisson", "fixed", "shuffle", "full")),  # type: ignore[arg-type]  # checked against the literal's values
        adjacency=_one_of("--adjacency", adjacency, ("add-remove", "replace-one", "zero-out")),  # type: ignore[arg-type]  # as above
        tuning_runs=tuning_runs,
    )
    if as_json:
        typer.echo(statement.model_dump_json(indent=1))
        return
    print_table(guarantee_rows(statement.guarantees))
    if statement.with_tuning:
        typer.echo(f"\nwith {tuning_runs} tuning runs on the same data:")
        print_table(guarantee_rows(statement.with_tuning))
    broken = [premise for premise in statement.assumptions if premise.status == "violated"]
    for premise in broken:
        typer.echo(f"violated: {premise.name}: {premise.evidence}")


def _check(noise_multiplier: float, batch_size: int, dataset_size: int, steps: int, delta: float) -> None:
    for field, value, right, expected in (
        ("--noise-multiplier", noise_multiplier, noise_multiplier >= 0, "a number of at least 0"),
        ("--dataset-size", dataset_size, dataset_size >= 1, "at least 1"),
        ("--batch-size", batch_size, 1 <= batch_size <= dataset_size, f"1 to the dataset size ({dataset_size})"),
        ("--steps", steps, steps >= 0, "at least 0"),
        ("--delta", delta, 0 < delta < 1, "a number between 0 and 1, both excluded"),
    ):
        if not right:
            raise InputError(field, value, expected)


def _one_of(field: str, value: str, known: tuple[str, ...]) -> str:
    if value not in known:
        raise InputError(field, value, f"one of {', '.join(known)}")
    return value
