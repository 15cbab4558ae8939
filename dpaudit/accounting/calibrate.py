"""The noise, steps or batch that a promise allows: calibration inverts accounting and never exceeds the target."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from dpaudit.accounting.accountant import tight_guarantee
from dpaudit.accounting.events import mechanism_event
from dpaudit.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from dpaudit.mechanism import Mechanism

__all__ = ["calibrate_batch_size", "calibrate_noise", "calibrate_steps"]

_NOISE_RANGE = (1e-2, 1e6)
_LOG_STEP = 2e-4  # relative precision of the noise multiplier
_MOST_STEPS = 10**8


def calibrate_noise(target_epsilon: float, delta: float, mechanism: Mechanism) -> float:
    """Return the smallest noise multiplier that promises (target_epsilon, delta), to 0.02 %.

    By PLD, or by RDP where PLD has no account. The epsilon of the result is at most the target, and within about
    0.1 % of it. The noise multiplier of the given mechanism is ignored.

    >>> from dpaudit.mechanism import Mechanism
    >>> mechanism = Mechanism(sampling="full", adjacency="add-remove", noise_multiplier=0.0, sampling_rate=1.0,
    ...                       steps=16, clip_norm=1.0, batch_size=100, dataset_size=100)
    >>> round(calibrate_noise(4.38, 1e-5, mechanism), 2)
    4.0

    Raises:
        InputError: No noise multiplier from 0.01 to 1,000,000 has the target epsilon, or no accountant is sound.
    """
    from scipy.optimize import brentq  # noqa: PLC0415  # slow to import

    _check_target(target_epsilon, delta, mechanism)
    low, high = _bracket(target_epsilon, delta, mechanism)

    def excess(log_noise: float) -> float:
        return min(_epsilon(mechanism, math.exp(log_noise), delta), 1e300) / target_epsilon - 1

    log_noise = brentq(excess, math.log(low), math.log(high), xtol=_LOG_STEP / 2)
    while excess(log_noise) > 0:
        log_noise += _LOG_STEP / 2
    return math.exp(log_noise)


def calibrate_steps(target_epsilon: float, delta: float, mechanism: Mechanism) -> int:
    """Return the largest number of steps that promises (target_epsilon, delta), to about 0.2 %.

    The search starts from the steps of the given mechanism.

    Raises:
        InputError: One step is too many already, 100,000,000 are not too many, or no accountant is sound.
    """

    def promised(steps: int) -> float:
        return _promised(mechanism.model_copy(update={"steps": steps}), delta)

    _check_target(target_epsilon, delta, mechanism)
    largest = _largest(promised, target_epsilon, mechanism.steps, _MOST_STEPS)
    if largest == 0:
        raise InputError("target_epsilon", target_epsilon, "one that steps = 1 can promise")
    if largest == _MOST_STEPS:
        raise InputError("target_epsilon", target_epsilon, f"one that steps = {_MOST_STEPS} does not promise")
    return largest


def calibrate_batch_size(target_epsilon: float, delta: float, mechanism: Mechanism) -> int:
    """Return the largest batch size that promises (target_epsilon, delta), to about 0.2 %; the rate follows it.

    The search starts from the batch size of the given mechanism; the whole data set may be the answer.

    Raises:
        InputError: A batch of one is too large already, or no accountant is sound.
    """
    size = mechanism.dataset_size

    def promised(batch: int) -> float:
        return _promised(mechanism.model_copy(update={"batch_size": batch, "sampling_rate": batch / size}), delta)

    _check_target(target_epsilon, delta, mechanism)
    largest = _largest(promised, target_epsilon, mechanism.batch_size, size)
    if largest == 0:
        raise InputError("target_epsilon", target_epsilon, "one that batch_size = 1 can promise")
    return largest


def _largest(promised: Callable[[int], float], target_epsilon: float, start: int, most: int) -> int:
    """Return the largest count up to `most` whose promise is within the target, to 0.05 %; 0 if 1 is too large."""
    low, high = 0, min(max(1, start), most)
    while promised(high) <= target_epsilon:
        low = high
        if low == most:
            return most
        high = min(2 * high, most)
    while low == 0 and high > 1:
        half = high // 2
        low, high = (half, high) if promised(half) <= target_epsilon else (0, half)
    while high - low > max(1, low // 2000):
        middle = (low + high) // 2
        low, high = (middle, high) if promised(middle) <= target_epsilon else (low, middle)
    return low


def _bracket(target_epsilon: float, delta: float, mechanism: Mechanism) -> tuple[float, float]:
    """Return noise multipliers, a factor of 2 apart, of which the first is too small and the second is enough."""
    lowest, highest = _NOISE_RANGE
    high = 1.0
    while _epsilon(mechanism, high, delta) > target_epsilon:
        high *= 2
        if high > highest:
            raise InputError("target_epsilon", target_epsilon, f"one that noise multiplier {highest:g} can promise")
    while _epsilon(mechanism, high / 2, delta) <= target_epsilon:
        high /= 2
        if high < lowest:
            raise InputError("target_epsilon", target_epsilon, "a smaller one: hardly any noise promises this already")
    return high / 2, high


def _epsilon(mechanism: Mechanism, noise_multiplier: float, delta: float) -> float:
    return _promised(mechanism.model_copy(update={"noise_multiplier": noise_multiplier}), delta)


def _promised(mechanism: Mechanism, delta: float) -> float:
    """Return the promised epsilon, infinite where the accountant stopped early."""
    guarantee = tight_guarantee(mechanism_event(mechanism), mechanism.adjacency, delta)
    return math.inf if guarantee.epsilon is None or guarantee.exceeds else guarantee.epsilon


def _check_target(target_epsilon: float, delta: float, mechanism: Mechanism) -> None:
    if not 0 < target_epsilon < math.inf:
        raise InputError("target_epsilon", target_epsilon, "a finite number above 0")
    if not 0 < delta < 1:
        raise InputError("delta", delta, "a number between 0 and 1, both excluded")
    if not math.isfinite(mechanism.clip_norm):
        raise InputError("clip_norm", mechanism.clip_norm, "a finite norm: without clipping no noise is enough")
    private = mechanism.model_copy(update={"noise_multiplier": 1.0})
    guarantee = tight_guarantee(mechanism_event(private), mechanism.adjacency, delta)
    if guarantee.epsilon is None:
        raise InputError("sampling", f"{mechanism.sampling}, {mechanism.adjacency}", "one with a sound account")
