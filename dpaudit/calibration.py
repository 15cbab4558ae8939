"""What references say of candidates beside what the target says: the raw material of every calibrated attack.

Signals are turned so that higher = more likely a member. K references, n candidates, d draws of a signal's own
randomness (masks, crops, flips), which are the same for target and references.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
from scipy import special

from dpaudit.errors import InputError
from dpaudit.plugins import SIGNALS, Needs
from dpaudit.rng import Rng

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dpaudit.data.examples import Examples
    from dpaudit.plugins import AttackView, Target

__all__ = ["LOSS_LOGIT", "Fitted", "Readings", "Variance", "draw_key", "fitted", "needs_of", "read_signal", "readings"]

#: a signal besides those of `SIGNALS`: log p / (1 - p) of p = exp(-loss), a classifier's, over its own augmentations
LOSS_LOGIT = "loss-logit"
Variance: TypeAlias = Literal["each", "fixed", "stabilised"]

_SMALLEST_LOSS = 2.0**-24  # where float32 tells exp(-loss) from 1
_LEAST_SPREAD = 1e-3  # of a candidate on which all references agree, in units of the pooled spread
_PRIOR_FREEDOM = 4.0  # values that the pooled variance weighs as much as


def needs_of(signal: str, *, references: int, population: int = 0) -> Needs:
    """Return what an attack on this signal of records needs; InputError where no such signal is known."""
    base = "logit" if signal == LOSS_LOGIT else signal
    if base not in SIGNALS:
        raise InputError("signal", signal, f"one of {', '.join((*SIGNALS, LOSS_LOGIT))}")
    return Needs(
        access="outputs",
        families=("pool", "inputs"),
        references=references,
        capabilities=(SIGNALS[base].capability,),
        reads=SIGNALS[base].reads,
        population=population,
    )


def draw_key(signal: str, draw: int) -> Rng:
    """Return the key of draw 0, 1, ... of a signal: the same in every recipe, so that what references say is reused."""
    return Rng.from_seed(0).child("signal", signal, draw)


def read_signal(target: Target, signal: str, examples: Examples, draws: int) -> NDArray[np.float64]:
    """Return a signal of records, (d, n), higher = more likely a member."""
    base = "loss" if signal == LOSS_LOGIT else signal
    values = [target.signal(base, examples, draw_key(base, draw)) for draw in range(draws)]
    turned = SIGNALS[base].sign * np.stack(values).astype(np.float64)
    return _logit_of_loss(-turned) if signal == LOSS_LOGIT else turned


def _logit_of_loss(loss: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return log p - log(1 - p) for p = exp(-loss)."""
    kept = np.maximum(loss, _SMALLEST_LOSS)
    return np.asarray(-kept - np.log(-np.expm1(-kept)))


@dataclass(frozen=True, kw_only=True)
class Readings:
    """A signal of the candidates. target: (d, n); references: (d, K, n); inside: (K, n), who a reference trained on."""

    target: NDArray[np.float64]
    references: NDArray[np.float64]
    inside: NDArray[np.bool_]

    def mean(self, *, inside: bool) -> NDArray[np.float64]:
        """Return the mean over references that were (or were not) trained on a candidate, (d, n)."""
        chosen = self.inside if inside else ~self.inside
        self.check(inside=inside)
        return np.asarray((self.references * chosen).sum(axis=1) / chosen.sum(axis=0))

    def check(self, *, inside: bool) -> None:
        """Raise InputError unless every candidate has a reference that was (or was not) trained on it."""
        counts = (self.inside if inside else ~self.inside).sum(axis=0)
        if (counts == 0).any():
            word = "trained" if inside else "not trained"
            raise InputError("references", f"candidate {int(np.argmin(counts))}", f"a reference that was {word} on it")


def readings(view: AttackView, signal: str, draws: int) -> Readings:
    """Return what the target and every reference say of the candidates; the coins of the target are nowhere in it."""
    if draws < 1:
        raise InputError("draws", draws, "at least 1")
    examples = view.candidates.records
    told = [read_signal(reference, signal, examples, draws) for reference, _ in view.references]
    count = len(examples)
    return Readings(
        target=read_signal(view.target, signal, examples, draws),
        references=np.stack(told, axis=1) if told else np.zeros((draws, 0, count)),
        inside=np.array([mask for _, mask in view.references], dtype=np.bool_).reshape(len(told), count),
    )


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """What a candidate's signal is expected to be: normal, or Student's t. centre, scale, freedom: (n,) each."""

    centre: NDArray[np.float64]
    scale: NDArray[np.float64]
    freedom: NDArray[np.float64] | None = None

    def log_density(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the log density at values (n,), in nats.

        >>> Fitted(centre=np.zeros(1), scale=np.ones(1)).log_density(np.ones(1)).round(8).tolist()
        [-1.41893853]
        """
        z = (values - self.centre) / self.scale
        if self.freedom is None:
            return np.asarray(-0.5 * z**2 - np.log(self.scale) - 0.5 * np.log(2 * np.pi))
        nu = self.freedom
        norm = special.gammaln((nu + 1) / 2) - special.gammaln(nu / 2) - 0.5 * np.log(nu * np.pi) - np.log(self.scale)
        return np.asarray(norm - (nu + 1) / 2 * np.log1p(z**2 / nu))

    def surprise(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return -log P[more than this], (n,): in the order of P[less], which rounds to 1 far out."""
        z = (values - self.centre) / self.scale
        if self.freedom is None:
            return np.asarray(-special.log_ndtr(-z))
        return np.asarray(-np.log(special.stdtr(self.freedom, -z)))


def fitted(values: NDArray[np.float64], chosen: NDArray[np.bool_], variance: Variance) -> Fitted:
    """Return the distribution of each candidate's signal over the chosen references, (K, n) both.

    each: a normal of the candidate's own median and spread, and where nobody was chosen the mean of the others'.
    fixed: one spread for all, of what is left after the medians. stabilised: see `_stabilised`.
    """
    if not chosen.sum(axis=0).max(initial=0) >= 2:
        raise InputError("references", int(chosen.shape[0]), "enough for two on the same side of some candidate")
    if variance == "stabilised":
        return _stabilised(values, chosen)
    kept = np.where(chosen, values, np.nan)
    some = chosen.any(axis=0)
    centre = np.full(values.shape[1], np.nan)
    centre[some] = np.nanmedian(kept[:, some], axis=0)
    pooled = max(float(np.sqrt(np.nanmean((kept - centre) ** 2))), np.finfo(np.float64).tiny ** 0.25)
    spread = np.full(values.shape[1], pooled)
    if variance == "each":
        spread[some] = np.maximum(np.nanstd(kept[:, some], axis=0), _LEAST_SPREAD * pooled)
        spread[~some] = spread[some].mean()
    centre[~some] = centre[some].mean()
    return Fitted(centre=centre, scale=spread)


def _stabilised(values: NDArray[np.float64], chosen: NDArray[np.bool_]) -> Fitted:
    """Return the predictive Student's t under a normal-inverse-gamma prior made from all candidates.

    After BaVarIA (arXiv 2603.11799), with a prior of our own: the pooled variance s2 weighs as much as 4 values; the
    mean's prior has the mean and the variance tau2 of the candidates' means, freed of what noise adds to it, so it
    weighs s2 / tau2 values. A candidate with one value, or none, has a prediction as well.
    """
    count = chosen.sum(axis=0).astype(np.float64)
    some = count > 0
    mean = np.where(chosen, values, 0.0).sum(axis=0) / np.maximum(count, 1)
    squares = np.where(chosen, (values - mean) ** 2, 0.0).sum(axis=0)
    pooled = max(float(squares.sum() / np.maximum(count - 1, 0).sum()), np.finfo(np.float64).tiny ** 0.5)
    between = float(np.var(mean[some])) - pooled * float(np.mean(1 / count[some]))
    weight = pooled / max(between, _LEAST_SPREAD * pooled)
    prior = float(mean[some].mean())
    freedom, held = _PRIOR_FREEDOM + count, weight + count
    centre = (weight * prior + count * mean) / held
    shift = weight * count / held * (mean - prior) ** 2
    scale = np.sqrt((_PRIOR_FREEDOM * pooled + squares + shift) / freedom * (1 + 1 / held))
    return Fitted(centre=centre, scale=scale, freedom=freedom)
