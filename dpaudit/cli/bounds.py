"""The verb bound: of a run folder, of a file of scores, or of counts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dpaudit.errors import InputError

if TYPE_CHECKING:
    from dpaudit.own_scores import Asked
    from dpaudit.results import Bound

__all__ = ["bound"]

Source = Annotated[
    Path | None, typer.Argument(help="A run folder, or a csv, parquet or npz file with columns score and member.")
]


def bound(  # noqa: PLR0913 (the options of a command)
    source: Source = None,
    *,
    delta: Annotated[
        float | None, typer.Option(help="The delta at which epsilon is given (for scores and counts).")
    ] = None,
    confidence: Annotated[float, typer.Option(help="Of every single bound.")] = 0.95,
    method: Annotated[str | None, typer.Option(help="See `dpaudit list bounds`.")] = None,
    hypothesis: Annotated[str | None, typer.Option(help="any or gaussian: what is refuted.")] = None,
    lower_is_member: Annotated[bool, typer.Option("--lower-is-member", help="Low scores mean member.")] = False,
    independent_runs: Annotated[
        bool, typer.Option("--independent-runs", help="Every row is a run of its own, not a canary of one run.")
    ] = False,
    guesses_in: Annotated[int | None, typer.Option(help="Guess so many highest scores in: fixed beforehand.")] = None,
    guesses_out: Annotated[int | None, typer.Option(help="Guess so many lowest scores out.")] = None,
    canaries: Annotated[int | None, typer.Option(help="Counts: coins that were tossed.")] = None,
    guesses: Annotated[int | None, typer.Option(help="Counts: coins that were guessed.")] = None,
    correct: Annotated[int | None, typer.Option(help="Counts: guesses that were right.")] = None,
    tp: Annotated[int | None, typer.Option(help="Counts: members called in.")] = None,
    fn: Annotated[int | None, typer.Option(help="Counts: members called out.")] = None,
    fp: Annotated[int | None, typer.Option(help="Counts: non-members called in.")] = None,
    tn: Annotated[int | None, typer.Option(help="Counts: non-members called out.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
) -> None:
    """Bound epsilon from below: open the coins of a run folder, or bring scores or counts from anywhere.

    Examples:
      dpaudit bound runs/quickstart

      dpaudit bound scores.csv --delta 1e-5 --json

      dpaudit bound --method one-run-fdp --hypothesis gaussian --canaries 1000 --guesses 100 --correct 90 --delta 1e-5
    """
    if source is not None and source.is_dir():
        _of_folder(source, as_json=as_json, quiet=quiet)
        return
    from dpaudit.own_scores import Asked  # noqa: PLC0415 (imports stay lazy for --help)

    if source is not None and not source.exists():
        raise InputError("source", str(source), "a run folder or a file of scores")
    if delta is None:
        raise InputError("--delta", None, "a number of at least 0 and below 1")
    fixed = _fixed(guesses_in, guesses_out)
    asked = Asked(
        delta=delta,
        confidence=confidence,
        method=method,
        hypothesis=hypothesis,
        guesses=fixed,
        independent_runs=independent_runs,
    )
    if source is not None:
        _of_file(source, asked, lower_is_member=lower_is_member, as_json=as_json)
    else:
        _of_counts(asked, (canaries, guesses, correct), (tp, fn, fp, tn), as_json=as_json)


def _of_folder(folder: Path, *, as_json: bool, quiet: bool) -> None:
    from dpaudit.calls import bound as call  # noqa: PLC0415 (imports stay lazy for --help)
    from dpaudit.cli.progress import progress_for  # noqa: PLC0415

    bounds = call(folder, progress=progress_for(quiet=quiet)).bounds
    _show(list(bounds), [found.model_dump(mode="json") for found in bounds], as_json=as_json)


def _of_file(path: Path, asked: Asked, *, lower_is_member: bool, as_json: bool) -> None:
    from dpaudit.metrics import FPRS, auc, balanced_accuracy, tpr_at_fpr  # noqa: PLC0415 (as above)
    from dpaudit.own_scores import bound_table, read_scores  # noqa: PLC0415

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


def _of_counts(asked: Asked, guessed: tuple[int | None, ...], rates: tuple[int | None, ...], *, as_json: bool) -> None:
    from dpaudit.bounds.clopper_pearson import Confusion  # noqa: PLC0415 (imports stay lazy for --help)
    from dpaudit.bounds.guesses import Guesses  # noqa: PLC0415
    from dpaudit.own_scores import bound_counts  # noqa: PLC0415

    counts = [count for count in guessed if count is not None]
    cells = [count for count in rates if count is not None]
    guesses = Guesses(canaries=counts[0], guesses=counts[1], correct=counts[2]) if len(counts) == 3 else None
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
    found = bound_counts(asked, guesses=guesses, confusion=confusion)
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
