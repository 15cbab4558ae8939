"""The central limit of many small steps: Gaussian differential privacy as an estimate, never as a promise."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from dpaudit.accounting.gaussian import gaussian_epsilon
from dpaudit.accounting.parts import GaussianPart, gaussian_parts
from dpaudit.errors import InputError
from dpaudit.results import GdpEstimate

if TYPE_CHECKING:
    from dp_accounting import DpEvent

    from dpaudit.mechanism import Adjacency

__all__ = ["GdpEstimate", "gdp_estimate"]

_LARGEST_EXPONENT = 700.0


def gdp_estimate(event: DpEvent, adjacency: Adjacency, delta: float) -> GdpEstimate | None:
    """Return the central-limit estimate of Poisson-sampled or unsampled Gaussians, or None where there is none.

    mu^2 is the sum over steps of q^2 (exp(1/z^2) - 1), and of 2 q^2 (exp(1/z^2) - exp(-1/z^2)) under replace-one: the
    chi-square distance of a step from a step without the record. Unsampled Gaussians are exact.

    >>> import dp_accounting as dp
    >>> step = dp.PoissonSampledDpEvent(0.01, dp.GaussianDpEvent(1.0))
    >>> estimate = gdp_estimate(dp.SelfComposedDpEvent(step, 10_000), "add-remove", 1e-5)
    >>> round(estimate.mu, 3)
    1.311
    """
    if not 0 < delta < 1:
        raise InputError("delta", delta, "a number between 0 and 1, both excluded")
    parts = gaussian_parts(event)
    if isinstance(parts, str) or any(part.without_replacement for part in parts):
        return None
    squares = [_squared_mu(part, adjacency) for part in parts]
    if not math.isfinite(sum(squares)):
        return None
    mu = math.sqrt(sum(squares))
    return GdpEstimate(mu=mu, epsilon=gaussian_epsilon(mu, delta) if mu > 0 else 0.0, delta=delta)


def _squared_mu(part: GaussianPart, adjacency: Adjacency) -> float:
    precision = part.noise_multiplier**-2
    if part.rate == 1:
        return part.count * precision * (4 if adjacency == "replace-one" else 1)
    if precision > _LARGEST_EXPONENT:
        return math.inf
    distance = 4 * math.sinh(precision) if adjacency == "replace-one" else math.expm1(precision)
    return part.count * part.rate**2 * distance
