"""Exact or conservative tests of random facts: was this drawn as declared? Small p-values speak against it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dpaudit.accounting.facts import NoiseSample

__all__ = [
    "dispersion_p_value",
    "fixed_draws_p_value",
    "noise_scale_interval",
    "noise_scale_p_value",
    "sampling_rate_p_value",
]

_GAMMA_VARIANCE = 20.0
_ROUNDING = 1e-6  # of a sum of squares of float32 numbers, relative


def sampling_rate_p_value(drawn: int, trials: int, rate: float) -> float:
    """Return the two-sided binomial p-value of `drawn` successes in `trials` at this rate: exact, twice the tail.

    >>> round(sampling_rate_p_value(15, 100, 0.1), 3)
    0.145
    """
    from scipy.special import betainc  # noqa: PLC0415  # slow to import

    if rate >= 1 or trials == 0:
        return 1.0 if drawn == trials else 0.0
    below = float(betainc(trials - drawn, drawn + 1, 1 - rate)) if drawn < trials else 1.0
    above = float(betainc(drawn, trials - drawn + 1, rate)) if drawn > 0 else 1.0
    return min(1.0, 2 * min(below, above))


def fixed_draws_p_value(drawn: int, draws: int, share: float) -> float:
    """Return a two-sided p-value of `drawn` members in `draws` drawn without replacement within each step.

    share: of members among all records. A Chernoff bound, which drawing without replacement keeps (Hoeffding 1963,
    theorem 4), so it is never too small.

    >>> fixed_draws_p_value(500, 1000, 0.5)
    1.0
    """
    from scipy.special import rel_entr  # noqa: PLC0415  # slow to import

    if draws == 0:
        return 1.0
    found = drawn / draws
    divergence = float(rel_entr(found, share) + rel_entr(1 - found, 1 - share))
    return min(1.0, 2 * math.exp(-draws * divergence))


def dispersion_p_value(drawn: tuple[int, int], steps: int, records: int, rate: float) -> float:
    """Return a two-sided p-value that batch sizes scatter as Binomial(records, rate): too even or too uneven.

    drawn: (sum of the sizes, sum of their squares) over the steps. The scaled sum of squared deviations is compared
    with a gamma distribution of its exact mean and variance. Sizes are whole numbers, so for "too even" every size
    counts as half a record off: batches that happen to be equal are no alarm when there are few. "Too uneven" is left
    out below a variance of 20, where the gamma tail is too thin.

    >>> dispersion_p_value((100 * 50, 100 * 50**2), steps=100, records=500, rate=0.1) < 1e-12  # always exactly 50
    True
    """
    from scipy.special import gammainc, gammaincc  # noqa: PLC0415  # slow to import

    variance, mean = records * rate * (1 - rate), records * rate
    spread = 2 + (1 - 6 * rate * (1 - rate)) / variance if variance > 0 else 0.0  # variance of a squared z-score
    if steps == 0 or spread < 1e-6:
        return 1.0
    scaled = max(0.0, drawn[1] - 2 * mean * drawn[0] + steps * mean**2) / variance
    half_off = (math.sqrt(scaled) + math.sqrt(steps / (4 * variance))) ** 2
    too_even = float(gammainc(steps / spread, half_off / spread))
    too_uneven = float(gammaincc(steps / spread, scaled / spread)) if variance >= _GAMMA_VARIANCE else 1.0
    return min(1.0, 2 * min(too_even, too_uneven))


def noise_scale_p_value(noise: NoiseSample) -> float:
    """Return the two-sided chi-square p-value that the noise has its declared scale, rounding of 1e-6 allowed for.

    >>> from dpaudit.accounting.facts import NoiseSample
    >>> noise_scale_p_value(NoiseSample(count=10_000, sum_of_squares=9_000.0)) < 1e-9
    True
    """
    from scipy.special import gammainc, gammaincc  # noqa: PLC0415  # slow to import

    half = noise.count / 2
    below = float(gammainc(half, noise.sum_of_squares / 2 * (1 + _ROUNDING)))
    above = float(gammaincc(half, noise.sum_of_squares / 2 * (1 - _ROUNDING)))
    return min(1.0, 2 * min(below, above))


def noise_scale_interval(noise: NoiseSample, level: float) -> tuple[float, float]:
    """Return the chi-square interval of confidence 1 - level for (true std / declared std)."""
    from scipy.special import gammaincinv  # noqa: PLC0415  # slow to import

    half = noise.count / 2
    largest, smallest = gammaincinv(half, 1 - level / 2), gammaincinv(half, level / 2)
    return math.sqrt(noise.sum_of_squares / 2 / largest), math.sqrt(noise.sum_of_squares / 2 / smallest)
