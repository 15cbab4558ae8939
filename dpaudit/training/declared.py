"""The sensitivity that a step is declared to have: what its noise is calibrated to, and what replay holds it to."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, get_args

from dpaudit.accounting.executed import noise_unit
from dpaudit.dp.clipping import Flat
from dpaudit.errors import InputError
from dpaudit.mechanism import Adjacency
from dpaudit.plugins import BatchTrainer, PerExampleTrainer

if TYPE_CHECKING:
    from dpaudit.dp.clipping import ClippingRule
    from dpaudit.mechanism import Mechanism

__all__ = ["AnyTrainer", "declared_noise_unit", "declared_sensitivities", "declared_sensitivity"]

AnyTrainer = PerExampleTrainer | BatchTrainer
_FLAT = Flat()


def declared_sensitivity(trainer: AnyTrainer, clip: float, adjacency: Adjacency, rule: ClippingRule = _FLAT) -> float:
    """Return the L2 sensitivity of a step's sum: one record comes, goes, or makes room for another.

    Without clipping (clip infinity) it is infinite. A trainer with one loss per record is clipped by the engine, by
    `rule`; a trainer of whole batches says its own.
    """
    if math.isinf(clip):
        return math.inf
    if isinstance(trainer, PerExampleTrainer):
        once = rule.sensitivity(clip)
        return 2 * once if adjacency == "replace-one" else once
    found = trainer.sensitivity(clip, adjacency)
    if not 0 < found < math.inf:
        raise InputError(f"sensitivity ({adjacency}) of the trainer", found, "a finite number above 0")
    return found


def declared_sensitivities(trainer: AnyTrainer, clip: float, rule: ClippingRule = _FLAT) -> dict[Adjacency, float]:
    """Return the declared sensitivity by adjacency, of all there are: accounting may need more than its own."""
    return {adjacency: declared_sensitivity(trainer, clip, adjacency, rule) for adjacency in get_args(Adjacency)}


def declared_noise_unit(trainer: AnyTrainer, mechanism: Mechanism, rule: ClippingRule = _FLAT) -> float:
    """Return the noise std of multiplier 1, in which `dpaudit.accounting.executed` reckons as well."""
    found = declared_sensitivities(trainer, mechanism.clip_norm, rule)
    return noise_unit(found, mechanism.sampling, mechanism.adjacency)
