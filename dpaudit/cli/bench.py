"""The verb bench: dpaudit's own claims, measured in public."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, cast

import typer

from dpaudit.cli.progress import Verbose, progress_for
from dpaudit.errors import FalsifiedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dpaudit.bench.bounds import BoundsBench, Row
    from dpaudit.bench.peers import Peer
    from dpaudit.bench.verdicts import VerdictsOnNoise
    from dpaudit.bench.wrong import Wrong
    from dpaudit.dp.precision import Precision

__all__ = ["app", "bench_rows", "bounds", "engine", "joint", "pairs", "stacked"]

app = typer.Typer(help="Measure dpaudit's own claims.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def _bench() -> None:
    """Measure dpaudit's own claims."""


@app.command()
def bounds(
    audits: Annotated[int, typer.Option(help="Simulated audits of each cell; slow bounds get fewer.")] = 100,
    peers: Annotated[bool, typer.Option("--peers", help="Other tools too: pip install dpaudit[peers].")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")] = False,
    verbose: Verbose = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
) -> None:
    """Measure every bound on noise and on known mechanisms: how often wrong, how tight, how fast.

    100 audits take about a minute. Exit code 3 if a bound that is called certified does not hold.

    Example: dpaudit bench bounds --audits 2000 --json
    """
    from dpaudit.bench.bounds import bench_bounds  # noqa: PLC0415 (imports stay lazy for --help)
    from dpaudit.bench.peers import bench_peers  # noqa: PLC0415
    from dpaudit.bench.verdicts import bench_verdicts  # noqa: PLC0415

    progress = progress_for(quiet=quiet, verbose=verbose)
    measured = bench_bounds(audits, progress=progress)
    verdicts = bench_verdicts(audits, progress=progress)
    others = bench_peers(audits, progress=progress) if peers else None
    if as_json:
        _print_json(measured, verdicts, others)
    else:
        _print_tables(measured, verdicts, others or ())
    broken = [f"{row.method} ({row.hypothesis}, {row.strategy})" for row in measured.broken]
    if broken or not verdicts.holds:
        raise FalsifiedError(f"bench: does not hold: {', '.join([*broken, *(['verdict'] * (not verdicts.holds))])}")


@app.command()
def engine(  # noqa: PLR0913, PLR0917 (the options of a command)
    models: Annotated[list[str] | None, typer.Argument(help="Rows by name; all large ones without a name.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Two very small models, three rounds: does it work?")] = False,
    name: Annotated[str, typer.Option("--engine", help="The engine to measure.")] = "bookkeeping",
    rounds: Annotated[int, typer.Option(help="Rounds in which all steps take their turn.")] = 9,
    device: Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:1 or auto.")] = "cpu",
    precision: Annotated[str, typer.Option("--precision", help="Of the losses: float32 or bf16.")] = "float32",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")] = False,
    verbose: Verbose = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
) -> None:
    """Measure what a DP step costs beside an ordinary one and beside Opacus: time, memory, rounding error.

    The large models take up to an hour on two cores. On a GPU the models are ViT-Base, and the largest physical batch
    of every step is looked for.

    Example: dpaudit bench engine mae-32 --json

    Example: dpaudit bench engine --device cuda --precision bf16
    """
    from dpaudit.bench.engine import bench_engine  # noqa: PLC0415 (imports torch)
    from dpaudit.bench.engine_cases import QUICK  # noqa: PLC0415 (imports torch)
    from dpaudit.cli.engine_table import engine_rows, gpu_rows  # noqa: PLC0415 (imports stay lazy for --help)
    from dpaudit.cli.tables import print_table  # noqa: PLC0415

    if quick:
        models, rounds = [case.name for case in QUICK], min(rounds, 3)
    measured = bench_engine(
        models or (),
        engine_name=name,
        rounds=rounds,
        device=device,
        precision=cast("Precision", precision),
        progress=progress_for(quiet=quiet, verbose=verbose),
    )
    if as_json:
        typer.echo(measured.model_dump_json(indent=1))
        return
    print_table(engine_rows(measured))
    if measured.on_gpu:
        typer.echo("")
        print_table(gpu_rows(measured))
    machine = measured.machine
    typer.echo(
        f"\nengine {measured.engine} on {machine['device']}, {measured.precision}, {measured.rounds} rounds; "
        f"torch {machine['torch']}, opacus {machine['opacus']}, "
        f"{machine['processor']}, {machine['threads']} threads of {machine['cores']} cores"
    )
    for row in measured.rows:
        for step in row.steps:
            if step.refuses is not None:
                typer.echo(f"{step.name} refuses {row.name}: {step.refuses}")


@app.command()
def stacked(
    models: Annotated[list[int] | None, typer.Argument(help="How many models at once [default: 8 32 128].")] = None,
    rounds: Annotated[int, typer.Option(help="Rounds in which loop and stack take turns.")] = 9,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")] = False,
    verbose: Verbose = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
) -> None:
    """Measure what is gained by training small references as one: a perceptron 64-32-10, beside a plain loop.

    Example: dpaudit bench stacked 32 --json
    """
    from dpaudit.bench.stacked import bench_stacked  # noqa: PLC0415 (imports torch)
    from dpaudit.cli.tables import print_table  # noqa: PLC0415

    measured = bench_stacked(
        tuple(models or (8, 32, 128)), rounds=rounds, progress=progress_for(quiet=quiet, verbose=verbose)
    )
    if as_json:
        typer.echo(measured.model_dump_json(indent=1))
        return
    titles = ["models", "as fast as the loop", "of rounds", "a step of the loop", "largest difference of a weight"]
    rows = [
        [
            str(row.models),
            f"{row.faster:.1f}x",
            f"{row.low:.1f} to {row.high:.1f}",
            f"{row.loop_milliseconds:.1f} ms",
            f"{row.difference:.0e}",
        ]
        for row in measured.rows
    ]
    print_table([titles, *rows])
    typer.echo(f"\nbatch {measured.batch}, torch {measured.machine['torch']}, {measured.machine['threads']} threads")


@app.command()
def pairs(  # noqa: PLR0913, PLR0917 (the options of a command)
    count: Annotated[int, typer.Option("--pairs", help="Pairs in the batch.")] = 64,
    embedding: Annotated[int, typer.Option(help="Width of the embedding.")] = 8,
    dual: Annotated[bool, typer.Option("--dual", help="A tower for each side of a pair, not one for both.")] = False,
    rounds: Annotated[int, typer.Option(help="Rounds in which all ways take their turn.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")] = False,
    verbose: Verbose = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
) -> None:
    """Measure what Logit-DP's clipped sum costs beside gradients of all pairs, on its published network.

    Example: dpaudit bench pairs --pairs 64
    """
    from dpaudit.bench.pairs import bench_pairs  # noqa: PLC0415 (imports torch)
    from dpaudit.cli.tables import print_table  # noqa: PLC0415

    progress = progress_for(quiet=quiet, verbose=verbose)
    found = bench_pairs(count, embedding=embedding, shared=not dual, rounds=rounds, progress=progress)
    if as_json:
        typer.echo(found.model_dump_json(indent=1))
        return
    rows = [
        [step.name, f"{step.seconds:.3g} s", f"{step.ratio:.1f}", f"{step.ours_faster:.2f}", _error(step.error)]
        for step in found.steps
    ]
    print_table([["way to the sum", "time", "times ordinary", "times ours", "error"], *rows])
    towers = "one tower" if found.shared else "two towers"
    typer.echo(
        f"\n{found.pairs} pairs of 32 x 32 pixels, embedding {found.embedding}, {towers}, {found.rounds} rounds; "
        f"torch {found.machine['torch']}, threads {found.threads}"
    )


@app.command()
def joint(
    audits: Annotated[int, typer.Option(help="Simulated audits of an ideal attack for each number of runs.")] = 200,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")] = False,
    verbose: Verbose = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
) -> None:
    """Measure what the joint test adds to the published recursion: in one run, with two rank groups, and in R runs.

    Example: dpaudit bench joint --audits 1000
    """
    from dpaudit.bench.joint import bench_joint  # noqa: PLC0415 (imports stay lazy for --help)
    from dpaudit.cli.tables import print_table  # noqa: PLC0415

    measured = bench_joint(audits, progress=progress_for(quiet=quiet, verbose=verbose))
    if as_json:
        typer.echo(measured.model_dump_json(indent=1))
        return
    counts = [
        [
            f"{row.epsilon:g}",
            str(row.canaries),
            f"{row.correct} of {row.guesses}",
            f"{row.recursion:.3f}",
            f"{row.joint:.3f}",
            f"{100 * (row.joint / row.recursion - 1):.1f} %",
        ]
        for row in measured.counts
    ]
    print_table([["epsilon", "canaries", "right", "recursion", "joint", "gain"], *counts])
    two = measured.groups
    typer.echo(f"\ntwo rank groups, {two.canaries} canaries, epsilon {two.epsilon:g}: {two.design}: {two.joint:.3f}\n")
    runs = [
        [
            str(row.runs),
            str(row.guesses),
            f"{row.recursion:.2f}",
            f"{row.every_run:.2f}",
            f"{row.evidence:.2f}",
            "-" if row.together is None else f"{row.together:.2f}",
            "-" if row.groups is None else f"{row.groups:.2f}",
            f"{row.planned:.2f}",
        ]
        for row in measured.runs
    ]
    ways = ["recursion", "every run", "e-values", "induction", "two groups", "planned"]
    print_table([["runs", "guesses", *ways], *runs])
    typer.echo(f"\nmedians of {measured.audits} ideal audits each, epsilon 8, 1000 canaries, 95 %, delta 1e-05, mu-GDP")


def _error(value: float | None) -> str:
    return "-" if value is None else f"{value:.0e}"


def _print_json(measured: BoundsBench, verdicts: VerdictsOnNoise, others: Sequence[Peer] | None) -> None:
    import json  # noqa: PLC0415 (imports stay lazy for --help)

    peers = None if others is None else [peer.model_dump(mode="json") for peer in others]
    value = {
        "bounds": measured.model_dump(mode="json"),
        "verdicts": verdicts.model_dump(mode="json"),
        "peers": peers,
    }
    typer.echo(json.dumps(value, indent=1))


def _print_tables(measured: BoundsBench, verdicts: VerdictsOnNoise, others: Sequence[Peer]) -> None:
    from dpaudit.cli.tables import print_table  # noqa: PLC0415 (imports stay lazy for --help)

    print_table(bench_rows(measured.rows))
    count = verdicts.violated
    typer.echo(
        f"\nverdicts on noise, {verdicts.attacks} attacks x {verdicts.bounds} deciding bounds that share alpha: "
        f"{count.wrong} of {count.audits} VIOLATED, {'holds' if verdicts.holds else 'DOES NOT HOLD'}"
    )
    for peer in others:
        typer.echo(f"\n{peer.name} {peer.version or 'not installed: pip install dpaudit[peers]'}")
        if peer.bench is not None:
            print_table(bench_rows(peer.bench.rows))


def bench_rows(rows: Sequence[Row]) -> list[list[str]]:
    """Return the table: shares of audits that were wrong, with the interval on noise; one row per bound."""
    titles = ["method", "hypothesis", "strategy", "claim", "noise (95 % interval)", "worst mechanism"]
    table = [[*titles, "counter-example", "epsilon", "of truth", "ms", "holds"]]
    for row in rows:
        others = {name: cell for name, cell in row.coverage.items() if name != "counter-example"}
        worst = max(others, key=lambda name: others[name].share.value)
        interacting = row.coverage.get("counter-example")
        table.append(
            [
                row.method,
                row.hypothesis,
                row.strategy,
                row.claim.replace("_", " "),
                _with_interval(row.noise),
                f"{_percent(others[worst].share.value)} {worst}",
                "-" if interacting is None else _percent(interacting.share.value),
                f"{row.epsilon:.2f}",
                _percent(row.tightness) + ("" if row.ideal == "gaussian" else f" ({row.ideal})"),
                f"{row.milliseconds:.0f}" if row.milliseconds >= 10 else f"{row.milliseconds:.2g}",
                _holds(row),
            ]
        )
    return table


def _holds(row: Row) -> str:
    """Say in words whether the row holds; a chance excess below the alarm is named too."""
    fails = ", ".join(row.fails)
    if row.holds is None:
        return f"claims nothing; wrong on {fails}" if fails else "claims nothing"
    if not row.holds:
        return f"NO: wrong on {fails}"
    word = "not caught" if row.claim == "uncorrected" else "yes"
    if fails:
        word += f", but not on {fails}: as labelled"
    above = [name for name, cell in {"noise": row.noise, **row.coverage}.items() if cell.above and cell.excused]
    return f"{word}; interval above 5 % on {', '.join(above)}" if above else word


def _with_interval(cell: Wrong) -> str:
    return f"{_percent(cell.share.value)} ({100 * cell.share.low:.1f} to {100 * cell.share.high:.1f})"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
