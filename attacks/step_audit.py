"""The white-box attack on single steps: whether the inserted record was in each of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dpaudit.errors import DpauditError
from dpaudit.plugins import Needs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dpaudit.plugins import AttackView

__all__ = ["StepAudit"]


@dataclass(frozen=True, kw_only=True)
class StepAudit:
    """Scores each step by the log likelihood ratio of what it released, times the variance of the noise.

    The attacker knows the weights and the other records of every step, and the inserted record: so he knows both sums
    that the step could have noised, and what was released lies between them. With d their distance and y the place of
    the release on the line from one to the other, log p(release | in) - log p(release | out) = d (y - d / 2) / std^2.
    The std is the same in every step, so scores need not know it. Method: one-step auditing with a worst-case canary,
    after the white-box audit of Nasr et al. 2023, with all coins of one run at once (Steinke, Nasr, Jagielski 2023).
    """

    @property
    def needs(self) -> Needs:
        """What it needs: every released gradient."""
        return Needs(access="all steps", families=("steps", "step_records"))

    def score(self, view: AttackView) -> NDArray[np.float64]:
        """Return one score per step, (T,), higher = more likely in."""
        count = len(view.candidates.ids)
        found = [values.astype(np.float64) for values in view.target.trace(view.candidates.family).steps()]
        if len(found) != count or any(values.shape != (2,) for values in found):
            raise DpauditError(f"the trace holds {len(found)} steps, expected (y, d) of each of the {count} candidates")
        along, apart = np.stack(found).T
        return np.asarray(apart * (along - apart / 2))
