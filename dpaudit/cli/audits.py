"""Verbs that work in a run folder: run, train, attack, probe, report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dpaudit.cli.progress import Verbose, progress_for
from dpaudit.errors import FalsifiedError, InputError

__all__ = ["attack", "options_of", "probe", "report", "run", "train"]

RecipeArgument = Annotated[str, typer.Argument(help="A recipe file, the name of a built-in recipe, or a run folder.")]
FolderArgument = Annotated[Path, typer.Argument(help="A run folder, for example runs/quickstart.")]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="The run folder [default: runs/NAME].")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change a value of the recipe: --set privacy.epsilon=4. Repeatable."),
]
Attacks = Annotated[
    list[str] | None,
    typer.Option("--attack", help="One more attack: a name or ./mine.py:Mine. It never decides. Repeatable."),
]
Fresh = Annotated[bool, typer.Option("--fresh", help="Delete what an earlier run left in the folder.")]
Simulated = Annotated[
    int | None,
    typer.Option(
        "--simulate-batch",
        min=1,
        help="Imitate the run with this smaller batch at its noise per record (TAN): cheap, for choosing settings, "
        "and NOT private.",
    ),
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Print size, promise, memory and hours on any machine; no data, nothing trained."),
]
Measure = Annotated[bool, typer.Option("--measure", help="With --dry-run: time a few real steps.")]
Device = Annotated[
    str | None,
    typer.Option("--device", help="Where to compute: auto, cpu, cuda, cuda:1 or mps [default: the recipe's]."),
]
Jobs = Annotated[
    int | None, typer.Option("--jobs", "-j", min=1, help="References trained at a time [default: as many as cores].")
]
ExecutorName = Annotated[
    str, typer.Option("--executor", help="Where references are trained: local processes, or ray (an extra).")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]
Public = Annotated[bool, typer.Option("--public", help="Leave curves and examples out of the report.")]


def run(  # noqa: PLR0913 (the options of a command)
    recipe: RecipeArgument,
    *,
    out: Out = None,
    overrides: Overrides = None,
    attacks: Attacks = None,
    device: Device = None,
    fresh: Fresh = False,
    public: Public = False,
    dry_run: DryRun = False,
    measure: Measure = False,
    jobs: Jobs = None,
    executor: ExecutorName = "local",
    as_json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Train, attack, bound, account, probe, report. Run again, it continues; exit code 3 if the promise fell.

    Example: dpaudit run quickstart --set privacy.epsilon=2 --out runs/epsilon-2

    Example: dpaudit run quickstart --attack ./mine.py:Mine --out runs/mine
    """
    from dpaudit.cli.forecast import check_options, show_forecast  # noqa: PLC0415 (imports stay lazy for --help)
    from dpaudit.executors import executor as executor_of  # noqa: PLC0415
    from dpaudit.pipeline.order import advance, open_audit  # noqa: PLC0415

    check_options(dry_run=dry_run, measure=measure, fresh=fresh)
    if dry_run:
        show_forecast(
            recipe,
            out=out,
            overrides=overrides or [],
            attacks=attacks or [],
            device=device,
            measure=measure,
            as_json=as_json,
            quiet=quiet,
            verbose=verbose,
        )
        return
    audit = open_audit(recipe, out=out, overrides=overrides or [], attacks=attacks or [], device=device)
    audit = audit.with_executor(executor_of(executor, jobs))
    if public:
        audit = audit.with_report(public=True)
    advance(audit, "report", fresh=fresh, progress=progress_for(quiet=quiet, verbose=verbose))
    _show(audit.path, as_json=as_json)


def train(  # noqa: PLR0913 (the options of a command)
    recipe: RecipeArgument,
    *,
    out: Out = None,
    overrides: Overrides = None,
    simulate_batch: Simulated = None,
    device: Device = None,
    fresh: Fresh = False,
    dry_run: DryRun = False,
    measure: Measure = False,
    jobs: Jobs = None,
    executor: ExecutorName = "local",
    as_json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Plan and train every run of a recipe, and nothing more. Under torchrun, its processes share the work.

    Example: dpaudit train quickstart --out runs/mine

    Example: torchrun --nproc-per-node 4 -m dpaudit train quickstart

    Example: dpaudit train vip-paper --dry-run
    """
    from dpaudit.calls.verbs import train as call  # noqa: PLC0415 (imports stay lazy for --help)
    from dpaudit.cli.forecast import check_options, show_forecast  # noqa: PLC0415
    from dpaudit.executors import executor as executor_of  # noqa: PLC0415
    from dpaudit.pipeline.distributed import shared  # noqa: PLC0415

    check_options(dry_run=dry_run, measure=measure, fresh=fresh)
    if dry_run:
        show_forecast(
            recipe,
            out=out,
            overrides=overrides or [],
            simulate_batch=simulate_batch,
            device=device,
            measure=measure,
            as_json=as_json,
            quiet=quiet,
            verbose=verbose,
        )
        return
    with shared(device) as leads:
        if not leads:
            return
        folder = call(
            recipe,
            out=out,
            overrides=overrides or [],
            simulate_batch=simulate_batch,
            device=device,
            fresh=fresh,
            executor=executor_of(executor, jobs),
            progress=progress_for(quiet=quiet, verbose=verbose),
        )
    if as_json:
        _print_json({"run": str(folder)})
    else:
        typer.echo(f"trained: {folder}   (next: dpaudit run {folder})")


def attack(  # noqa: PLR0913, PLR0917 (the options of a command)
    folder: FolderArgument,
    name: Annotated[str | None, typer.Option("--attack", help="One more attack: a name or ./mine.py:Mine.")] = None,
    options: Annotated[list[str] | None, typer.Option("--set", help="Its options: --set masks=16.")] = None,
    target: Annotated[int | None, typer.Option(min=0, help="Of a folder of experiments: the one to attack.")] = None,
    device: Device = None,
    as_json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Score the candidates of a run folder. An attack that the recipe did not name is exploratory: it never decides.

    Or of one experiment in a folder of LiRA's layout (experiment-I_M/keep.npy and scores or logits), by all others.

    Example: dpaudit attack runs/quickstart --attack loss --set masks=32 --set label=loss-32

    Example: dpaudit attack exp/cifar10 --attack lira --target 3
    """
    if target is not None:
        from dpaudit.cli.experiments import attack_experiment  # noqa: PLC0415

        attack_experiment(folder, name or "lira", options_of(options or []), target, as_json=as_json)
        return
    from dpaudit.calls.verbs import attack as call  # noqa: PLC0415 (imports stay lazy for --help)

    labels = call(
        folder, name, options_of(options or []), device=device, progress=progress_for(quiet=quiet, verbose=verbose)
    )
    if as_json:
        _print_json({"run": str(folder), "attacks": list(labels)})
    else:
        typer.echo(f"scored: {', '.join(labels)}   (next: dpaudit bound {folder})")


def probe(
    folder: FolderArgument,
    device: Device = None,
    as_json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Measure the utility of every target of a run folder.

    Example: dpaudit probe runs/quickstart
    """
    from dpaudit.calls.verbs import probe as call  # noqa: PLC0415 (imports stay lazy for --help)
    from dpaudit.cli.tables import print_table, probe_rows  # noqa: PLC0415

    results = call(folder, device=device, progress=progress_for(quiet=quiet, verbose=verbose))
    if as_json:
        _print_json([result.model_dump(mode="json") for result in results])
    else:
        print_table(probe_rows(results))


def report(
    folder: FolderArgument,
    public: Public = False,
    device: Device = None,
    as_json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Write report.html of a run folder, doing first what is missing.

    Example: dpaudit report runs/quickstart --public
    """
    from dpaudit.calls.verbs import report as call  # noqa: PLC0415 (imports stay lazy for --help)

    page = call(folder, public=public, device=device, progress=progress_for(quiet=quiet, verbose=verbose))
    _show(page.parent, as_json=as_json)


def _show(folder: Path, *, as_json: bool) -> None:
    """Print the summary or results.json, and leave with exit code 3 when the promise fell."""
    from dpaudit.reports.text import summary  # noqa: PLC0415 (imports stay lazy for --help)
    from dpaudit.results import AuditResult  # noqa: PLC0415

    text = (folder / "results.json").read_text(encoding="utf-8")
    result = AuditResult.model_validate_json(text)
    typer.echo(text if as_json else f"{summary(result)}\n\nreport: {folder / 'report.html'}")
    if result.verdict.word in ("VIOLATED", "UNSOUND"):
        raise FalsifiedError(f"verdict {result.verdict.word}")


def options_of(pairs: list[str]) -> dict[str, object]:
    """Return a plug-in's options, each given as name=value."""
    import yaml  # noqa: PLC0415 (imports stay lazy for --help)

    options: dict[str, object] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise InputError("--set", pair, "name=value")
        options[name] = yaml.safe_load(value)
    return options


def _print_json(value: object) -> None:
    import json  # noqa: PLC0415 (imports stay lazy for --help)

    typer.echo(json.dumps(value, indent=1))
