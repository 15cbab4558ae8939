"""Designs that come with the package: plans of common questions, which would take seconds of processor time each.

A plan follows from the promise alone, so it is the same whenever it is made. `python docs/designs.py` makes the file;
what it does not hold is planned when it is asked for.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from dpaudit.results import Plan

if TYPE_CHECKING:
    from dpaudit.mechanism import Mechanism
    from dpaudit.pipeline.aim import Aim

__all__ = ["FILE", "question", "shipped_plan"]

#: in the folder of this module: question -> plan
FILE = "shipped_designs.json"


def shipped_plan(aim: Aim, canaries: int, runs: int) -> Plan | None:
    """Return the plan that comes with the package for this question, None if there is none."""
    found = _shipped().get(question(aim, canaries, runs))
    return None if found is None else Plan.model_validate({**found, "attack": aim.attack})


def question(aim: Aim, canaries: int, runs: int) -> str:
    """Return all that a plan depends on, in words; noise and rate to six digits, and without the units of gradients.

    >>> from dpaudit.mechanism import Mechanism
    >>> from dpaudit.pipeline.aim import Aim
    >>> from dpaudit.results import Promise
    >>> step = Mechanism(sampling="full", adjacency="add-remove", noise_multiplier=2, sampling_rate=1, steps=1,
    ...                  clip_norm=0.1, batch_size=10, dataset_size=10)
    >>> promise = Promise(kind="accountant", epsilon=2.0, delta=1e-5, mechanism=step)
    >>> print(question(Aim(promise=promise, attack="x"), 1000, 2))
    accountant at 1e-05 of full add-remove noise 2 rate 1 steps 1; one-run-joint, accountant, 0.95, power 0.8; 2 x 1000
    """
    promise = aim.promise
    said = f"{promise.kind} at {promise.delta:.6g} of {_mechanism(promise.mechanism)}"
    if promise.kind == "claim":
        said = f"claim of {promise.epsilon:.6g}, {said}"
    if promise.run is not None:
        said += f", a step of {_mechanism(promise.run)}"
    asked = f"{' or '.join(aim.methods)}, {aim.tested}, {aim.confidence:.6g}, power {aim.enough_power:.6g}"
    shared = f", {aim.sharing} on a coordinate" if aim.sharing > 1 else ""
    return f"{said}; {asked}; {runs} x {canaries}{shared}"


def _mechanism(mechanism: Mechanism) -> str:
    numbers = f"noise {mechanism.noise_multiplier:.6g} rate {mechanism.sampling_rate:.6g} steps {mechanism.steps}"
    streamed = f" buffer {mechanism.shuffle_buffer} of {mechanism.dataset_size}" if mechanism.is_streamed else ""
    return f"{mechanism.sampling} {mechanism.adjacency} {numbers}{streamed}"


@cache
def _shipped() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = json.loads((files("dpaudit.pipeline") / FILE).read_text())
    return found
