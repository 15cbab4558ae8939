"""The attack without references: a signal beyond what is usual for non-members that look like the record.

Bertran, Tang, Kearns, Morgenstern, Roth, Wu 2023, "Scalable Membership Inference Attacks via Quantile Regression"
(arXiv 2307.03694); its normal head in the way of Liu et al. 2025 (arXiv 2506.15349), who audit with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dpaudit.calibration import needs_of, read_signal
from dpaudit.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dpaudit.plugins import AttackView, Needs

__all__ = ["QuantileRegression"]

_PENALTIES = np.geomspace(1e-3, 1e5, 25)  # of ridge regression, on features of variance 1
_LASSO = 0.01  # of the quantile's regression, on features and a signal of variance 1
_LEAST_SPREAD = 1e-3  # of a record, in units of the spread over all


@dataclass(frozen=True, kw_only=True)
class QuantileRegression:
    """Scores a record by where its signal lies among those that non-members with its features have.

    The population, which no run is trained on, teaches what is usual, given the target's own features of an image.
    quantile: null = a normal distribution with mean and spread by features, score (signal - mean) / spread, which is in
    the order of the paper's CDF; a number = the pinball regression of this quantile, score signal - quantile.

    >>> QuantileRegression().needs.references
    0
    """

    signal: str = "loss"
    draws: int = 1
    quantile: float | None = None

    def __post_init__(self) -> None:
        _ = self.needs
        if self.draws < 1:
            raise InputError("draws", self.draws, "at least 1")
        if self.quantile is not None and not 0 < self.quantile < 1:
            raise InputError("quantile", self.quantile, "a number between 0 and 1, both excluded, or null")

    @property
    def needs(self) -> Needs:
        """Return what it needs: records that are never members, and no references."""
        return needs_of(self.signal, references=0, population=20)

    def score(self, view: AttackView) -> NDArray[np.float64]:
        """Return one score per candidate, (n,), higher = more likely a member."""
        usual, told = (
            read_signal(view.target, self.signal, examples, self.draws).mean(axis=0)
            for examples in (view.population, view.candidates.records)
        )
        before, after = (view.target.embed(examples) for examples in (view.population, view.candidates.records))
        known, asked = _standardised(before.astype(np.float64), after.astype(np.float64))
        if self.quantile is not None:
            return np.asarray(told - _quantile(known, usual, asked, self.quantile))
        mean, left = _ridge(known, usual, asked)
        return np.asarray((told - mean) / _spread(known, left, asked))


def _standardised(
    known: NDArray[np.float64], asked: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return both with the population's mean 0 and variance 1 in every feature; constant features become 0."""
    mean, deviation = known.mean(axis=0), known.std(axis=0)
    scale = np.where(deviation > 0, 1 / np.where(deviation > 0, deviation, 1.0), 0.0)
    return (known - mean) * scale, (asked - mean) * scale


def _ridge(
    known: NDArray[np.float64], values: NDArray[np.float64], asked: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return what ridge regression expects of `asked`, and what each known record is off when it is left out.

    known: centred features (m, d). The penalty is the one with which the left-out errors are smallest.
    """
    centre, (left, singular, right) = values.mean(), np.linalg.svd(known, full_matrices=False)
    turned, best = left.T @ (values - centre), None
    for penalty in _PENALTIES:
        kept = singular**2 / (singular**2 + penalty)
        leverage = 1 / len(values) + (left**2 * kept).sum(axis=1)
        off = (values - centre - left @ (kept * turned)) / (1 - np.minimum(leverage, 1 - 1e-9))
        error = float(np.mean(off**2))
        if best is None or error < best[0]:
            weights = right.T @ (turned * singular / (singular**2 + penalty))
            best = (error, centre + asked @ weights, off)
    if best is None or not np.isfinite(best[0]):
        raise InputError("signal of the population", "not finite", "numbers")
    return best[1], best[2]


def _spread(known: NDArray[np.float64], off: NDArray[np.float64], asked: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the standard deviation expected of `asked`: a regression of log squares, scaled to the squares' mean."""
    whole = float(np.sqrt(np.mean(off**2)))
    if whole == 0:
        return np.ones(len(asked))
    logs = np.log(np.maximum(np.abs(off) / whole, _LEAST_SPREAD))
    asked_logs, missed = _ridge(known, logs, asked)
    scale = np.sqrt(
        np.mean(np.exp(2 * missed))
    )  # log|off| = expected log + missed, so off^2 / expected^2 = e^(2 missed)
    return np.asarray(whole * np.maximum(np.exp(asked_logs) * scale, _LEAST_SPREAD))


def _quantile(
    known: NDArray[np.float64], values: NDArray[np.float64], asked: NDArray[np.float64], level: float
) -> NDArray[np.float64]:
    from sklearn.linear_model import QuantileRegressor  # noqa: PLC0415 (takes a second to import)

    centre, scale = values.mean(), values.std() or 1.0
    fitted = QuantileRegressor(quantile=level, alpha=_LASSO, solver="highs").fit(known, (values - centre) / scale)
    return np.asarray(centre + scale * fitted.predict(asked), dtype=np.float64)
