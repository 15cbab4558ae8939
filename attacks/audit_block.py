"""The white-box attack on gradient canaries: the likelihood ratio of every released value, given the sampling rate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from dpaudit.errors import DpauditError
from dpaudit.likelihood import log_likelihood_ratio
from dpaudit.plugins import AccumulatesLikelihood, Needs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dpaudit.mechanism import Mechanism
    from dpaudit.plugins import AttackView, Trace

__all__ = ["AuditBlock"]

Number = TypeVar("Number", bound=np.floating)


@dataclass(frozen=True, kw_only=True)
class AuditBlock:
    """Scores a gradient canary by log p(released values | member) - log p(released values | not a member).

    Exact for family `block` under Poisson sampling, and so the strongest attack there is on it; on `coordinates` the
    real gradient is unmodelled noise. Method: the subsampled Gaussian's likelihood ratio, step by step, after the
    white-box audit of Nasr et al. 2023, "Tight Auditing of Differentially Private Machine Learning".
    """

    @property
    def needs(self) -> Needs:
        """What it needs: every released gradient."""
        return Needs(access="all steps", families=("block", "coordinates"))

    def score(self, view: AttackView) -> NDArray[np.float64]:
        """Return one log likelihood ratio per candidate, (n,), higher = more likely a member."""
        trace, count = view.target.trace(view.candidates.family), len(view.candidates.ids)
        if isinstance(trace, AccumulatesLikelihood):
            return _checked(trace.log_likelihood(), count)
        return _summed(trace, view.target.mechanism, count)


def _summed(trace: Trace, mechanism: Mechanism, count: int) -> NDArray[np.float64]:
    scores, steps = np.zeros(count, dtype=np.float64), 0
    for released in trace.steps():
        scores = scores + log_likelihood_ratio(_checked(released, count), mechanism)
        steps += 1
    if steps != mechanism.steps:
        raise DpauditError(f"the trace holds {steps} steps, expected the {mechanism.steps} of the mechanism")
    return scores


def _checked(values: NDArray[Number], count: int) -> NDArray[Number]:
    if values.shape != (count,):
        raise DpauditError(f"the trace holds {len(values)} canaries, expected the {count} candidates")
    return values
