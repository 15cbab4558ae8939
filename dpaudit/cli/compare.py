"""The verb compare: several finished audits on one page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dpaudit.reports.seeds import Repeated
    from dpaudit.results import AuditResult

__all__ = ["compare", "comparison_table"]


def compare(
    folders: Annotated[list[Path], typer.Argument(help="Run folders with finished reports, for example runs/*.")],
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="Where compare.html and compare.csv go.")] = Path("compared"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the table as JSON on standard output.")] = False,
) -> None:
    """Set finished audits side by side: privacy-utility frontier, verdicts, means over seeds, what recipes differ in.

    Example: dpaudit compare runs/* --out compared
    """
    from dpaudit.calls.verbs import compare as call  # noqa: PLC0415 (imports stay lazy for --help)
    from dpaudit.cli.tables import print_table  # noqa: PLC0415
    from dpaudit.reports.comparison import comparison_rows  # noqa: PLC0415
    from dpaudit.reports.seeds import repeated  # noqa: PLC0415

    runs = call(folders, out=out)
    rows, again = comparison_rows(runs), repeated(runs)
    if as_json:
        import json  # noqa: PLC0415 (imports stay lazy for --help)

        typer.echo(
            json.dumps(
                {"page": str(out / "compare.html"), "rows": rows, "over_seeds": [each.row() for each in again]},
                indent=1,
                default=str,
            )
        )
        return
    print_table(_table(runs))
    if again:
        typer.echo("")
        print_table(_seeds_table(again))
    typer.echo(f"\npage: {out / 'compare.html'}")


def comparison_table(folders: Sequence[Path]) -> list[list[str]]:
    """Return one row per finished audit, the first of them the header; audits go by the names of their folders."""
    from dpaudit.calls.verbs import finished  # noqa: PLC0415 (imports stay lazy for --help)

    return _table({folder.name: finished(folder) for folder in folders})


def _seeds_table(again: Sequence[Repeated]) -> list[list[str]]:
    rows = [["recipe", "probe", "features", "mean", "95 % over trainings", "trainings"]]
    for each in again:
        trainings = f"{len(each.values)} {each.over}"
        rows.append([each.recipe, each.probe, each.features, each.mean_text, each.interval_text, trainings])
    return rows


def _table(runs: dict[str, AuditResult]) -> list[list[str]]:
    from dpaudit.reports.comparison import certified  # noqa: PLC0415 (imports stay lazy for --help)
    from dpaudit.reports.headline import bought, promised  # noqa: PLC0415
    from dpaudit.reports.numbers import at_least  # noqa: PLC0415

    rows = [["run", "verdict", "promised, at most", "certified, at least", "utility"]]
    for name, result in runs.items():
        found = [result.verdict.word, promised(result).value, at_least(certified(result)), bought(result).value]
        rows.append([name, *found])
    return rows
