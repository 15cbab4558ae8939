"""The premises of a promise, each judged from what was executed: held, violated or unknown, with its evidence.

Three of the checks are random (sampling rate, batch size scatter, noise scale). Each raises a false alarm with
probability `CHECK_LEVEL` at most in a clean run: together 3 in 10,000, of the 1 in 1,000 that all checks may take.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from dpaudit.accounting import premises_of_data as of_data
from dpaudit.accounting import premises_of_steps as of_steps
from dpaudit.accounting.facts import Coupling, Duplicates, ExecutedFacts, NoiseSample
from dpaudit.accounting.premises_of_steps import CHECK_LEVEL
from dpaudit.results import Assumption

if TYPE_CHECKING:
    from collections.abc import Callable

    from dpaudit.accounting.premises_of_steps import Judgement

__all__ = [
    "ASSUMPTION_NAMES",
    "CHECK_LEVEL",
    "AssumptionName",
    "Coupling",
    "Duplicates",
    "ExecutedFacts",
    "NoiseSample",
    "assumptions",
]

AssumptionName: TypeAlias = Literal[
    "sampling is what is accounted",
    "sampling rate measured",
    "batch sizes scatter as declared",
    "divisor is the expected batch size",
    "sizes are public constants",
    "canaries are counted in sizes",
    "steps executed are steps accounted",
    "noise in every step",
    "noise scale in the ledger",
    "noise scale measured",
    "noise is secret",
    "sensitivity respected",
    "privacy unit",
    "records do not mix",
    "pre-training data is public",
    "tuning runs are counted",
]
#: all names, in the order of the ledger
ASSUMPTION_NAMES: tuple[AssumptionName, ...] = get_args(AssumptionName)

_JUDGES: dict[AssumptionName, Callable[[ExecutedFacts], Judgement]] = {
    "sampling is what is accounted": of_steps.sampling_as_accounted,
    "sampling rate measured": of_steps.sampling_rate,
    "batch sizes scatter as declared": of_steps.batch_sizes_scatter,
    "divisor is the expected batch size": of_steps.divisor,
    "sizes are public constants": of_steps.sizes,
    "canaries are counted in sizes": of_data.canaries,
    "steps executed are steps accounted": of_steps.steps,
    "noise in every step": of_steps.noise_every_step,
    "noise scale in the ledger": of_steps.noise_recorded,
    "noise scale measured": of_steps.noise_measured,
    "noise is secret": of_steps.noise_secret,
    "sensitivity respected": of_steps.sensitivity,
    "privacy unit": of_data.privacy_unit,
    "records do not mix": of_data.records_apart,
    "pre-training data is public": of_data.pretraining,
    "tuning runs are counted": of_data.tuning,
}


def assumptions(facts: ExecutedFacts) -> tuple[Assumption, ...]:
    """Return the ledger of assumptions, always all of them and in the order of `ASSUMPTION_NAMES`."""
    judged = ((name, _JUDGES[name](facts)) for name in ASSUMPTION_NAMES)
    return tuple(Assumption(name=name, status=status, evidence=evidence) for name, (status, evidence) in judged)
