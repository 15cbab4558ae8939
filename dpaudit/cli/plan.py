"""The verb plan: which design of an audit certifies most, before anything is trained."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Annotated, cast

import typer

from dpaudit.cli.progress import Verbose, progress_for
from dpaudit.errors import InputError

if TYPE_CHECKING:
    from dpaudit.mechanism import Adjacency, Sampling
    from dpaudit.pipeline.designs import Designs
    from dpaudit.results import Hypothesis, Plan

__all__ = ["plan"]

_NOTES = (
    "in, out: how many of the highest scores are guessed in and of the lowest out, fixed before any coin is seen.",
    "any, gaussian, accountant: the epsilon that is expected to be certified, by hypothesis, if the mechanism is as "
    "promised and the canaries are ideal. Real canaries show less.",
    "power: the chance to refute the promise if the noise were half of what was said. largest: the epsilon that is "
    "certified (hypothesis {hypothesis}) if every guess is right.",
)


def plan(  # noqa: PLR0913 (the options of a command)
    recipe: Annotated[
        str | None, typer.Argument(help="A recipe file, the name of a built-in recipe, or a run folder.")
    ] = None,
    *,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change a value of the recipe: --set privacy.epsilon=4. Repeatable."),
    ] = None,
    epsilon: Annotated[float | None, typer.Option(help="Without a recipe: the promise.")] = None,
    delta: Annotated[float | None, typer.Option(help="Without a recipe: the delta at which epsilon is given.")] = None,
    noise_multiplier: Annotated[
        float | None, typer.Option(help="Instead of --epsilon: noise std / add-remove sensitivity.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Expected batch size.")] = None,
    dataset_size: Annotated[int | None, typer.Option(help="Records that could be in.")] = None,
    steps: Annotated[
        int | None, typer.Option(help="Number of updates [no sizes at all: one step on all data].")
    ] = None,
    sampling: Annotated[str, typer.Option(help="poisson, fixed, shuffle or full.")] = "poisson",
    adjacency: Annotated[str, typer.Option(help="add-remove, replace-one or zero-out.")] = "add-remove",
    confidence: Annotated[float, typer.Option(help="Without a recipe: of the bound.")] = 0.95,
    canaries: Annotated[list[int] | None, typer.Option(help="Canaries per run. Repeatable.")] = None,
    runs: Annotated[list[int] | None, typer.Option(help="Number of runs. Repeatable.")] = None,
    budget: Annotated[float | None, typer.Option(help="Hours of training that there are.")] = None,
    hours_per_run: Annotated[float | None, typer.Option(help="Hours of training one run, where known.")] = None,
    measure: Annotated[bool, typer.Option("--measure", help="Time a few real steps of the recipe.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")] = False,
    verbose: Verbose = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
) -> None:
    """Say which design of an audit certifies most: runs, canaries, guesses. Nothing is trained.

    Examples:
      dpaudit plan quickstart --measure --budget 0.5

      dpaudit plan --epsilon 8 --delta 1e-5 --canaries 1000

      dpaudit plan --noise-multiplier 0.728 --batch-size 1310720 --dataset-size 233804767 --steps 5708 --delta 4.277e-9
    """
    from dpaudit.calls.verbs import plan as call  # noqa: PLC0415 (imports stay lazy for --help)

    if recipe is None and epsilon is None and noise_multiplier is None:
        raise InputError("recipe", recipe, "a recipe, or --epsilon and --delta, or the mechanism's numbers")
    designs = call(
        recipe,
        overrides=overrides or (),
        epsilon=epsilon,
        delta=delta,
        noise_multiplier=noise_multiplier,
        batch_size=batch_size,
        dataset_size=dataset_size,
        steps=steps,
        sampling=cast("Sampling", sampling),
        adjacency=cast("Adjacency", adjacency),
        confidence=confidence,
        canaries=canaries or (),
        runs=runs or (),
        budget=budget,
        hours_per_run=hours_per_run,
        measure=measure,
        progress=progress_for(quiet=quiet, verbose=verbose),
    )
    if as_json:
        typer.echo(designs.model_dump_json(indent=1))
    else:
        _show(designs)


def _show(designs: Designs) -> None:
    from dpaudit.cli.tables import print_table  # noqa: PLC0415 (imports stay lazy for --help)

    _say(_promise(designs))
    typer.echo()
    print_table(_rows(designs))
    typer.echo()
    for line in (*_verdict(designs), *_gain(designs), _hours(designs)):
        _say(line)
    typer.echo()
    for note in _NOTES:
        _say(note.format(hypothesis=designs.hypothesis))


def _say(text: str) -> None:
    from shutil import get_terminal_size  # noqa: PLC0415 (imports stay lazy for --help)

    typer.echo(textwrap.fill(text, min(get_terminal_size().columns, 100), break_on_hyphens=False))


def _promise(designs: Designs) -> str:
    from dpaudit.reports.numbers import at_most  # noqa: PLC0415 (imports stay lazy for --help)

    promise, mechanism = designs.promise, designs.promise.mechanism
    words = f"promise: epsilon {at_most(promise.epsilon)} at delta {promise.delta:g}"
    how = (
        f"{mechanism.sampling} sampling{mechanism.stream} at rate {mechanism.sampling_rate:.4g}"
        if mechanism.sampling_rate < 1
        else "all data in each"
    )
    steps = f"{mechanism.steps} step{'s' * (mechanism.steps > 1)}"
    made = f"{steps}, {how}, noise multiplier {mechanism.noise_multiplier:.4g}, {mechanism.adjacency}"
    return f"{words} ({'a claim about ' if promise.kind == 'claim' else ''}{made})"


def _rows(designs: Designs) -> list[list[str]]:
    """Return the table of designs. What is the same in every row, or not known, has no column."""
    from dpaudit.planner import refutable  # noqa: PLC0415 (imports stay lazy for --help)
    from dpaudit.reports.numbers import at_least  # noqa: PLC0415 (imports stay lazy for --help)

    several = len({(plan.attack, plan.method) for plan in designs.plans}) > 1
    hypotheses = _hypotheses(designs)
    hours = ["hours"] if designs.hours_per_run is not None else []
    head = ["runs", "canaries", "in", "out", *hypotheses, "power", "largest", *hours]
    rows = [["*", *(["attack", "method"] if several else []), *head]]
    for plan in designs.plans:
        mark = ["*" if plan == designs.best else "", *([plan.attack, plan.method] if several else [])]
        counts = [str(plan.runs), str(plan.canaries), str(plan.guesses_in), str(plan.guesses_out)]
        found = [at_least(plan.expected.get(hypothesis)) for hypothesis in hypotheses]
        seen = [
            ">99 %" if plan.power > 0.99 else f"{int(100 * plan.power)} %",
            at_least(refutable(plan, designs.hypothesis)),
        ]
        rows.append([*mark, *counts, *found, *seen, *([f"{plan.hours:.3g}"] if plan.hours is not None else [])])
    return rows


def _hypotheses(designs: Designs) -> list[Hypothesis]:
    known: tuple[Hypothesis, ...] = ("any", "gaussian", "accountant")
    return [name for name in known if any(name in plan.expected for plan in designs.plans)]


def _verdict(designs: Designs) -> list[str]:
    within = "" if designs.budget is None else f" within {designs.budget:g} h"
    asked = [f"the recipe's own: {_words(plan, designs)}" for plan in designs.asked]
    if designs.best is None:
        least = min(plan.hours or 0.0 for plan in designs.plans)
        return [f"* best{within}: none; the least that a design costs is {least:.3g} h", *asked]
    return [f"* best{within}: {_words(designs.best, designs)}", *asked]


def _gain(designs: Designs) -> list[str]:
    """Say what the joint test adds to the recursion in the best design, under the hypothesis of both numbers."""
    from dpaudit.reports.numbers import at_least  # noqa: PLC0415 (imports stay lazy for --help)

    best = designs.best
    if best is None or not best.by_recursion:
        return []
    hypothesis, before = next(iter(best.by_recursion.items()))
    how = "every run must refute" if best.error_rates is None else "the runs' e-values are multiplied"
    ways = [how] if best.runs > 1 else []
    if best.surest is not None:
        surest = best.surest.guesses_in + best.surest.guesses_out
        ways.append(f"two rank groups: an error among the {surest} surest counts {best.surest.weight}")
    several = f" ({'; '.join(ways)})" if ways else ""
    after = at_least(best.expected[hypothesis])
    return [
        f"test: {best.method}{several}, {after}; one-run-fdp on the same guesses: {at_least(before)} ({hypothesis})"
    ]


def _words(plan: Plan, designs: Designs) -> str:
    from dpaudit.planner import certified  # noqa: PLC0415 (imports stay lazy for --help)
    from dpaudit.reports.numbers import at_least, at_most, chance  # noqa: PLC0415

    epsilon, promised = at_least(certified(plan, designs.hypothesis)), at_most(designs.promise.epsilon)
    hours = "" if plan.hours is None else f", {plan.hours:.3g} h"
    return (
        f"{plan.runs} run{'s' * (plan.runs > 1)} of {plan.canaries} canaries, expected to certify epsilon {epsilon} "
        f"of the {promised} promised (hypothesis {designs.hypothesis}), power {chance(plan.power)}{hours}"
    )


def _hours(designs: Designs) -> str:
    if designs.hours_per_run is None:
        return "hours: not known (--hours-per-run says it; with a recipe, --measure times a few steps)"
    return (
        f"hours: of training, references included; one run takes {designs.hours_per_run:.3g} h ({designs.hours_source})"
    )
