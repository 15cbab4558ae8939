"""Several audits side by side: the privacy-utility frontier, one row per run, and what their recipes differ in."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from dpaudit.reports import headline, numbers, svg
from dpaudit.reports.html import environment
from dpaudit.reports.papers import PAPERS, READ, ours, published_rows
from dpaudit.reports.seeds import repeated

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from markupsafe import Markup
    from matplotlib.axes import Axes

    from dpaudit.reports.papers import Paper, Row
    from dpaudit.results import AuditResult, Interval, ProbeResult

__all__ = ["Difference", "comparison_rows", "differences", "frontier", "write_comparison"]

_HEADER = (
    "run",
    "trainer",
    "verdict",
    "promised_epsilon",
    "delta",
    "certified_epsilon",
    "probe",
    "metric",
    "score",
    "score_low",
    "score_high",
    "untrained",
)


_SHOWN = 8  #: the axis of epsilon begins at least this many times below its largest value, so that it has ticks


@dataclass(frozen=True)
class Difference:
    """A value in which runs differ: where it stands, and what it is in each run, in their order."""

    field: str
    values: tuple[str, ...]


def write_comparison(runs: Mapping[str, AuditResult], out: Path) -> list[Path]:
    """Write `out`/compare.html and `out`/compare.csv of runs by name; return both; same runs, same bytes.

    Of recipes that were trained several times `out`/compare-seeds.csv as well.
    """
    out.mkdir(parents=True, exist_ok=True)
    page, table, again = out / "compare.html", out / "compare.csv", repeated(runs)
    context = {
        "runs": [(name, result, certified(result)) for name, result in runs.items()],
        "frontiers": [(label, frontier(runs, label, f"frontier-{k}")) for k, label in enumerate(_labels(runs))],
        "repeated": again,
        "papers": _beside_papers(runs),
        "read": READ,
        "recipes": differences({name: result.recipe for name, result in runs.items()}),
        "environments": differences({name: result.environment for name, result in runs.items()}),
        "promised": lambda result: headline.promised(result).value,
    }
    page.write_text(environment().get_template("compare.html").render(context), encoding="utf-8")
    _write_table(table, comparison_rows(runs))
    if again:
        _write_table(out / "compare-seeds.csv", [each.row() for each in again])
    return [page, table, *([out / "compare-seeds.csv"] if again else [])]


def _beside_papers(runs: Mapping[str, AuditResult]) -> list[tuple[Paper, list[Row]]]:
    """Return the papers whose systems were trained here, each with its numbers and ours."""
    found = [(paper, ours(runs, paper.trainer)) for paper in PAPERS]
    return [(paper, [*published_rows(paper), *rows]) for paper, rows in found if rows]


def _write_table(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def comparison_rows(runs: Mapping[str, AuditResult]) -> list[dict[str, object]]:
    """Return one row per probe of a run, unrounded; a run without probes has one row with the score left empty."""
    rows: list[dict[str, object]] = []
    for name, result in runs.items():
        facts: dict[str, object] = dict.fromkeys(_HEADER, "") | {
            "run": name,
            "trainer": result.recipe.get("trainer", {}).get("name", ""),
            "verdict": result.verdict.word,
            "promised_epsilon": result.promise.epsilon,
            "delta": result.promise.delta,
            "certified_epsilon": "" if certified(result) is None else certified(result),
        }
        rows += [facts | _scores(probe) for probe in result.probes] or [facts]
    return rows


def certified(result: AuditResult) -> float | None:
    """Return the epsilon of the strongest certified bound that was named to decide, or None without any."""
    bound = headline.strongest(result)
    return None if bound is None else bound.epsilon


def differences(trees: Mapping[str, Mapping[str, Any]]) -> tuple[Difference, ...]:
    """Return every value in which nested dictionaries differ, by dotted name; "—" where one lacks it.

    >>> differences({"a": {"privacy": {"epsilon": 8, "steps": 5}}, "b": {"privacy": {"epsilon": 2, "steps": 5}}})
    (Difference(field='privacy.epsilon', values=('8', '2')),)
    """
    flat = [_flat(tree) for tree in trees.values()]
    fields = list(dict.fromkeys(field for each in flat for field in each))
    found = [Difference(field, tuple(each.get(field, numbers.NOTHING) for each in flat)) for field in fields]
    return tuple(each for each in found if len(set(each.values)) > 1)


def frontier(runs: Mapping[str, AuditResult], label: str, name: str) -> Markup:
    """Return utility against epsilon for one probe: the score with its interval, from what is certified to the promise.

    The axis of epsilon is logarithmic; a run that promises nothing stands at its right end, under ∞.
    """
    points = [
        (run, result.promise.epsilon, certified(result), _score(probe, "trained"), probe.metric)
        for run, result in runs.items()
        for probe in result.probes
        if probe.probe == label
    ]
    metric = points[0][4]
    alt = f"{metric} of the {label} probe against epsilon: " + "; ".join(
        f"{run} {numbers.at_most(promised)}, at least {numbers.at_least(low)}, {numbers.score(found.value, metric)}"
        for run, promised, low, found, _ in points
    )

    def paint(axes: Axes) -> None:
        left, right = _limits([promised for _, promised, _, _, _ in points], [low or 0 for _, _, low, _, _ in points])
        for place, (run, promised, low, found, _) in enumerate(points):
            colour = svg.SERIES[place % len(svg.SERIES)]
            x = min(promised, right)
            if low is not None:  # where no test was listed, nothing is certified, not even 0
                axes.plot([max(low, left), x], [found.value, found.value], color=colour, linewidth=1.2, alpha=0.7)
            axes.plot([x, x], [found.low, found.high], color=colour, linewidth=1.2)
            axes.plot([x], [found.value], color=colour, marker="os^Dv*"[place % 6], linestyle="none", label=run)
        axes.set_xscale("log")
        axes.set_xlim(left / 1.15, right * 1.25)
        ticks = _ticks(left, right, infinite=any(math.isinf(promised) for _, promised, _, _, _ in points))
        axes.xaxis.set_major_locator(FixedLocator(list(ticks)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda tick, _: ticks.get(tick, "")))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda tick, _: numbers.score(tick, metric)))
        axes.set_xlabel("ε: marker = promised, line down to what attacks certify")
        axes.set_ylabel(metric)
        axes.figure.legend(loc="outside lower left", ncols=1, handlelength=2)

    return svg.draw(name, alt, 3.0 + 0.19 * len(points), paint)


def _limits(promised: Sequence[float], low: Sequence[float]) -> tuple[float, float]:
    finite = [value for value in (*promised, *low) if 0 < value < math.inf] or [1.0]
    infinite = any(math.isinf(value) for value in promised)
    return min(min(finite) / 1.3, max(finite) / _SHOWN), max(finite) * (2.5 if infinite else 1.0)


def _ticks(left: float, right: float, *, infinite: bool) -> dict[float, str]:
    """Return powers of two within the axis, and ∞ at its right end where a run promises nothing."""
    last = right / 1.6 if infinite else right * 1.1
    powers = [2.0**k for k in range(math.ceil(math.log2(left)), math.floor(math.log2(last)) + 1)]
    ticks = {power: f"{power:g}" for power in powers}
    return {**ticks, right: "∞"} if infinite else ticks


def _labels(runs: Mapping[str, AuditResult]) -> list[str]:
    return list(dict.fromkeys(probe.probe for result in runs.values() for probe in result.probes))


def _scores(probe: ProbeResult) -> dict[str, object]:
    found = _score(probe, "trained")
    untrained = [item.score.value for item in probe.measurements if item.features == "untrained"]
    return {
        "probe": probe.probe,
        "metric": probe.metric,
        "score": found.value,
        "score_low": found.low,
        "score_high": found.high,
        "untrained": untrained[0] if untrained else "",
    }


def _score(probe: ProbeResult, features: str) -> Interval:
    return next(item.score for item in probe.measurements if item.features == features)


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = str(value)
    return flat
