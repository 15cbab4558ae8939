"""The noise multiplier of what was executed: the noise of each step over the sensitivity that an accountant expects.

An accountant is told a noise multiplier z and reckons with noise of standard deviation z and the distances of the third
column; replace-one is doubled there, and only there. So the noise of a run is divided by the unit u, in which its
declared sensitivities S have the size that the accountant expects (A: add-remove, Z: zero-out, R: replace-one):

| sampling             | adjacency   | the accountant's distances                     | u                  |
|----------------------|-------------|------------------------------------------------|--------------------|
| poisson, full        | add-remove  | 1                                              | S(A)               |
| fixed, shuffle       | add-remove  | none: there is no sound account                | S(A), for a claim  |
| fixed, shuffle, full | replace-one | 2                                              | S(R) / 2           |
| poisson              | replace-one | 1 from without to with either, 2 between these | max(S(A), S(R) / 2) |
| poisson              | zero-out    | 1                                              | max(S(A), S(Z))    |
| shuffle, full        | zero-out    | 1                                              | S(Z)               |
| fixed                | zero-out    | 2, as a replacement; 1 at rate 1               | max(S(Z), S(R) / 2) |

Per-example clipping at C has S = C, C and 2 C, so u = C in every row. A batch clipped as a whole to C (DP-CLIP) has
S = 2 C under each adjacency: u = 2 C, but C for replace-one without Poisson sampling, where the accountant doubles it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from dpaudit.accounting.accountant import event_guarantees, premise_of
from dpaudit.accounting.compose import ledger_event
from dpaudit.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from dp_accounting import DpEvent

    from dpaudit.mechanism import Adjacency, Mechanism, Sampling
    from dpaudit.results import Guarantee

__all__ = ["executed_event", "executed_guarantees", "noise_unit"]


def noise_unit(sensitivity: Mapping[Adjacency, float], sampling: Sampling, adjacency: Adjacency) -> float:
    """Return u, the standard deviation of noise whose multiplier is 1, given the L2 sensitivity of a step's sum.

    >>> noise_unit({"add-remove": 0.5, "zero-out": 0.5, "replace-one": 1.0}, "full", "replace-one")
    0.5
    >>> noise_unit({"add-remove": 1.0, "zero-out": 1.0, "replace-one": 1.0}, "poisson", "replace-one")
    1.0

    Raises:
        InputError: A sensitivity is not above 0.
    """
    for name, value in sensitivity.items():
        if not value > 0:
            raise InputError(f"sensitivity ({name})", value, "a number above 0, or infinity")
    added, halved = sensitivity["add-remove"], sensitivity["replace-one"] / 2
    match sampling, adjacency:
        case _, "add-remove":
            return added
        case "poisson", "replace-one":
            return max(added, halved)
        case _, "replace-one":
            return halved
        case "poisson", _:
            return max(added, sensitivity["zero-out"])
        case "fixed", _:
            return max(sensitivity["zero-out"], halved)
        case _:
            return sensitivity["zero-out"]


def executed_event(steps: Iterable[tuple[float, float]], unit: float, mechanism: Mechanism) -> DpEvent:
    """Return the event of a ledger: per step (sampling rate, noise std on the sum); `unit` as `noise_unit` gives it.

    Without clipping (an infinite unit) nothing is private, whatever the noise.
    """
    return ledger_event(((rate, 0.0 if math.isinf(unit) else std / unit) for rate, std in steps), mechanism)


def executed_guarantees(event: DpEvent, mechanism: Mechanism, delta: float) -> tuple[Guarantee, ...]:
    """Return what PLD, RDP and PRV promise for an executed event of this sampling and adjacency, in this order."""
    return event_guarantees(event, mechanism.adjacency, delta, premise_of(mechanism))
