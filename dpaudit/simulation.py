"""Imitating a large-batch run with a small one (TAN; Sander, Stock, Sablayrolles 2023, arXiv 2210.03403).

Training dynamics depend on noise_multiplier / batch_size and hardly on the two alone. So a small batch with as much
less noise, at the same steps and learning rate, shows how the real run would learn, for a fraction of its cost. Its
privacy is far worse: a simulation promises nothing, and whatever it chooses on private data counts as a tuning run.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from dpaudit.results import Promise

if TYPE_CHECKING:
    from dpaudit.mechanism import Mechanism

__all__ = ["nothing_promised", "simulated"]


def simulated(mechanism: Mechanism, batch_size: int) -> Mechanism:
    """Return the mechanism at a smaller batch: noise and rate shrink with it, so noise per divided gradient stays."""
    share = batch_size / mechanism.batch_size
    changes = {
        "batch_size": batch_size,
        "sampling_rate": batch_size / mechanism.dataset_size,
        "noise_multiplier": mechanism.noise_multiplier * share,
    }
    return mechanism.model_copy(update=changes)


def nothing_promised(mechanism: Mechanism, real_batch: int, delta: float) -> Promise:
    """Return the empty promise of a simulation, which says what was simulated and what for."""
    noise = mechanism.noise_multiplier * real_batch / mechanism.batch_size
    note = (
        f"this is a simulation with batch {mechanism.batch_size} of training with batch {real_batch} and noise "
        f"multiplier {noise:.4g}: it is for choosing settings cheaply, is NOT private, and must not be released"
    )
    return Promise(kind="none", epsilon=math.inf, delta=delta, mechanism=mechanism, note=note)
