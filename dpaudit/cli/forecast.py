"""What `--dry-run` prints: a recipe's size, promise, memory and hours."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import typer

from dpaudit.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from dpaudit.pipeline.forecasts import Forecast, Memory, StageForecast

__all__ = ["check_options", "show_forecast"]


def check_options(*, dry_run: bool, measure: bool, fresh: bool) -> None:
    """Raise InputError for options that do not go together."""
    if measure and not dry_run:
        raise InputError("--measure", measure, "--dry-run beside it: a run measures itself")
    if fresh and dry_run:
        raise InputError("--fresh", fresh, "no --dry-run beside it: nothing is deleted or written then")


def show_forecast(  # noqa: PLR0913 (the options of two commands)
    recipe: str,
    *,
    out: Path | None,
    overrides: Sequence[str],
    attacks: Sequence[str] = (),
    simulate_batch: int | None = None,
    device: str | None = None,
    measure: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool = False,
) -> None:
    """Print what a recipe would cost and promise; nothing is trained or written."""
    from dpaudit.calls.verbs import forecast  # noqa: PLC0415 (imports stay lazy for --help)
    from dpaudit.cli.progress import progress_for  # noqa: PLC0415

    found = forecast(
        recipe,
        out=out,
        overrides=overrides,
        attacks=attacks,
        simulate_batch=simulate_batch,
        device=device,
        measure=measure,
        progress=progress_for(quiet=quiet, verbose=verbose),
    )
    if as_json:
        typer.echo(found.model_dump_json(indent=1))
    else:
        for line in _lines(found):
            typer.echo(line)


def _lines(found: Forecast) -> Iterator[str]:
    from dpaudit.reports.numbers import at_most  # noqa: PLC0415 (imports stay lazy for --help)

    promise, mechanism = found.promise, found.promise.mechanism
    parts = ", ".join(f"{name} {_millions(count)}" for name, count in found.parts.items())
    yield f"{found.recipe}: nothing was trained or written"
    size = f"{_millions(found.parameters)} parameters ({found.parameters:,})"
    yield f"  model      {found.trainer}, {size}: {parts}"
    if found.trained != found.parameters:
        yield f"             {found.trained:,} of them are trained under privacy"
    yield (
        f"  mechanism  {mechanism.steps:,} steps of {mechanism.batch_size:,} of {mechanism.dataset_size:,} records: "
        f"{mechanism.sampling} sampling{mechanism.stream} at rate {mechanism.sampling_rate:.4g}, "
        f"clip norm {mechanism.clip_norm:g}, noise multiplier {mechanism.noise_multiplier:.4g}, {mechanism.adjacency}"
    )
    if promise.kind == "claim":
        yield f"  claim      epsilon {at_most(promise.epsilon)} at delta {promise.delta:.4g}"
    if promise.kind == "none":
        yield "  promise    none" + (f": {promise.note}" if promise.note else "")
    for guarantee in found.guarantees:
        epsilon = "no sound answer" if guarantee.epsilon is None else f"epsilon {at_most(guarantee.epsilon)}"
        at = f" at delta {guarantee.delta:.4g}" if guarantee.epsilon is not None else f": {guarantee.note}"
        yield f"  {guarantee.accountant:<9}  {epsilon}{at}"
    if promise.note and promise.kind != "none":
        yield textwrap.fill(promise.note, 100, initial_indent="  note       ", subsequent_indent=" " * 13)
    if found.attacks:
        yield textwrap.fill(", ".join(found.attacks), 100, initial_indent="  attacks    ", subsequent_indent=" " * 13)
    for stage in found.stages:
        yield from _stage(stage)
    yield textwrap.fill(f"Memory is {found.stages[-1].memory.how}.", 100, break_on_hyphens=False)


def _stage(stage: StageForecast) -> Iterator[str]:
    records = "" if stage.records is None else f" of {stage.records:,} records"
    runs = f", {stage.times} runs" if stage.times > 1 else ""
    yield f"{stage.name}: {stage.steps:,} steps of {stage.batch_size:,}{records}{runs}"
    yield f"  memory     {_memory(stage.memory)}"
    if stage.hours is None:
        yield "  hours      not known (--measure times a few steps)"
    else:
        every = f", {stage.times * stage.hours:.3g} for all {stage.times}" if stage.times > 1 else ""
        yield f"  hours      {stage.hours:.3g}{every} ({stage.source})"


def _memory(memory: Memory) -> str:
    parts = {"weights": memory.weights, "optimizer": memory.optimizer, "gradients": memory.gradients}
    if memory.average:
        parts["moving average"] = memory.average
    fixed = ", ".join(f"{name} {_bytes(size)}" for name, size in parts.items())
    if memory.total is None or memory.per_record is None:
        return f"{fixed}, activations not known: this trainer's losses read numbers, or files that are not here"
    many = f"{memory.records} record{'s' * (memory.records > 1)}"
    return f"about {_bytes(memory.total)}: {fixed}, activations {_bytes(memory.per_record)} for each of {many}"


def _bytes(size: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.3g} {unit}"
        size /= 1024
    return f"{size:,.3g} GiB" if size < 1000 else f"{size:,.0f} GiB"


def _millions(count: int) -> str:
    return f"{count / 1e6:,.1f} M" if count >= 1e5 else f"{count:,}"
