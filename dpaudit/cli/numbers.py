"""Verbs that work on numbers alone: account."""

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING, Annotated

import typer

from dpaudit.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dpaudit.accounting.statement import AccountStatement
    from dpaudit.results import Assumption, GdpEstimate, Guarantee

__all__ = ["account"]

_FLAGS = ("noise_multiplier", "batch_size", "dataset_size", "steps", "delta", "epsilon", "tuning_runs")
_LARGE = 1e6  # from here on decimals say nothing


def account(  # noqa: PLR0913 (the numbers of a mechanism, each by its name)
    *,
    noise_multiplier: Annotated[float | None, typer.Option(help="Noise std / add-remove sensitivity.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Expected batch size.")] = None,
    dataset_size: Annotated[int, typer.Option(help="Records that could be in.")],
    steps: Annotated[int | None, typer.Option(help="Number of updates.")] = None,
    delta: Annotated[float, typer.Option(help="The delta at which epsilon is given.")],
    epsilon: Annotated[
        float | None, typer.Option(help="A target: leave out noise, batch or steps, and it is found.")
    ] = None,
    sampling: Annotated[str, typer.Option(help="poisson, fixed, shuffle or full.")] = "poisson",
    adjacency: Annotated[str, typer.Option(help="add-remove, replace-one or zero-out.")] = "add-remove",
    tuning_runs: Annotated[int | None, typer.Option(min=0, help="Trainings on the same data before this one.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")] = False,
) -> None:
    """Say what every accountant promises for a mechanism, before anything is trained.

    Examples:
      dpaudit account --noise-multiplier 0.728 --batch-size 1310720 --dataset-size 233804767 --steps 5708 --delta 4.3e-9

      dpaudit account --epsilon 8 --batch-size 256 --dataset-size 60000 --steps 2000 --delta 1e-5
    """
    from dpaudit.calls.verbs import account as call  # noqa: PLC0415 (imports stay lazy for --help)

    try:
        statement = call(
            noise_multiplier=noise_multiplier,
            batch_size=batch_size,
            dataset_size=dataset_size,
            steps=steps,
            delta=delta,
            epsilon=epsilon,
            sampling=_one_of("--sampling", sampling, ("poisson", "fixed", "shuffle", "full")),  # type: ignore[arg-type]  # checked against the literal's values
            adjacency=_one_of("--adjacency", adjacency, ("add-remove", "replace-one", "zero-out")),  # type: ignore[arg-type]  # as above
            tuning_runs=tuning_runs,
        )
    except InputError as error:
        raise InputError(_flag(error.field), error.value, error.expected) from error
    if as_json:
        typer.echo(statement.model_dump_json(indent=1))
    else:
        _show(statement)


def _one_of(field: str, value: str, known: tuple[str, ...]) -> str:
    if value not in known:
        raise InputError(field, value, f"one of {', '.join(known)}")
    return value


def _flag(field: str) -> str:
    """Return a field of a call by the names of its options."""
    names = field.split(" and ")
    return " and ".join(f"--{name.replace('_', '-')}" if name in _FLAGS else name for name in names)


def _show(statement: AccountStatement) -> None:
    from dpaudit.cli.tables import print_table  # noqa: PLC0415 (imports stay lazy for --help)

    _say(_title(statement))
    typer.echo()
    print_table([["accountant", "epsilon", "note"], *_answers(statement.guarantees), *_limit(statement.central_limit)])
    if statement.with_tuning:
        typer.echo()
        runs = statement.tuning_runs or 0
        _say(f"Together with {runs:,} tuning run{'s' * (runs > 1)} on the same data, each as dear as this one:")
        print_table([["accountant", "epsilon", "note"], *_answers(statement.with_tuning)])
    typer.echo()
    for line in _premises(statement.assumptions):
        _say(line)


def _title(statement: AccountStatement) -> str:
    mechanism = statement.mechanism
    found = [name.replace("_", " ") for name in statement.found]
    return (
        f"{mechanism.steps:,} steps of {mechanism.sampling} sampling at rate {mechanism.sampling_rate:.4g} "
        f"({mechanism.batch_size:,} of {mechanism.dataset_size:,}) with noise multiplier "
        f"{mechanism.noise_multiplier:.4g}, {mechanism.adjacency} neighbours, delta {statement.delta:g}"
        + (f"; found: {found[0]} = {getattr(mechanism, statement.found[0]):,.5g}" if found else "")
    )


def _answers(guarantees: Sequence[Guarantee]) -> Iterator[list[str]]:
    for answer in guarantees:
        yield [answer.accountant, "none" if answer.epsilon is None else _epsilon(answer), answer.note]


def _epsilon(answer: Guarantee) -> str:
    """Return an upper bound rounded up, and a lower one, of an account that was stopped, rounded down."""
    value = answer.epsilon or 0.0
    if math.isinf(value):
        return "infinity"
    if value >= _LARGE:
        return f"> {math.floor(value):,}" if answer.exceeds else f"{math.ceil(value):,}"
    if answer.exceeds:
        return f"> {math.floor(value * 1000) / 1000:.3f}"
    return f"{math.ceil(value * 1000 - 1e-6) / 1000:.3f}"


def _limit(estimate: GdpEstimate | None) -> Iterator[list[str]]:
    if estimate is not None:
        value = f"{estimate.epsilon:.3g}" if estimate.epsilon >= _LARGE else f"{estimate.epsilon:.3f}"
        yield ["estimate", value, f"{estimate.mu:.4g}-GDP, {estimate.note}"]


def _premises(assumptions: Sequence[Assumption]) -> Iterator[str]:
    for status, text in (("violated", "Violated"), ("held", "Held")):
        for premise in assumptions:
            if premise.status == status:
                yield f"{text}: {premise.name} ({premise.evidence})."
    unknown = [premise.name for premise in assumptions if premise.status == "unknown"]
    if unknown:
        yield f"These epsilons hold only if: {'; '.join(unknown)}. Nothing was executed here, so nothing is checked."


def _say(text: str) -> None:
    from shutil import get_terminal_size  # noqa: PLC0415 (imports stay lazy for --help)

    typer.echo(textwrap.fill(text, min(get_terminal_size().columns, 100), break_on_hyphens=False))
