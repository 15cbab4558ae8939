"""The verb bound: of a run folder, of a file of scores, or of counts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dpaudit.cli.mechanisms import MechanismOptions
from dpaudit.cli.progress import Verbose, progress_for
from dpaudit.errors import FalsifiedError, InputError

if TYPE_CHECKING:
    from dpaudit.calls.own_scores import Asked
    from dpaudit.calls.own_streams import Watched
    from dpaudit.progress import Progress
    from dpaudit.results import Bound

__all__ = ["bound"]

_STANDARD_INPUT = "-"

Source = Annotated[
    Path | None,
    typer.Argument(
        help="A run folder; a csv, parquet or npz file with columns score and member (or correct, or cosine); or - for "
        "guesses on standard input."
    ),
]


def bound(  # noqa: PLR0913 (the options of a command)
    source: Source = None,
    *,
    delta: Annotated[
        float | None, typer.Option(help="The delta at which epsilon is given (for scores and counts).")
    ] = None,
    confidence: Annotated[float, typer.Option(help="Of every single bound.")] = 0.95,
    method: Annotated[str | None, typer.Option(help="See `dpaudit list bounds`.")] = None,
    hypothesis: Annotated[str | None, typer.Option(help="any, gaussian or accountant: what is refuted.")] = None,
    lower_is_member: Annotated[bool, typer.Option("--lower-is-member", help="Low scores mean member.")] = False,
    independent_runs: Annotated[
        bool, typer.Option("--independent-runs", help="Every row is a run of its own, not a canary of one run.")
    ] = False,
    guesses_in: Annotated[int | None, typer.Option(help="Guess so many highest scores in: fixed beforehand.")] = None,
    guesses_out: Annotated[int | None, typer.Option(help="Guess so many lowest scores out.")] = None,
    threshold: Annotated[float | None, typer.Option(help="Higher scores mean in: fixed beforehand.")] = None,
    promise: Annotated[
        float | None, typer.Option(help="betting: the epsilon claimed; exit code 3 as soon as it is refuted.")
    ] = None,
    dimension: Annotated[int | None, typer.Option(help="one-shot: of the space the cosines were taken in.")] = None,
    canaries: Annotated[int | None, typer.Option(help="Counts, betting: coins that were tossed.")] = None,
    guesses: Annotated[int | None, typer.Option(help="Counts: coins that were guessed.")] = None,
    correct: Annotated[
        list[int] | None, typer.Option(help="Counts: guesses that were right; of several runs, once for each.")
    ] = None,
    tp: Annotated[int | None, typer.Option(help="Counts: members called in.")] = None,
    fn: Annotated[int | None, typer.Option(help="Counts: members called out.")] = None,
    fp: Annotated[int | None, typer.Option(help="Counts: non-members called in.")] = None,
    tn: Annotated[int | None, typer.Option(help="Counts: non-members called out.")] = None,
    noise_multiplier: Annotated[
        float | None, typer.Option(help="accountant: noise std / add-remove sensitivity, as it is claimed.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="accountant: number of updates.")] = None,
    sampling_rate: Annotated[float | None, typer.Option(help="accountant: chance of a record to be in a step.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="accountant: expected batch size, for the rate.")] = None,
    dataset_size: Annotated[int | None, typer.Option(help="accountant: records that could be in.")] = None,
    sampling: Annotated[str, typer.Option(help="accountant: poisson, fixed, shuffle or full.")] = "poisson",
    adjacency: Annotated[str, typer.Option(help="accountant: add-remove, replace-one or zero-out.")] = "add-remove",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")] = False,
    verbose: Verbose = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
) -> None:
    """Bound epsilon from below: open the coins of a run folder, or bring scores or counts from anywhere.

    Examples:
      dpaudit bound runs/quickstart

      dpaudit bound scores.csv --delta 1e-5 --json

      dpaudit bound --method one-run-fdp --hypothesis gaussian --canaries 1000 --guesses 100 --correct 90 --delta 1e-5

      dpaudit bound scores.csv --hypothesis accountant --noise-multiplier 1 --sampling-rate 0.01 --steps 99 --delta 1e-5

      dpaudit bound guesses.csv --method betting --canaries 1000 --promise 2 --delta 1e-5
    """
    if source is not None and source.is_dir():
        _of_folder(source, as_json=as_json, progress=progress_for(quiet=quiet, verbose=verbose))
        return
    from dpaudit.calls.own_scores import Asked  # noqa: PLC0415 (imports stay lazy for --help)

    if source is not None and str(source) != _STANDARD_INPUT and not source.exists():
        raise InputError("source", str(source), "a run folder or a file of scores")
    if delta is None:
        raise InputError("--delta", None, "a number of at least 0 and below 1")
    asked = Asked(
        delta=delta,
        confidence=confidence,
        method=method,
        hypothesis=hypothesis,
        guesses=_fixed(guesses_in, guesses_out),
        threshold=threshold,
        independent_runs=independent_runs,
        promise=promise,
        canaries=canaries,
        dimension=dimension,
        mechanism=MechanismOptions(
            noise_multiplier=noise_multiplier,
            steps=steps,
            sampling_rate=sampling_rate,
            batch_size=batch_size,
            dataset_size=dataset_size,
            sampling=sampling,
            adjacency=adjacency,
        ).mechanism(hypothesis),
    )
    seen = correct[0] if correct else None
    counts = {"--guesses": guesses, "--correct": seen, "--tp": tp, "--fn": fn, "--fp": fp, "--tn": tn}
    if source is None:
        _of_counts(asked, (canaries, guesses, correct), (tp, fn, fp, tn), as_json=as_json)
        return
    for option, count in counts.items():
        if count is not None:
            raise InputError(option, count, f"nothing beside {source}: counts stand for a file")
    if method == "betting" or str(source) == _STANDARD_INPUT:
        _of_stream(source, asked, lower_is_member=lower_is_member, as_json=as_json)
    elif method == "one-shot":
        _of_cosines(source, asked, as_json=as_json)
    else:
        _of_file(source, asked, lower_is_member=lower_is_member, as_json=as_json)


def _of_folder(folder: Path, *, as_json: bool, progress: Progress) -> None:
    from dpaudit.calls.verbs import bound as call  # noqa: PLC0415 (imports stay lazy for --help)

    bounds = call(folder, progress=progress).bounds
    _show(list(bounds), [found.model_dump(mode="json") for found in bounds], as_json=as_json)


def _of_file(path: Path, asked: Asked, *, lower_is_member: bool, as_json: bool) -> None:
    from dpaudit.calls.own_scores import bound_table, read_scores  # noqa: PLC0415
    from dpaudit.metrics import FPRS, auc, balanced_accuracy, tpr_at_fpr  # noqa: PLC0415 (as above)

    labelled = read_scores(path, lower_is_member=lower_is_member)
    bounds = bound_table(labelled, asked)
    metrics = {"auc": auc(labelled), "balanced accuracy": balanced_accuracy(labelled)}
    metrics |= {f"tpr at fpr {fpr}": tpr_at_fpr(labelled, fpr) for fpr in FPRS}
    found = {
        "rows": len(labelled),
        "members": int(labelled.member.sum()),
        "metrics": {name: interval.model_dump(mode="json") for name, interval in metrics.items()},
        "bounds": [_plain(one) for one in bounds],
    }
    if not as_json:
        auc_value = metrics["auc"]
        typer.echo(f"{len(labelled)} rows, AUC {auc_value.value:.4f} ({auc_value.low:.4f} to {auc_value.high:.4f})")
    _show(bounds, found, as_json=as_json)


def _of_stream(source: Path, asked: Asked, *, lower_is_member: bool, as_json: bool) -> None:
    from dataclasses import replace  # noqa: PLC0415 (imports stay lazy for --help)

    from dpaudit.calls.own_streams import bound_stream, guesses_of_lines, read_guesses  # noqa: PLC0415

    if str(source) == _STANDARD_INPUT:
        if asked.method != "betting":
            raise InputError("--method", asked.method, "betting, the one that takes guesses from standard input")
        watched = bound_stream(guesses_of_lines(sys.stdin), asked)
    else:
        rights, tossed = read_guesses(source, lower_is_member=lower_is_member)
        canaries = tossed if asked.canaries is None else asked.canaries
        watched = bound_stream(rights.tolist(), replace(asked, canaries=canaries))
    facts = {"promise": watched.promise, "refuted_at": watched.refuted_at}
    _show([watched.bound], _plain(watched.bound) | facts, as_json=as_json)
    _say_promise(watched, as_json=as_json)


def _say_promise(watched: Watched, *, as_json: bool) -> None:
    """Say what became of the promise: refuted is exit code 3."""
    if watched.promise is None:
        return
    bound = watched.bound
    said = f"the promise of epsilon {watched.promise:g} at delta {bound.delta:g}"
    if watched.refuted_at is not None:
        raise FalsifiedError(f"{said} is refuted at guess {watched.refuted_at} (p = {bound.p_value:.2g})")
    if not as_json:
        typer.echo(f"{bound.counts.guesses[0]} guesses do not refute {said} (p = {bound.p_value:.2g})")


def _of_cosines(source: Path, asked: Asked, *, as_json: bool) -> None:
    from dpaudit.calls.own_streams import bound_cosines, read_cosines  # noqa: PLC0415 (imports stay lazy for --help)

    found = bound_cosines(read_cosines(source), asked)
    _show([found], _plain(found), as_json=as_json)


def _of_counts(
    asked: Asked,
    guessed: tuple[int | None, int | None, list[int] | None],
    rates: tuple[int | None, ...],
    *,
    as_json: bool,
) -> None:
    from dpaudit.bounds.clopper_pearson import Confusion  # noqa: PLC0415 (imports stay lazy for --help)
    from dpaudit.bounds.guesses import Guesses  # noqa: PLC0415
    from dpaudit.calls.own_scores import bound_counts  # noqa: PLC0415

    canaries, guesses, correct = guessed
    cells = [count for count in rates if count is not None]
    runs = []
    if canaries is not None and guesses is not None:
        runs = [Guesses(canaries=canaries, guesses=guesses, correct=right) for right in correct or ()]
    confusion = None
    if len(cells) == 4:
        tp, fn, fp, tn = cells
        confusion = Confusion(
            true_positives=tp,
            in_trials=tp + fn,
            false_positives=fp,
            out_trials=fp + tn,
            trials=asked.trials,
        )
    found = bound_counts(asked, runs=runs, confusion=confusion)
    _show([found], _plain(found), as_json=as_json)


def _fixed(guesses_in: int | None, guesses_out: int | None) -> Any:
    from dpaudit.bounds.strategies import FixedGuesses  # noqa: PLC0415 (imports stay lazy for --help)

    if guesses_in is None and guesses_out is None:
        return None
    return FixedGuesses(guesses_in=guesses_in or 0, guesses_out=guesses_out or 0)


def _plain(found: Bound) -> dict[str, Any]:
    """Return a bound as JSON, with `mu` where the family has one."""
    facts: dict[str, Any] = found.model_dump(mode="json")
    facts["mu"] = found.parameter if found.hypothesis == "gaussian" else None
    return facts


def _show(bounds: list[Bound], found: object, *, as_json: bool) -> None:
    if as_json:
        import json  # noqa: PLC0415 (imports stay lazy for --help)

        typer.echo(json.dumps(found, indent=1))
        return
    from dpaudit.cli.tables import bound_rows, print_table  # noqa: PLC0415

    print_table(bound_rows(bounds))
