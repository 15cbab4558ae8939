"""The report's figures, each an inline SVG: epsilon bars, ROC, score histograms, training curves, probe bars."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter, NullLocator

from dpaudit.reports import headline, numbers, svg
from dpaudit.reports.standing import by_standing, standing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from markupsafe import Markup
    from matplotlib.axes import Axes

    from dpaudit.results import AttackResult, AuditResult, Bound, ProbeResult, Promise, Series

__all__ = ["MOST_BARS", "MOST_LINES", "drawn", "epsilon_bars", "histogram", "probe_bars", "roc", "training"]

MOST_BARS = 10
MOST_LINES = len(svg.SERIES)
_DASHES = ("-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)), (0, (1, 2)))


def epsilon_bars(result: AuditResult, name: str = "epsilon") -> Markup:
    """Return the refuted epsilons as bars beside the line of the promise; deciding certified bounds first."""
    bounds = drawn(result.bounds)
    promise = result.promise
    alt = f"Bars of refuted epsilon beside the promised {numbers.at_most(promise.epsilon)}: " + "; ".join(
        f"{_bar_label(bound)} {numbers.at_least(bound.epsilon)}" for bound in bounds
    )

    def paint(axes: Axes) -> None:
        finite = [e for e in (promise.epsilon, *(b.epsilon for b in bounds)) if math.isfinite(e)]
        right = 1.18 * max([*finite, 1.0])
        for row, bound in enumerate(bounds):
            _paint_bar(axes, row, bound, right)
        _paint_promise(axes, promise, len(bounds))
        axes.set_xlim(0, right)
        axes.set_ylim(len(bounds) - 0.25, -0.95)
        axes.yaxis.set_major_locator(NullLocator())
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("ε (epsilon): smaller is more private")

    return svg.draw(name, alt, 0.95 + 0.56 * len(bounds), paint)


def drawn(bounds: Sequence[Bound]) -> list[Bound]:
    """Return the bounds that have a bar: those that decide, and the others that refute anything at all."""
    return [bound for bound in by_standing(bounds) if standing(bound).decides or bound.epsilon > 0][:MOST_BARS]


def roc(attacks: Sequence[AttackResult], curve: Series | None, name: str = "roc") -> Markup:
    """Return the ROC curves on logarithmic axes with their bands, chance, and the ceiling that the promise sets."""
    shown = attacks[:MOST_LINES]
    floor = min(0.5 / max(a.candidates - a.members, 1) for a in shown)
    low = min(0.5 / max(a.members, 1) for a in shown)
    alt = "ROC curves on logarithmic axes: " + "; ".join(f"{a.attack}, AUC {a.auc.value:.3f}" for a in shown)

    def paint(axes: Axes) -> None:
        axes.plot([floor, 1], [floor, 1], color=svg.MUTED, linewidth=1, linestyle=(0, (2, 3)), label="chance")
        for attack, colour, dashes in zip(shown, svg.SERIES, _DASHES, strict=False):
            points = [(max(x, floor), y) for x, y in zip(attack.roc.x, attack.roc.y, strict=True) if y > 0]
            xs, ys = zip(*points, strict=True) if points else ((), ())
            axes.plot(xs, ys, color=colour, linestyle=dashes, drawstyle="steps-post", label=_attack_label(attack))
            _paint_band(axes, attack, colour, (floor, low))
        if curve is not None:
            ceiling = [(x, 1 - y) for x, y in zip(curve.x, curve.y, strict=True) if x >= floor and y < 1]
            xs, ys = zip(*ceiling, strict=True) if ceiling else ((), ())
            axes.plot(xs, ys, color=svg.PROMISE, linewidth=1.3, label="most that the promise allows, on average")
        _logarithmic_shares(axes)
        axes.set_xlim(floor, 1)
        axes.set_ylim(low, 1.15)
        axes.set_xlabel("false-positive rate: non-members taken for members")
        axes.set_ylabel("true-positive rate")
        axes.figure.legend(loc="outside lower left", ncols=1, handlelength=3)

    return svg.draw(name, alt, 3.6 + 0.19 * (len(shown) + 2), paint)


def histogram(attack: AttackResult, name: str) -> Markup:
    """Return the score histograms of members (filled) and non-members (outlined)."""
    alt = (
        f"Histograms of the scores of {attack.attack} on {attack.run}: {attack.members} members and "
        f"{attack.candidates - attack.members} non-members, AUC {attack.auc.value:.3f}"
    )

    def paint(axes: Axes) -> None:
        inside, outside = attack.histogram_in, attack.histogram_out
        axes.stairs(inside.y, _edges(inside.x), fill=True, color=svg.SERIES[0], alpha=0.45, label="in (members)")
        axes.stairs(outside.y, _edges(outside.x), color=svg.SERIES[1], linewidth=1.6, label="out (non-members)")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: numbers.percent(share)))
        axes.set_xlabel("score: higher = more likely a member")
        axes.set_ylabel("share of its group")
        axes.set_ylim(bottom=0)
        axes.figure.legend(loc="outside upper left", ncols=2)

    return svg.draw(name, alt, 2.5, paint)


def training(quantity: str, curves: Sequence[tuple[str, Series]], name: str) -> Markup:
    """Return one quantity of the training by step, a line per run."""
    shown = curves[:MOST_LINES]
    alt = f"{quantity} by training step for {', '.join(run for run, _ in shown)}"

    def paint(axes: Axes) -> None:
        for (run, series), colour, dashes in zip(shown, svg.SERIES, _DASHES, strict=False):
            axes.plot(series.x, series.y, color=colour, linestyle=dashes, linewidth=1.3, label=run)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        axes.set_xlabel("step")
        axes.set_ylabel(quantity)
        if len(shown) > 1:
            axes.figure.legend(loc="outside upper left", ncols=3)

    return svg.draw(name, alt, 2.4, paint)


def probe_bars(probe: ProbeResult, name: str) -> Markup:
    """Return a probe's scores by kind of features, with their intervals."""
    rows = probe.measurements
    alt = f"{probe.metric} of the {probe.probe} probe: " + "; ".join(
        f"{row.features} {numbers.score(row.score.value, probe.metric)}" for row in rows
    )

    def paint(axes: Axes) -> None:
        for place, row in enumerate(rows):
            value = row.score.value
            trained = row.features == "trained"
            axes.barh(place, value, height=0.34, color=svg.SERIES[0] if trained else svg.MUTED, alpha=0.85)
            axes.plot([row.score.low, row.score.high], [place, place], color=svg.INK, linewidth=1.4, marker="|")
            text = f"{headline.features(row.features)}: {numbers.score(value, probe.metric)}"
            axes.annotate(text, (0, place - 0.24), xytext=(1, 2), textcoords="offset points", va="bottom")
        axes.set_ylim(len(rows) - 0.6, -0.75)
        axes.set_xlim(left=0)
        axes.yaxis.set_major_locator(NullLocator())
        axes.spines["left"].set_visible(False)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda tick, _: numbers.score(tick, probe.metric)))
        axes.set_xlabel(probe.metric)

    return svg.draw(name, alt, 0.75 + 0.5 * len(rows), paint)


def _bar_label(bound: Bound) -> str:
    role = standing(bound).short
    attack = f", {bound.attack}" if bound.attack else ""
    step = ", one step" if bound.one_step else ""
    return f"{role}{attack}{step}: {headline.HYPOTHESES[bound.hypothesis]}"


def _paint_bar(axes: Axes, row: int, bound: Bound, right: float) -> None:
    length = min(bound.epsilon, right)
    if bound.guarantee == "certified":
        axes.barh(row, length, height=0.36, color=svg.SERIES[0], alpha=1.0 if standing(bound).decides else 0.45)
    elif bound.guarantee == "under_independence":
        axes.barh(row, length, height=0.36, facecolor="none", edgecolor=svg.SERIES[1], hatch="////", linewidth=1)
    else:
        axes.barh(row, length, height=0.36, facecolor="none", edgecolor=svg.MUTED, linestyle=(0, (3, 2)), linewidth=1)
    axes.annotate(
        _bar_label(bound), (0, row - 0.2), xytext=(1, 2), textcoords="offset points", va="bottom", fontsize=8.5
    )
    inside = length > 0.9 * right
    axes.annotate(
        numbers.at_least(bound.epsilon),
        (length, row),
        xytext=(-5 if inside else 5, 0),
        textcoords="offset points",
        va="center",
        ha="right" if inside else "left",
        fontweight="bold" if standing(bound).decides else "normal",
        bbox=None if inside else {"facecolor": svg.PAGE, "linewidth": 0, "pad": 1.5},
        zorder=4,
    )


def _paint_promise(axes: Axes, promise: Promise, rows: int) -> None:
    if math.isfinite(promise.epsilon):
        axes.axvline(promise.epsilon, color=svg.PROMISE, linewidth=2, zorder=3)
        text, place, side = f"promised {numbers.at_most(promise.epsilon)} ", (promise.epsilon, -0.95), "right"
    else:
        text, place, side = "nothing is promised (∞)", (axes.get_xlim()[1], -0.95), "right"
    axes.annotate(
        text,
        place,
        xytext=(-2, -2),
        textcoords="offset points",
        va="top",
        ha=side,
        color=svg.PROMISE,
        fontweight="bold",
        annotation_clip=False,
    )
    axes.set_ylim(rows, -0.95)


def _paint_band(axes: Axes, attack: AttackResult, colour: str, least: tuple[float, float]) -> None:
    if attack.roc_low is None or attack.roc_high is None:
        return
    xs = [max(x, least[0]) for x in attack.roc_low.x]
    lows = [max(y, least[1]) for y in attack.roc_low.y]
    highs = [max(y, least[1]) for y in attack.roc_high.y]
    axes.fill_between(xs, lows, highs, step="post", color=colour, alpha=0.14, linewidth=0)


def _attack_label(attack: AttackResult) -> str:
    return f"{attack.attack} on {attack.run} ({attack.threat})"


def _logarithmic_shares(axes: Axes) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda share, _: numbers.percent(share)))
        axis.set_minor_formatter(NullFormatter())


def _edges(centres: Sequence[float]) -> list[float]:
    """Return the bin edges of evenly spaced bin centres."""
    half = (centres[1] - centres[0]) / 2 if len(centres) > 1 else 0.5
    return [centre - half for centre in centres] + [centres[-1] + half]
