"""The few-shot probe: a linear classifier from a handful of labelled records of each class, several times."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtri, stdtrit

from dpaudit.errors import DpauditError, InputError
from dpaudit.probes.linear import wilson
from dpaudit.results import Measurement, ProbeResult

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dpaudit.data.examples import Examples
    from dpaudit.plugins import FeatureSource, ProbeData
    from dpaudit.results import Interval
    from dpaudit.rng import Rng

__all__ = ["FewShot", "over_draws"]


@dataclass(frozen=True, kw_only=True)
class FewShot:
    """Test accuracy after `shots` labelled records of each class, the mean over `draws` drawings of them.

    As DP-Cap measures it (Sander et al. 2024): centred features of length 1, multinomial logistic regression without
    intercept; penalty: its inverse L2 penalty C, theirs. Both parts are centred by the drawn records' mean, where
    theirs centres the test records by their own. A class without a record to learn from is left out. confidence: of
    the interval over drawings from the probe's training records and draws of test records, together.

    >>> FewShot(shots=1).draws
    10
    """

    shots: int = 5
    draws: int = 10
    penalty: float = 400.0
    max_iter: int = 1000
    confidence: float = 0.95

    def __post_init__(self) -> None:
        for name, least in (("shots", 1), ("draws", 2), ("max_iter", 1)):
            if getattr(self, name) < least:
                raise InputError(name, getattr(self, name), f"{least} or more")
        if not 0 < self.penalty < np.inf:
            raise InputError("penalty", self.penalty, "a positive number")
        if not 0 < self.confidence < 1:
            raise InputError("confidence", self.confidence, "a number between 0 and 1, both excluded")

    def measure(self, features: FeatureSource, data: ProbeData, rng: Rng) -> ProbeResult:
        """Return the mean test accuracy of every kind of features; all kinds learn from the same drawings."""
        drawn = self._drawn(_labels("train", data.train), rng)
        truth = _labels("test", data.test)
        measurements, detail = [], dict[str, float | int | str](shots=self.shots, draws=self.draws)
        for name, extract in features.items():
            train, test = (extract(part).astype(np.float64) for part in (data.train, data.test))
            if not (np.isfinite(train).all() and np.isfinite(test).all()):
                raise DpauditError(f"probe few-shot: features ({name}) are not finite")
            right = np.stack([self._said(train[rows], labels, test) == truth for rows, labels in drawn])
            measurements.append(Measurement(features=name, score=over_draws(right, self.confidence)))
            detail[f"standard deviation over draws ({name})"] = float(right.mean(axis=1).std(ddof=1))
        return ProbeResult(
            probe="few-shot",
            run="",
            metric=f"accuracy, {self.shots}-shot",
            measurements=tuple(measurements),
            train_size=len(drawn[0][0]),
            test_size=len(truth),
            detail=detail,
        )

    def _drawn(self, labels: NDArray[np.int64], rng: Rng) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Return of each drawing the rows and their labels: `shots` rows of every class that there is."""
        classes, counts = np.unique(labels, return_counts=True)
        if len(classes) < 2 or counts.min() < self.shots:
            expected = f"two classes or more with {self.shots} records or more each"
            raise InputError("probe data, train", dict(zip(classes.tolist(), counts.tolist(), strict=True)), expected)
        found = []
        for draw in range(self.draws):
            draws = rng.child("draw", draw).numpy()
            rows = [draws.choice(np.flatnonzero(labels == each), self.shots, replace=False) for each in classes]
            found.append((np.concatenate(rows), np.repeat(classes, self.shots)))
        return found

    def _said(self, x: NDArray[np.float64], y: NDArray[np.int64], test: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the class of every test row after one drawing."""
        from sklearn.linear_model import LogisticRegression  # noqa: PLC0415  # sklearn takes a second to import
        from threadpoolctl import threadpool_limits  # noqa: PLC0415  # as above

        middle = x.mean(axis=0)
        model = LogisticRegression(C=self.penalty, max_iter=self.max_iter, fit_intercept=False)
        with threadpool_limits(1, user_api="blas"):
            model.fit(_unit(x - middle), y)
            said: NDArray[np.int64] = model.predict(_unit(test - middle))
        return said


def over_draws(right: NDArray[np.bool_], confidence: float) -> Interval:
    """Return the mean of outcomes (draws, records) with its interval over both, as crossed random effects.

    The variance of the mean is the two-way one without interaction beyond noise, (MS draws + MS records - MS rest) /
    (draws * records) (Searle, Casella, McCulloch 1992), with Satterthwaite's degrees of freedom; the interval is
    Wilson's at the number of trials of that variance.

    >>> over_draws(np.array([[True, True, False], [True, False, False]]), 0.9).value
    0.5
    """
    outcomes = right.astype(np.float64)
    draws, records = outcomes.shape
    mean = float(outcomes.mean())
    by_draw, by_record = outcomes.mean(axis=1) - mean, outcomes.mean(axis=0) - mean
    rest = outcomes - mean - by_draw[:, None] - by_record
    freedom = (draws - 1, max(records - 1, 1), (draws - 1) * max(records - 1, 1))
    squares = (records * np.square(by_draw).sum(), draws * np.square(by_record).sum(), np.square(rest).sum())
    each = [float(square) / free for square, free in zip(squares, freedom, strict=True)]
    total = max(each[0] + each[1] - each[2], 0.0)
    worth = float(records)
    if total > 0:
        free = total**2 / sum(part**2 / of for part, of in zip(each, freedom, strict=True))
        wider = float(stdtrit(max(free, 1.0), (1 + confidence) / 2) / ndtri((1 + confidence) / 2))
        worth = mean * (1 - mean) * draws * records / (total * wider**2)
    worth = min(worth, float(draws * records))
    return wilson(mean * worth, worth, confidence)


def _labels(part: str, examples: Examples) -> NDArray[np.int64]:
    if examples.labels is None or not len(examples):
        raise InputError(f"probe data, {part}", "no labelled records", "one or more")
    return examples.labels


def _unit(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return rows of length 1; a row of zeros stays."""
    lengths = np.linalg.norm(x, axis=1, keepdims=True)
    return np.asarray(x / np.where(lengths > 0, lengths, 1))
