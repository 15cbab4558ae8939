"""Mechanisms whose privacy is known exactly: the scores they show, and the curve that a right bound may not refute.

The scores of each are on a scale on which 1.5 is a sensible threshold to fix beforehand.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from scipy.special import ndtr

from dpaudit.bounds.gdp import gdp_epsilon, gdp_mu
from dpaudit.scores import LabelledScores

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

__all__ = ["COUNTER_EXAMPLE", "GAUSSIAN", "KNOWN", "NOISE", "Known"]

Members: TypeAlias = "NDArray[np.bool_]"
Scores: TypeAlias = "NDArray[np.float64]"

_NOTHING = 1e-6  # an epsilon
_RESPONSE = 1.0  # epsilon of randomised response
_SHIFT = 1.5  # sensitivity of the Laplace mechanism, in scales
_RATE = 0.5  # of Poisson sampling
_LEAK = 0.3  # chance that the counter-example shows everything
_ACCURACY = 0.8409226  # solves Phi^-1(0.3 a) - Phi^-1(0.3 (1 - a)) = 1, rounded down


@dataclass(frozen=True, kw_only=True, eq=False)
class Known:
    """A mechanism with one score per canary.

    scores: (rng, members (n,), runs) -> (n,) scores of n canaries in one run, or in n runs of one canary each. truth:
    hypothesis -> (delta -> parameter of the mechanism's own curve in that family), for the families that hold it.
    """

    name: str
    scores: Callable[[np.random.Generator, Members, int], Scores]
    truth: Mapping[str, Callable[[float], float]]

    def parameter(self, hypothesis: str, delta: float) -> float | None:
        """Return the parameter of the mechanism's curve in a family; None if it is not in there, or promises nothing.

        >>> round(GAUSSIAN.parameter("any", 1e-5), 4)
        4.3772
        >>> GAUSSIAN.parameter("any", 0.0) is None
        True
        """
        if hypothesis not in self.truth:
            return None
        parameter = self.truth[hypothesis](delta)
        return parameter if math.isfinite(parameter) else None

    def one_run(self, rng: np.random.Generator, canaries: int) -> LabelledScores:
        """Return the scores of one run whose canaries are in or out by fair, independent coins."""
        member = rng.random(canaries) < 0.5
        return LabelledScores(scores=self.scores(rng, member, 1), member=member)

    def independent_runs(self, rng: np.random.Generator, trials: int) -> LabelledScores:
        """Return the scores of as many runs, half of them with the one canary and half without."""
        member = np.arange(trials) < trials // 2
        return LabelledScores(scores=self.scores(rng, member, trials), member=member)


def _noise(rng: np.random.Generator, member: Members, _runs: int) -> Scores:
    return rng.normal(size=len(member))


def _gaussian(rng: np.random.Generator, member: Members, _runs: int) -> Scores:
    return np.asarray(rng.normal(size=len(member)) + member, dtype=np.float64)


def _randomised_response(rng: np.random.Generator, member: Members, _runs: int) -> Scores:
    truthful = rng.random(len(member)) < 1 / (1 + math.exp(-_RESPONSE))
    return np.where(member == truthful, 3.0, 0.0)


def _laplace(rng: np.random.Generator, member: Members, _runs: int) -> Scores:
    return np.asarray(rng.laplace(size=len(member)) + _SHIFT * member, dtype=np.float64)


def _subsampled_gaussian(rng: np.random.Generator, member: Members, _runs: int) -> Scores:
    present = member & (rng.random(len(member)) < _RATE)
    return np.asarray(rng.normal(size=len(member)) + present, dtype=np.float64)


def _counter_example(rng: np.random.Generator, member: Members, runs: int) -> Scores:
    """All bits of a run pass randomised response together, or none is shown (tiny jitter hides no bit)."""
    leak = rng.random(runs) < _LEAK
    shown = np.where(member == (rng.random(len(member)) < _ACCURACY), 3.0, 0.0)
    return np.where(leak, shown, 1.0) + rng.normal(scale=0.01, size=len(member))


def _gaussian_epsilon(delta: float) -> float:
    return gdp_epsilon(1.0, delta) if delta > 0 else math.inf


def _subsampled_epsilon(delta: float) -> float:
    """Return epsilon of N(0, 1) against (1 - q) N(0, 1) + q N(1, 1) for one step, by its exact privacy profile.

    Above ln(1 / (1 - q)) only the mixture can exceed e^epsilon times the other, namely where y > y(epsilon).
    """
    if delta == 0:
        return math.inf
    low, high = -math.log1p(-_RATE), 100.0
    while high - low > 1e-12:
        middle = (low + high) / 2
        y = 0.5 + math.log1p(math.expm1(middle) / _RATE)
        beyond = math.exp(middle) - (1 - _RATE)
        exceeded = _RATE * float(ndtr(1 - y)) - beyond * float(ndtr(-y))
        low, high = (middle, high) if exceeded > delta else (low, middle)
    return high


GAUSSIAN = Known(
    name="gaussian",
    scores=_gaussian,
    truth={"any": _gaussian_epsilon, "gaussian": lambda _: 1.0, "none": lambda _: 1.0},
)
#: with chance 0.3 all bits pass randomised response, else nothing is shown: exactly 1-GDP, since its trade-off curve
#: has one vertex, and it touches that of 1-GDP there. Methods that take canaries for independent trials accuse it.
COUNTER_EXAMPLE = Known(
    name="counter-example",
    scores=_counter_example,
    truth={"any": lambda delta: math.log((_ACCURACY - delta / _LEAK) / (1 - _ACCURACY)), "gaussian": lambda _: 1.0},
)
#: scores that know nothing: whoever claims an epsilon above 1e-6 is wrong
NOISE = Known(
    name="noise",
    scores=_noise,
    truth={
        "any": lambda _: _NOTHING,
        "gaussian": lambda delta: gdp_mu(_NOTHING, delta),
        "none": lambda delta: gdp_mu(_NOTHING, delta),
        "accountant": lambda _: 32.0,  # the most noise that is searched
    },
)
#: the mechanisms on which coverage is measured; how tight a bound is, is measured on the first that it holds
KNOWN = (
    GAUSSIAN,
    Known(
        name="randomised response",
        scores=_randomised_response,
        truth={"any": lambda delta: math.log(math.exp(_RESPONSE) - delta * (1 + math.exp(_RESPONSE)))},
    ),
    Known(
        name="laplace",
        scores=_laplace,
        truth={"any": lambda delta: _SHIFT + 2 * math.log1p(-delta)},
    ),
    Known(
        name="subsampled gaussian",
        scores=_subsampled_gaussian,
        truth={"any": _subsampled_epsilon, "accountant": lambda _: 1.0},
    ),
    COUNTER_EXAMPLE,
)
