"""The linear probe: how well a linear classifier reads the labels off frozen features."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.special import ndtri

from dpaudit.errors import DpauditError, InputError
from dpaudit.results import Interval, Measurement, ProbeResult

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dpaudit.data.examples import Examples
    from dpaudit.plugins import Features, FeatureSource, ProbeData
    from dpaudit.rng import Rng

__all__ = ["WORTH_THREADS", "Linear", "wilson"]

#: numbers in a feature matrix from which threads are faster than one; below, they mostly wait for each other
WORTH_THREADS = 20_000_000


@dataclass(frozen=True, kw_only=True)
class Linear:
    """Multinomial logistic regression on standardised features; higher accuracy = more useful features.

    grid: inverse L2 penalties C to try; the best on the share `held_out` of the training records (stratified by label;
    the smallest C of equals) is refitted on all of them. Test records are looked at once. Fits are in single precision,
    which features have, and each begins where the one of the next smaller C ended. confidence: of the Wilson interval
    of the test accuracy, over draws of test records with the fitted probe fixed.

    >>> Linear(grid=(0.01, 1.0)).held_out
    0.2
    """

    grid: tuple[float, ...] = (0.001, 0.01, 0.1, 1.0)
    held_out: float = 0.2
    max_iter: int = 2000
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if not self.grid or not all(0 < penalty < math.inf for penalty in self.grid):
            raise InputError("grid", self.grid, "one positive number or more")
        if not 0 < self.held_out <= 0.5:
            raise InputError("held_out", self.held_out, "a share above 0 and at most 0.5")
        if self.max_iter < 1:
            raise InputError("max_iter", self.max_iter, "a positive number of iterations")
        if not 0 < self.confidence < 1:
            raise InputError("confidence", self.confidence, "a number between 0 and 1, both excluded")

    def measure(self, features: FeatureSource, data: ProbeData, rng: Rng) -> ProbeResult:
        """Return the test accuracy of every kind of features; all kinds share one held-out part.

        `detail` says for each kind which C was chosen and how many of its fits stopped before they converged.
        """
        _check_labels(data)
        held = self._held_out(_labels("train", data.train), rng)
        detail: dict[str, float | int | str] = {}
        measurements = []
        for name, extract in features.items():
            fit = self._fit(_labelled(name, extract, data.train), _labelled(name, extract, data.test), held)
            detail |= {f"C ({name})": fit.penalty, f"fits not converged ({name})": fit.not_converged}
            score = wilson(fit.correct, len(data.test), self.confidence)
            measurements.append(Measurement(features=name, score=score))
        return ProbeResult(
            probe="linear",
            run="",
            metric="accuracy",
            measurements=tuple(measurements),
            train_size=len(data.train),
            test_size=len(data.test),
            detail=detail,
        )

    def _held_out(self, labels: NDArray[np.int64], rng: Rng) -> NDArray[np.bool_]:
        """Return the mask of the held-out training records: spread evenly over the records in order of label.

        Never two neighbours, so a label with two records keeps one to fit.
        """
        shuffled = rng.child("held out").numpy().permutation(len(labels))
        by_label = shuffled[np.argsort(labels[shuffled], kind="stable")]
        steps = np.floor(np.arange(len(labels) + 1) * self.held_out)
        held = np.zeros(len(labels), dtype=np.bool_)
        held[by_label[np.diff(steps) > 0]] = True
        return held

    def _fit(self, train: _Labelled, test: _Labelled, held: NDArray[np.bool_]) -> _Fit:
        """Return the result on `test` with the C that was best on the held-out part of `train`."""
        kept, tried = train.take(~held), train.take(held)
        trials = _path(kept, tried, sorted(self.grid), self.max_iter)
        best = max(trials, key=lambda trial: trial.correct)
        (final,) = _path(train, test, [best.penalty], self.max_iter)
        return final._replace(not_converged=sum(fit.not_converged for fit in [*trials, final]))


def wilson(successes: float, trials: float, confidence: float) -> Interval:
    """Return the share of successes with its two-sided Wilson score interval (Wilson 1927).

    Numbers need not be whole: of scores between 0 and 1, or of trials that are worth less than one each.

    >>> interval = wilson(9, 10, 0.95)
    >>> round(interval.low, 3), round(interval.high, 3)
    (0.596, 0.982)
    """
    z = float(ndtri((1 + confidence) / 2))
    share = successes / trials
    centre = (share + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z / (1 + z**2 / trials) * math.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    low, high = max(0.0, min(centre - half, share)), min(1.0, max(centre + half, share))  # whatever was rounded
    return Interval(value=share, low=low, high=high, confidence=confidence)


class _Labelled(NamedTuple):
    """Features (n, d) with labels (n,)."""

    x: NDArray[np.float32]
    y: NDArray[np.int64]

    def take(self, rows: NDArray[np.bool_]) -> _Labelled:
        return _Labelled(self.x[rows], self.y[rows])


class _Fit(NamedTuple):
    """How many test records a fit got right; not_converged: fits that stopped early."""

    penalty: float
    correct: int
    not_converged: int


def _path(train: _Labelled, test: _Labelled, penalties: list[float], max_iter: int) -> list[_Fit]:
    """Fit on `train`, scaled by its own mean and deviation, for each penalty, and count what is right on `test`."""
    from sklearn.exceptions import ConvergenceWarning  # noqa: PLC0415  # sklearn takes a second to import
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415  # as above
    from sklearn.preprocessing import StandardScaler  # noqa: PLC0415  # as above
    from threadpoolctl import threadpool_limits  # noqa: PLC0415  # as above

    scaler, model = StandardScaler(), LogisticRegression(max_iter=max_iter, warm_start=True)
    x, held = scaler.fit_transform(train.x), scaler.transform(test.x)
    threads, fits = 1 if x.size < WORTH_THREADS else None, []
    for penalty in penalties:
        with warnings.catch_warnings(record=True) as caught, threadpool_limits(threads, user_api="blas"):
            warnings.simplefilter("always", ConvergenceWarning)  # told in the result instead
            model.set_params(C=penalty).fit(x, train.y)
        stopped = any(issubclass(warning.category, ConvergenceWarning) for warning in caught)
        correct = int((model.predict(held) == test.y).sum())
        fits.append(_Fit(penalty=penalty, correct=correct, not_converged=int(stopped)))
    return fits


def _labels(part: str, examples: Examples) -> NDArray[np.int64]:
    if examples.labels is None:
        raise InputError(f"probe data, {part}", "records without labels", "a data set with labels")
    return examples.labels


def _check_labels(data: ProbeData) -> None:
    """Refuse what no classifier can be fitted to or tested on."""
    counts = np.bincount(_labels("train", data.train), minlength=len(data.classes))
    if (counts >= 2).sum() < 2:
        raise InputError("probe data, train", counts.tolist(), "two classes or more with two records or more each")
    if len(_labels("test", data.test)) == 0:
        raise InputError("probe data, test", 0, "one record or more")


def _labelled(name: str, extract: Features, examples: Examples) -> _Labelled:
    x = extract(examples)
    if not np.isfinite(x).all():
        raise DpauditError(f"probe linear: features ({name}) are not finite")
    return _Labelled(x.astype(np.float32), _labels("probe", examples))
