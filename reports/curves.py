"""Curves beside a promise: what attacks measured against the accountant's trade-off curve, and epsilon by step."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from matplotlib.ticker import FuncFormatter, MaxNLocator

from dpaudit.canaries import STEP_FAMILIES
from dpaudit.reports import headline, numbers, svg

if TYPE_CHECKING:
    from collections.abc import Sequence

    from markupsafe import Markup
    from matplotlib.axes import Axes

    from dpaudit.results import AttackResult, AuditResult, Series

__all__ = ["MOST_REGIONS", "of_the_run", "spent", "strongest_first", "trade_off"]

MOST_REGIONS = 3
_DASHES = ("-", "--", "-.")


def strongest_first(result: AuditResult) -> list[AttackResult]:
    """Return the attacks, those that a deciding bound speaks of first, then by AUC; the order of what is drawn."""
    decides = {bound.attack for bound in headline.deciding(result)}
    return sorted(result.attacks, key=lambda attack: (attack.attack not in decides, -attack.auc.value))


def of_the_run(attacks: Sequence[AttackResult]) -> list[AttackResult]:
    """Return the attacks whose candidates are in or out of the run, and not of one step: the curve is the run's."""
    return [attack for attack in attacks if attack.family not in STEP_FAMILIES]


def trade_off(attacks: Sequence[AttackResult], curve: Series, name: str = "trade-off") -> Markup:
    """Return the promise's trade-off curve, below which no attack may lie, and the region that attacks measured.

    attacks: those whose `measured` is known. A region is what lies above and right of its line.
    """
    shown = [(attack, attack.measured) for attack in attacks if attack.measured is not None][:MOST_REGIONS]
    alt = "The promise's trade-off curve between false positives and misses, and what attacks measured: " + "; ".join(
        f"{attack.attack} on {attack.run}, {_standing(measured, curve)}" for attack, measured in shown
    )

    def paint(axes: Axes) -> None:
        axes.fill_between(curve.x, 0, curve.y, color=svg.PROMISE, alpha=0.1, linewidth=0)
        axes.plot(curve.x, curve.y, color=svg.PROMISE, linewidth=1.8, label="the promise: below it no attack can be")
        axes.plot([0, 1], [1, 0], color=svg.MUTED, linewidth=1, linestyle=(0, (2, 3)), label="guessing")
        for (attack, measured), colour, dashes in zip(shown, svg.SERIES, _DASHES, strict=False):
            points = sorted(zip(measured.x, measured.y, strict=True))
            xs, ys = zip(*points, strict=True)
            axes.plot(xs, ys, color=colour, linestyle=dashes, label=f"{attack.attack} on {attack.run}")
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(FuncFormatter(lambda share, _: numbers.percent(share)))
        axes.set_xlabel("non-members accused (false-positive rate)")
        axes.set_ylabel("members missed")
        axes.figure.legend(loc="outside lower left", ncols=1, handlelength=3)

    return svg.draw(name, alt, 3.6 + 0.19 * (len(shown) + 2), paint)


def spent(result: AuditResult, series: Series, name: str = "spent") -> Markup:
    """Return epsilon by step, from the first step to the last."""
    delta = numbers.small(result.promise.delta)
    first, last = numbers.at_most(series.y[0]), numbers.at_most(series.y[-1])
    alt = f"ε at δ = {delta} by training step: {first} after step {series.x[0]:,.0f}, {last} after {series.x[-1]:,.0f}"

    def paint(axes: Axes) -> None:
        axes.plot(series.x, series.y, color=svg.PROMISE, marker="o", markersize=3)
        axes.annotate(
            last,
            (series.x[-1], series.y[-1]),
            xytext=(0, 6),
            textcoords="offset points",
            ha="right",
            color=svg.PROMISE,
        )
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        axes.set_xlim(left=0)
        axes.set_ylim(0, 1.18 * max(series.y))
        axes.set_xlabel("step")
        axes.set_ylabel(f"ε at δ = {delta}")

    return svg.draw(name, alt, 2.5, paint)


def _standing(measured: Series, curve: Series) -> str:
    """Return in words whether any measured point lies below the curve."""
    below = any(y < _height(curve, x) for x, y in zip(measured.x, measured.y, strict=True))
    return "partly below the curve" if below else "nowhere below the curve"


def _height(curve: Series, x: float) -> float:
    """Return the curve at x, between its points, which it is convex in; 0 right of them."""
    points = list(zip(curve.x, curve.y, strict=True))
    for (left, high), (right, low) in itertools.pairwise(points):
        if left <= x <= right:
            return high if right == left else high + (low - high) * (x - left) / (right - left)
    return 1.0 if x < points[0][0] else 0.0
