"""From a test at every level to a p-value: the smallest level at which it rejects."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from dpaudit.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["check_confidence", "smallest_level"]

_SMALLEST_LOG = -690.0
_PRECISION = 1e-6


def smallest_level(rejects: Callable[[float], bool]) -> float:
    """Return the smallest level at which a test rejects, rounded up by at most a part in 1e6; never below 1e-300.

    rejects: level in (0, 1] -> whether the test rejects; once it does, it does at every higher level.

    >>> round(smallest_level(lambda level: level >= 0.03), 6)
    0.03
    >>> smallest_level(lambda level: False)
    1.0
    """
    if not rejects(1.0):
        return 1.0
    if rejects(math.exp(_SMALLEST_LOG)):
        return math.exp(_SMALLEST_LOG)
    keeps, rejected = _SMALLEST_LOG, 0.0
    while rejected - keeps > _PRECISION:
        middle = (keeps + rejected) / 2
        keeps, rejected = (keeps, middle) if rejects(math.exp(middle)) else (middle, rejected)
    return math.exp(rejected)


def check_confidence(confidence: float) -> None:
    """Raise InputError unless `confidence` is between 0 and 1, both excluded."""
    if not 0 < confidence < 1:
        raise InputError("confidence", confidence, "a number between 0 and 1, both excluded")
