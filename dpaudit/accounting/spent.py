"""Privacy spent per step: what the accountant would have promised, had training stopped after each of some steps."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from dpaudit.accounting.accountant import tight_guarantee
from dpaudit.accounting.executed import executed_event
from dpaudit.results import Series

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dpaudit.mechanism import Mechanism

__all__ = ["spent_series"]

_POINTS, _COMPOSITIONS = 24, 96  #: at most so many points, and so many parts composed in all


def spent_series(
    steps: Sequence[tuple[float, float]], unit: float, mechanism: Mechanism, delta: float
) -> Series | None:
    """Return epsilon at delta (y) after x executed steps, the last point after all; None where there is no number.

    steps: (sampling rate, noise std on the sum) of each, unit: as `executed_event` takes them. Denser at the start,
    where epsilon grows fastest. A run whose noise changes often has fewer points, at least 4, so that it takes seconds.
    """
    places = _places(len(steps), max(4, min(_POINTS, _COMPOSITIONS // max(1, len(set(steps))))))
    epsilons = [
        tight_guarantee(executed_event(steps[:place], unit, mechanism), mechanism.adjacency, delta) for place in places
    ]
    known = [
        (float(place), found.epsilon)
        for place, found in zip(places, epsilons, strict=True)
        if found.epsilon is not None and math.isfinite(found.epsilon) and not found.exceeds
    ]
    if len(known) < len(places) or not known:
        return None
    return Series(name="epsilon by step", x=tuple(x for x, _ in known), y=tuple(y for _, y in known))


def _places(steps: int, points: int) -> list[int]:
    """Return whole numbers from 1 to `steps`, evenly spread over their square roots."""
    spread = np.linspace(1.0, max(steps, 1) ** 0.5, points) ** 2 if steps else np.empty(0)
    return [int(place) for place in np.unique(np.rint(spread))]
