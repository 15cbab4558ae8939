"""The robust attack: a member's likelihood is raised more, beside what references say, than that of other records.

Zarifzadeh, Liu, Shokri 2024, "Low-Cost High-Power Membership Inference Attacks" (arXiv 2312.03262).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy import special

from dpaudit.calibration import LOSS_LOGIT, Readings, needs_of, read_signal, readings
from dpaudit.errors import InputError
from dpaudit.metrics import auc
from dpaudit.scores import LabelledScores

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dpaudit.plugins import AttackView, Needs, Target

__all__ = ["Rmia"]

_PUBLISHED_A = 0.33
_GRID = tuple(round(0.1 * tenth, 1) for tenth in range(11))
_SIMULATED = 4  # references that are attacked in the target's place to choose a
_ENOUGH = 4  # references from which a is chosen so
_SIGNALS = ("loss", "confidence", "logit", "caption", LOSS_LOGIT)


@dataclass(frozen=True, kw_only=True)
class Rmia:
    """Scores x by the share of population records z with (P(x|target) / P(x)) / (P(z|target) / P(z)) >= gamma.

    mode: online, P(x) = the mean likelihood of references with x and without it, half each; or offline, P(x) = ((1 + a)
    P_out + 1 - a) / 2. z is in no reference, so P(z) is made as offline. a: null = the one with which an attack on
    references in the target's place succeeds best, of 0, 0.1, ..., 1 (0.33 with fewer than 4 references). P is
    exp(-loss), p of the true class, or a caption's likelihood per token, by signal. The score is in the order of x's
    own ratio, and records that pass the same z are told apart by it.

    >>> Rmia(mode="offline").needs.population
    20
    """

    mode: Literal["online", "offline"] = "online"
    signal: str = "loss"
    draws: int = 1
    gamma: float = 1.0
    a: float | None = None

    def __post_init__(self) -> None:
        if self.signal not in _SIGNALS:
            raise InputError("signal", self.signal, f"a likelihood: {', '.join(_SIGNALS)}")
        if not 0 < self.gamma < np.inf:
            raise InputError("gamma", self.gamma, "a number above 0")
        if self.a is not None and not 0 <= self.a <= 1:
            raise InputError("a", self.a, "a number from 0 to 1")

    @property
    def needs(self) -> Needs:
        """Return what it needs: two references, and records that are never members."""
        return needs_of(self.signal, references=2, population=20)

    def score(self, view: AttackView) -> NDArray[np.float64]:
        """Return one share per candidate, (n,), higher = more likely a member."""
        told = _likelihoods(readings(view, self.signal, self.draws), self.signal)
        others = np.stack([self._population(reference, view) for reference, _ in view.references], axis=1)
        a = self._chosen_a(told)
        ratio_z = self._population(view.target, view) - _mixed(_log_mean(others, None), a)
        ratio_x = told.target - self._expected(told, a)
        shares = [_share(x, z, self.gamma) for x, z in zip(ratio_x, ratio_z, strict=True)]
        mean: NDArray[np.float64] = np.mean(shares, axis=0)
        return mean

    def _population(self, target: Target, view: AttackView) -> NDArray[np.float64]:
        return _log_likelihood(read_signal(target, self.signal, view.population, self.draws), self.signal)

    def _expected(self, told: Readings, a: float) -> NDArray[np.float64]:
        """Return log P(x), (d, n)."""
        told.check(inside=False)
        without = _log_mean(told.references, ~told.inside)
        if self.mode == "offline":
            return _mixed(without, a)
        told.check(inside=True)
        return np.asarray(np.logaddexp(without, _log_mean(told.references, told.inside)) - np.log(2))

    def _chosen_a(self, told: Readings) -> float:
        count = len(told.inside)
        if self.a is not None:
            return self.a
        if self.mode == "online" or count < _ENOUGH:
            return _PUBLISHED_A
        return max(_GRID, key=lambda a: sum(_success(told, index, a) for index in range(min(count, _SIMULATED))))


def _success(told: Readings, index: int, a: float) -> float:
    """Return the AUC of the offline attack on one reference by the others, over candidates that one of them lacks."""
    rest = np.arange(len(told.inside)) != index
    outside = ~told.inside[rest]
    usable = outside.any(axis=0)
    expected = _mixed(_log_mean(told.references[:, rest][:, :, usable], outside[:, usable]), a)
    ratio = (told.references[:, index, usable] - expected).mean(axis=0)
    member = told.inside[index, usable]
    if member.all() or not member.any():
        return 0.0
    return auc(LabelledScores(scores=ratio, member=member)).value


def _likelihoods(told: Readings, signal: str) -> Readings:
    return Readings(
        target=_log_likelihood(told.target, signal),
        references=_log_likelihood(told.references, signal),
        inside=told.inside,
    )


def _log_likelihood(values: NDArray[np.float64], signal: str) -> NDArray[np.float64]:
    """Return log P of a signal that was turned to higher = member."""
    match signal:
        case "logit" | "loss-logit":
            return np.asarray(special.log_expit(values))
        case "confidence":
            return np.log(np.maximum(values, np.finfo(np.float64).tiny))
        case _:
            return values


def _log_mean(values: NDArray[np.float64], chosen: NDArray[np.bool_] | None) -> NDArray[np.float64]:
    """Return log of the mean of exp(values) over the chosen references, (d, K, n) -> (d, n)."""
    if chosen is None:
        return np.asarray(special.logsumexp(values, axis=1) - np.log(values.shape[1]))
    kept = np.where(chosen, values, -np.inf)
    return np.asarray(special.logsumexp(kept, axis=1) - np.log(chosen.sum(axis=0)))


def _mixed(without: NDArray[np.float64], a: float) -> NDArray[np.float64]:
    """Return log(((1 + a) P_out + 1 - a) / 2) of log P_out."""
    with np.errstate(divide="ignore"):
        return np.asarray(np.logaddexp(np.log1p(a) + without, np.log1p(-a)) - np.log(2))


def _share(ratio_x: NDArray[np.float64], ratio_z: NDArray[np.float64], gamma: float) -> NDArray[np.float64]:
    """Return the share of z that each x passes, (n,), raised within one z's share by the order of x's own ratio."""
    passed = np.searchsorted(np.sort(ratio_z), ratio_x - np.log(gamma), side="right")
    within = np.argsort(np.argsort(ratio_x, kind="stable"), kind="stable") / len(ratio_x)
    return np.asarray((passed + within) / (len(ratio_z) + 1))
