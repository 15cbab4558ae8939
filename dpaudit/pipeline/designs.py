"""Which design of an audit certifies most: runs, canaries and guesses, all from the promise alone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from pydantic import Field

from dpaudit.bounds.guesses import Guesses
from dpaudit.bounds.max_p import max_p_bound
from dpaudit.errors import InputError
from dpaudit.pipeline.hypotheses import REQUESTS, planned_test
from dpaudit.pipeline.shipped import shipped_plan
from dpaudit.planner import certified, choose, plan_guesses, strongest
from dpaudit.results import Hypothesis, Plan, Promise, Value

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dpaudit.bounds.max_p import PlannedTest
    from dpaudit.pipeline.aim import Aim
    from dpaudit.progress import Progress

__all__ = ["Budget", "Designs", "certified_tests", "compare", "made_plan", "plan_design"]


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What training may cost. hours: in all, None = no limit; hours_per_run: None = not known.

    references: runs that are trained besides, only to calibrate attacks. source: where hours_per_run comes from.
    """

    hours: float | None = None
    hours_per_run: float | None = None
    references: int = 0
    source: str = ""

    def __post_init__(self) -> None:
        for name, value in (("budget", self.hours), ("hours_per_run", self.hours_per_run)):
            if value is not None and not 0 < value < float("inf"):
                raise InputError(name, value, "a number of hours above 0")
        if self.hours is not None and self.hours_per_run is None:
            expected = "the hours of one run too (hours_per_run, or measure with a recipe): its cost is not known"
            raise InputError("budget", self.hours, expected)

    def cost(self, runs: int) -> float | None:
        """Return the hours of training a design, its references included."""
        return None if self.hours_per_run is None else self.hours_per_run * (runs + self.references)

    def allows(self, runs: int) -> bool:
        """Return whether a design costs no more than there is."""
        cost = self.cost(runs)
        return self.hours is None or (cost is not None and cost <= self.hours * (1 + 1e-9))

    def most_runs(self) -> int | None:
        """Return how many target runs can be paid for; None = no limit."""
        if self.hours is None or self.hours_per_run is None:
            return None
        return max(0, int(self.hours * (1 + 1e-9) / self.hours_per_run) - self.references)


class Designs(Value):
    """What `dpaudit plan` answers: every design compared, and the one that certifies most within the budget."""

    promise: Promise
    hypothesis: Hypothesis = Field(description="the one whose expected epsilon ranks the designs")
    plans: tuple[Plan, ...] = Field(description="by canaries, then runs")
    best: Plan | None = Field(description="null = no design fits the budget")
    asked: tuple[Plan, ...] = Field(default=(), description="the recipe's own designs, one per deciding bound")
    budget: float | None = Field(description="hours of training; null = no limit")
    hours_per_run: float | None = Field(description="null = not known")
    hours_source: str = Field(description="where hours_per_run comes from")

    @property
    def certified(self) -> float | None:
        """Return the epsilon that the best design is expected to certify."""
        return None if self.best is None else certified(self.best, self.hypothesis)


def certified_tests(promise: Promise) -> tuple[str, ...]:
    """Return the certified methods that can refute a promise: the candidates of a free choice.

    `one-run-fdp` is none of them: with the same guesses `one-run-joint` never certifies less.
    """
    return ("one-run-joint", *(("one-run",) if promise.kind == "claim" else ()))


def plan_design(aim: Aim, canaries: int, runs: int, *, beside: bool = True) -> Plan:
    """Return the plan of the test that certifies most, of those the aim allows, with these canaries and runs.

    Read from those that come with the package where they hold it, else made. beside: also the epsilons expected under
    the other hypotheses, which takes up to a second.
    """
    return shipped_plan(aim, canaries, runs) or made_plan(aim, canaries, runs, beside=beside)


def made_plan(aim: Aim, canaries: int, runs: int, *, beside: bool = True) -> Plan:
    """Return what `plan_design` returns, always made anew."""
    candidates = [partial(_plan, aim, method, beside=beside) for method in aim.methods]
    return choose(candidates, canaries=canaries, runs=runs, hypothesis=aim.tested, enough_power=aim.enough_power)


def compare(
    aims: Sequence[tuple[Aim, Sequence[int]]], runs: Iterable[int], budget: Budget, progress: Progress
) -> Designs:
    """Return every design of the aims, each with its numbers of canaries, and the best that the budget allows."""
    first, numbers = aims[0][0], sorted(set(runs))
    grid = [(aim, canaries, count) for aim, sizes in aims for canaries in sorted(set(sizes)) for count in numbers]
    plans: list[Plan] = []
    with progress.task("plan", len(grid)) as task:
        for done, (aim, canaries, count) in enumerate(grid):
            plan = plan_design(aim, canaries, count)
            plans.append(plan.model_copy(update={"hours": budget.cost(count)}))
            task.advance(done + 1, f"{count} runs of {canaries} canaries")
    allowed = [plan for plan in plans if budget.allows(plan.runs)]
    return Designs(
        promise=first.promise,
        hypothesis=first.tested,
        plans=tuple(plans),
        best=strongest(allowed, first.tested, first.enough_power) if allowed else None,
        budget=budget.hours,
        hours_per_run=budget.hours_per_run,
        hours_source=budget.source,
    )


def _plan(aim: Aim, method: str, canaries: int, runs: int, *, beside: bool) -> Plan:
    test = _search(aim, method)
    if aim.promise.kind == "none" or not aim.promise.mechanism.is_private:
        return _noiseless(aim, test, canaries, runs)
    return plan_guesses(
        aim.promise.mechanism,
        test,
        attack=aim.attack,
        canaries=canaries,
        runs=runs,
        enough_power=aim.enough_power,
        beside=_beside(aim, method, test) if beside else (),
        rank_groups=aim.tested != "any",
        sharing=aim.sharing,
    )


def _search(aim: Aim, method: str) -> PlannedTest[Any]:
    """Return the test by which the number of guesses is found: against mu-GDP, whose curves are fast, if it can."""
    gaussian = aim.promise.kind == "accountant" and "gaussian" in REQUESTS[method]
    return planned_test(aim.promise, method, "gaussian" if gaussian else "any", aim.confidence)


def _beside(aim: Aim, method: str, test: PlannedTest[Any]) -> list[PlannedTest[Any]]:
    others: list[PlannedTest[Any]] = []
    for hypothesis in ("accountant", "gaussian", "any"):
        if hypothesis == test.family.hypothesis or hypothesis not in REQUESTS[method]:
            continue
        if hypothesis == "accountant" and aim.promise.kind != "accountant":
            continue
        others.append(planned_test(aim.promise, method, hypothesis, aim.confidence))
    return others


def _noiseless(aim: Aim, test: PlannedTest[Any], canaries: int, runs: int) -> Plan:
    perfect = [Guesses(canaries=canaries, guesses=canaries, correct=canaries)] * runs
    best = max_p_bound(test, perfect, strategy="all").epsilon
    return Plan(
        attack=aim.attack,
        method=test.test.method,
        canaries=canaries,
        runs=runs,
        guesses_in=canaries // 2,
        guesses_out=canaries - canaries // 2,
        expected_epsilon=best,
        expected={test.family.hypothesis: best},
        largest={test.family.hypothesis: best},
        power=1.0,
        largest_epsilon=best,
        note="without noise every guess of an ideal attack is correct",
    )
