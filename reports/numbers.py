"""Numbers as a reader wants them: epsilons with two decimals, p-values like 3e-12, infinity as ∞.

Rounding never flatters: a lower bound is rounded down, a promise up.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dpaudit.results import Interval

__all__ = [
    "NOTHING",
    "at_least",
    "at_most",
    "chance",
    "count",
    "detail",
    "difference",
    "duration",
    "fixed",
    "percent",
    "score",
    "score_interval",
    "small",
]

NOTHING = "—"
_SLACK = 1e-6  # what a calibration or a bisection leaves over is not worth a hundredth


def at_least(epsilon: float | None) -> str:
    """Return an epsilon that is a lower bound, rounded down.

    >>> at_least(3.219), at_least(0.0), at_least(float("inf")), at_least(None)
    ('3.21', '0.00', '∞', '—')
    """
    if epsilon is None or math.isnan(epsilon):
        return NOTHING
    return "∞" if math.isinf(epsilon) else f"{math.floor(epsilon * 100 + _SLACK) / 100:,.2f}"


def at_most(epsilon: float | None) -> str:
    """Return an epsilon that is a promise, rounded up.

    >>> at_most(7.991), at_most(8.0 + 1e-9), at_most(float("inf"))
    ('8.00', '8.00', '∞')
    """
    if epsilon is None or math.isnan(epsilon):
        return NOTHING
    return "∞" if math.isinf(epsilon) else f"{math.ceil(epsilon * 100 - _SLACK) / 100:,.2f}"


def small(value: float | None) -> str:
    """Return a p-value or a delta with two digits at most.

    >>> small(2.9e-12), small(1e-5), small(0.0412), small(1.0), small(0.0)
    ('2.9e-12', '1e-5', '0.041', '1', '0')
    """
    if value is None or math.isnan(value):
        return NOTHING
    if value == 0 or abs(value) >= 1e-3:
        return f"{value:.2g}"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}"


def percent(share: float) -> str:
    """Return a share in per cent: one decimal, two digits below one per cent.

    >>> percent(0.712), percent(0.95), percent(0.00042), percent(1.0)
    ('71.2 %', '95 %', '0.042 %', '100 %')
    """
    value = 100.0 * share
    text = f"{value:.2g}" if 0 < value < 1 else f"{value:.1f}".removesuffix(".0")
    return f"{text} %"


def chance(power: float) -> str:
    """Return a chance in per cent, rounded down: certainty is not on offer.

    >>> chance(0.98285), chance(0.99999999), chance(0.0)
    ('98.2 %', '> 99.9 %', '0 %')
    """
    return "> 99.9 %" if power > 0.999 else percent(math.floor(1000 * power) / 1000)


def fixed(value: float, digits: int = 3) -> str:
    """Return a number with a fixed count of decimals, infinity as ∞.

    >>> fixed(0.59049)
    '0.590'
    """
    return ("∞" if value > 0 else "-∞") if math.isinf(value) else f"{value:,.{digits}f}"


def score(value: float, metric: str) -> str:
    """Return the value of a probe: per cent for an accuracy or a recall, else three digits.

    >>> score(0.712, "accuracy"), score(12.3456, "perplexity")
    ('71.2 %', '12.3')
    """
    return f"{100.0 * value:.1f} %" if _is_share(metric) else f"{value:.3g}"


def score_interval(interval: Interval, metric: str) -> str:
    """Return the limits of a probe's value, for example `69.0 to 73.1 %`."""
    if _is_share(metric):
        return f"{100.0 * interval.low:.1f} to {100.0 * interval.high:.1f} %"
    return f"{interval.low:.3g} to {interval.high:.3g}"


def difference(apart: float, metric: str) -> str:
    """Return how far two values of a probe are apart, with its sign; of shares in points of a per cent.

    >>> difference(0.0412, "accuracy"), difference(-1.5, "CIDEr")
    ('+4.1 points', '-1.5')
    """
    return f"{100.0 * apart:+.1f} points" if _is_share(metric) else f"{apart:+.3g}"


def detail(name: str, value: float | str) -> str:
    """Return what a probe tells beside its scores: counts whole, recalls and chances in per cent, else four digits.

    >>> detail("R@1, image to text (trained)", 0.01234), detail("chance", 0.5), detail("draws", 10), detail("C", 0.01)
    ('1.2 %', '50.0 %', '10', '0.01')
    """
    if isinstance(value, str):
        return value
    if _is_share(name) or name.startswith("chance"):
        return score(value, "accuracy")
    return count(value) if isinstance(value, int) else f"{value:.4g}"


def count(value: float) -> str:
    """Return a whole number with thousands separated.

    >>> count(1000000)
    '1,000,000'
    """
    return f"{value:,.0f}"


def duration(seconds: float) -> str:
    """Return a time span in its two largest units.

    >>> duration(0.42), duration(200), duration(7300)
    ('0.4 s', '3 min 20 s', '2 h 1 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def _is_share(metric: str) -> bool:
    return "accuracy" in metric.lower() or "recall" in metric.lower() or metric.startswith("R@")
