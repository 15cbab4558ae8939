"""What `dpaudit plan` compares: the designs of a recipe, or of a promise in numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dpaudit.errors import InputError
from dpaudit.pipeline.aim import Aim
from dpaudit.pipeline.designs import Budget, Designs, certified_tests, compare, plan_design
from dpaudit.pipeline.pace import earlier_pace, measured_pace
from dpaudit.pipeline.promises import stated_promise
from dpaudit.pipeline.stages.plan import deciding_aims, promised

if TYPE_CHECKING:
    from dpaudit.mechanism import Mechanism
    from dpaudit.pipeline.audit import Audit, Planned
    from dpaudit.pipeline.promises import Stated
    from dpaudit.progress import Progress

__all__ = ["Wanted", "plan_recipe", "plan_stated"]

#: what is compared when nobody says otherwise
_RUNS, _CANARIES, _MANY = (1, 2, 4, 8), (1_000, 10_000, 100_000), 1_000
#: more runs than these are not tried, whatever the budget allows
_MOST_RUNS = 64


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which designs are compared, and what they may cost.

    canaries, runs: per run, and how many; empty = the usual ones around what the recipe asks for. budget: hours of
    training. hours_per_run: where it is known; measure: else time a few steps of the recipe.
    """

    canaries: tuple[int, ...] = ()
    runs: tuple[int, ...] = ()
    budget: float | None = None
    hours_per_run: float | None = None
    measure: bool = False

    def __post_init__(self) -> None:
        for name, counts in (("canaries", self.canaries), ("runs", self.runs)):
            for count in counts:
                if count < 1:
                    raise InputError(name, count, "at least 1")
        if self.measure and self.hours_per_run is not None:
            raise InputError("measure", self.measure, "false: hours_per_run is given")

    def compared_runs(self, budget: Budget, asked: int = 1) -> list[int]:
        """Return the numbers of runs to compare: those wanted, or the usual ones with the most that can be paid for."""
        if self.runs:
            return list(self.runs)
        most = budget.most_runs()
        usual = {*_RUNS, asked}
        return sorted(usual if not most else {*usual, min(most, _MOST_RUNS)})


def plan_stated(stated: Stated, wanted: Wanted, confidence: float, progress: Progress) -> Designs:
    """Return the designs against a promise in numbers, by every certified test that can refute it."""
    if wanted.measure:
        raise InputError("measure", wanted.measure, "a recipe, whose steps can be timed")
    budget = Budget(hours=wanted.budget, hours_per_run=wanted.hours_per_run, source=_given(wanted))
    promise = stated_promise(stated)
    aim = Aim(promise=promise, attack="", confidence=confidence, methods=certified_tests(promise))
    return compare([(aim, wanted.canaries or _CANARIES)], wanted.compared_runs(budget), budget, progress)


def plan_recipe(audit: Audit, wanted: Wanted, progress: Progress) -> Designs:
    """Return the designs of a recipe against its promise, beside the one that the recipe asks for.

    Without `measure` nothing is trained, no image is decoded, no trainer is needed (but for canaries on the
    coordinates of a model, which only the model can count), and data whose size the recipe says need not be here.
    """
    ahead = audit.before_data()
    planned = promised(ahead)
    aims = deciding_aims(ahead, planned)
    if not aims:
        _refuse(audit, planned)
    runs = audit.recipe.runs.count
    budget = _budget(audit, wanted, planned.mechanism, progress)
    compared = [(aim, _compared(aim, canaries, wanted)) for aim, canaries in aims]
    designs = compare(compared, wanted.compared_runs(budget, runs), budget, progress)
    asked = (plan_design(aim, canaries, runs) for aim, canaries in aims)
    hours = {"hours": budget.cost(runs)}
    return designs.model_copy(update={"asked": tuple(plan.model_copy(update=hours) for plan in asked)})


def _compared(aim: Aim, canaries: int, wanted: Wanted) -> tuple[int, ...]:
    """Return the numbers of canaries to compare; where each step has one, there are as many as steps."""
    return (canaries,) if aim.promise.run is not None else wanted.canaries or _around(canaries)


def _around(canaries: int) -> tuple[int, ...]:
    """Return a tenth, as many and ten times the canaries; only as many where they are few, as real records are."""
    return (canaries // 10, canaries, 10 * canaries) if canaries >= _MANY else (canaries,)


def _budget(audit: Audit, wanted: Wanted, mechanism: Mechanism, progress: Progress) -> Budget:
    references = audit.recipe.references.count
    if wanted.hours_per_run is None:
        pace = measured_pace(audit, mechanism, progress) if wanted.measure else earlier_pace(audit, mechanism)
        hours, source = (None, "") if pace is None else (pace.hours, pace.source)
    else:
        hours, source = wanted.hours_per_run, _given(wanted)
    return Budget(hours=wanted.budget, hours_per_run=hours, references=references, source=source)


def _given(wanted: Wanted) -> str:
    return "" if wanted.hours_per_run is None else "given"


def _refuse(audit: Audit, planned: Planned) -> None:
    privacy, where = audit.recipe.privacy, audit.loaded.where
    if privacy.simulate_batch is not None:
        expected = "null: a simulation promises nothing that an audit could be planned against"
        raise where.refusal("privacy.simulate_batch", privacy.simulate_batch, expected)
    if privacy.epsilon is not None and math.isinf(privacy.epsilon):
        expected = "a finite number: with epsilon = infinity there is no promise to plan against"
        raise where.refusal("privacy.epsilon", privacy.epsilon, expected)
    if not planned.mechanism.is_private:
        expected = "a number above 0: without noise there is no promise to plan against"
        raise where.refusal("privacy.noise_multiplier", privacy.noise_multiplier, expected)
    raise where.refusal("bounds.decide", "none", "at least one bound that may decide: it is what a design is for")
