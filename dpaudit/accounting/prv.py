"""Epsilon by privacy random variables (Opacus): an independent second opinion on the PLD number.

The only module that may import Opacus, and only inside a function: it brings torch with it.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dpaudit.accounting.rdp import renyi_epsilon

if TYPE_CHECKING:
    from dpaudit.accounting.parts import Parts

__all__ = ["PrvGrid", "prv_epsilon", "prv_grid"]

_MAX_POINTS = 2_000_000  # about 200 bytes each
_MAX_LOSS = 650.0  # Opacus takes exp(loss) in double precision
_MAX_NOISE = 300.0  # above, Opacus' own Rényi series takes many seconds
_MAX_PARTS = 10
_MIN_DELTA = 1e-10
_ABSOLUTE_ERROR = 0.01
_MAX_RELATIVE_ERROR = 5e-3


@dataclass(frozen=True, kw_only=True)
class PrvGrid:
    """error: half-width of the answer in epsilon; points: of the grid; refused: why Opacus is not asked, or empty."""

    error: float
    points: float
    refused: str


def prv_grid(parts: Parts, delta: float) -> PrvGrid:
    """Return the grid that Opacus would use, before it is asked.

    It reaches from -L to L, L the RDP epsilon at a 4,000th of delta and 3 more, with the mesh of Gopi et al. (2021),
    remark 5.6. The error is 0.01, or larger up to 0.5 % of epsilon where the grid would not fit.
    """
    if len(parts) > _MAX_PARTS:
        return PrvGrid(error=math.nan, points=math.inf, refused=f"takes too long for {len(parts)} different steps")
    if delta < _MIN_DELTA:
        return PrvGrid(error=math.nan, points=math.inf, refused=f"a delta below {_MIN_DELTA:g} is below its rounding")
    delta_error = delta / 1000
    epsilon = renyi_epsilon(parts, "add-remove", delta_error / 4).epsilon
    steps = sum(part.count for part in parts)
    points_times_error = 2 * (epsilon + 3) * math.sqrt(steps * math.log(12 / delta_error) / 2)
    error = max(_ABSOLUTE_ERROR, min(points_times_error / _MAX_POINTS, _MAX_RELATIVE_ERROR * epsilon))
    points = points_times_error / error
    refused = ""
    if not epsilon + 3 < _MAX_LOSS:
        refused = f"losses up to {epsilon:.3g} overflow its exponential"
    elif points > 1.001 * _MAX_POINTS:
        refused = f"needs a grid of {points:.2g} points"
    elif max(part.noise_multiplier for part in parts) > _MAX_NOISE:
        refused = f"its series converge slowly at noise multipliers above {_MAX_NOISE:g}"
    return PrvGrid(error=error, points=points, refused=refused)


def prv_epsilon(parts: Parts, delta: float, error: float) -> float | str:
    """Return Opacus' upper bound on epsilon of Poisson-sampled parts under add-remove, or why it gives none.

    `error` is included in the bound. Opacus warns of a coarse order grid (it only sizes its own grid by it) and of ln 0
    below the smallest loss (which it masks right after); both are expected and say nothing of the result. An integral
    that does not converge does.
    """
    from opacus.accountants import PRVAccountant  # noqa: PLC0415  # imports torch
    from scipy.integrate import IntegrationWarning  # noqa: PLC0415  # slow to import

    accountant = PRVAccountant()
    accountant.history = [(part.noise_multiplier, part.rate, part.count) for part in parts]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Optimal order is the (largest|smallest) alpha", category=UserWarning)
        warnings.filterwarnings("ignore", message="divide by zero encountered in log", category=RuntimeWarning)
        warnings.filterwarnings("error", category=IntegrationWarning)
        try:
            return max(0.0, float(accountant.get_epsilon(delta, eps_error=error)))
        except (IntegrationWarning, RuntimeError, ValueError) as problem:
            return " ".join(str(problem).split())
