"""What an audit could see, from public numbers alone: how many to guess in and out, and what that can refute.

Everything here follows from the promise and is fixed before any coin is seen. The canaries are ideal
(`ideal_canary`): real ones show less, so a plan states what the test could see, not what the attack will.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from dpaudit.bounds.ideal_canary import ideal_score_law
from dpaudit.bounds.ideal_guesser import Design, Guesser
from dpaudit.bounds.max_p import SearchesFamily
from dpaudit.errors import InputError
from dpaudit.procedures import EveryRun, by_evidence, by_groups, stand_in
from dpaudit.results import Plan

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dpaudit.bounds.max_p import PlannedTest
    from dpaudit.bounds.tradeoff import TradeOff
    from dpaudit.mechanism import Mechanism
    from dpaudit.results import Hypothesis

__all__ = ["ENOUGH_POWER", "Candidate", "certified", "choose", "plan_guesses", "refutable", "strongest"]

Curve = TypeVar("Curve", bound="TradeOff")

#: the chance to refute the promise at half its noise from which on an audit that finds nothing says something
ENOUGH_POWER = 0.8
_COARSE, _FINE = 24, 8
#: by e-values these multiples of the guesses are tried that would be best if every run must refute
_SHARES = (0.7, 1.0, 1.4)
#: where fewer guesses have enough power too, so many times those of one count are guessed by two groups by rank
_MORE = 1.35
_law = lru_cache(maxsize=4)(ideal_score_law)


class Candidate(Protocol):
    """A way to test a promise: it plans itself for any design, and says what it would then see."""

    def __call__(self, canaries: int, runs: int) -> Plan:
        """Return its plan for `runs` runs of `canaries` canaries each."""


def choose(
    candidates: Sequence[Candidate],
    *,
    canaries: int,
    runs: int,
    hypothesis: Hypothesis,
    enough_power: float = ENOUGH_POWER,
) -> Plan:
    """Return the plan of the candidate that certifies most at this design, from the promise alone.

    Which test is used is thereby fixed before any coin is seen, as the numbers of guesses are; so choosing costs no
    confidence.
    """
    return strongest([candidate(canaries, runs) for candidate in candidates], hypothesis, enough_power)


def strongest(plans: Sequence[Plan], hypothesis: Hypothesis, enough_power: float = ENOUGH_POWER) -> Plan:
    """Return the plan that certifies most under a hypothesis, of those with enough power (of all, if there are none).

    Of plans that certify the same to a hundredth, the one with the fewest runs, then the fewest canaries.
    """

    def value(plan: Plan) -> tuple[bool, float, int, int]:
        return (plan.power >= enough_power, round(certified(plan, hypothesis), 2), -plan.runs, -plan.canaries)

    return max(plans, key=value)


def certified(plan: Plan, hypothesis: Hypothesis) -> float:
    """Return the epsilon that a plan is expected to certify under a hypothesis.

    What is refuted of `any` mechanism is refuted of those of every family.
    """
    return _of(plan.expected, hypothesis)


def refutable(plan: Plan, hypothesis: Hypothesis) -> float:
    """Return the largest epsilon that a plan could certify under a hypothesis, if every guess were right."""
    return _of(plan.largest, hypothesis)


def _of(epsilons: Mapping[Hypothesis, float], hypothesis: Hypothesis) -> float:
    return max(epsilons.get(hypothesis, 0.0), epsilons.get("any", 0.0))


def plan_guesses(  # noqa: PLR0913 (a design, and what it is asked)
    mechanism: Mechanism,
    planned: PlannedTest[Curve],
    *,
    attack: str,
    canaries: int,
    runs: int = 1,
    guesses: int | None = None,
    enough_power: float = ENOUGH_POWER,
    beside: Sequence[PlannedTest[Any]] = (),
    rank_groups: bool = True,
    sharing: int = 1,
) -> Plan:
    """Return the numbers of guesses that let `planned` certify most, and what they can refute.

    The guesses are the canaries whose coin is surest. How many: of the numbers whose power is at least `enough_power`
    (of all, if there are none) the one whose bound is largest at the mechanism's own noise, with the median right
    guesses of the worst of `runs` runs. Power: the chance to refute the promise if the noise multiplier is half of what
    was said, while the attacker still believes what was said. guesses: so many in all, instead of the best number.
    beside: other hypotheses, whose bounds by the same guesses are added to the plan. rank_groups: whether the surest
    guesses may weigh more, which certifies nothing more of `any` mechanism. sharing: how many canaries share a
    coordinate.

    >>> from dpaudit.bounds.family import gaussian_family
    >>> from dpaudit.bounds.max_p import PlannedTest
    >>> from dpaudit.bounds.one_run_fdp import FdpRecursion
    >>> from dpaudit.bounds.tradeoff import Gaussian
    >>> from dpaudit.mechanism import Mechanism
    >>> mechanism = Mechanism(sampling="full", adjacency="add-remove", noise_multiplier=2.0, sampling_rate=1.0,
    ...                       steps=4, clip_norm=1.0, batch_size=100, dataset_size=100)
    >>> planned = PlannedTest(test=FdpRecursion(), family=gaussian_family(delta=1e-5), confidence=0.95,
    ...                       promise=Gaussian(1.0))
    >>> plan = plan_guesses(mechanism, planned, attack="audit_block", canaries=5000)
    >>> plan.power > 0.9, 2.0 < plan.expected_epsilon < 4.377
    (True, True)
    """
    promise = _check(mechanism, planned, canaries, runs)
    if guesses is not None and not 1 <= guesses <= canaries:
        raise InputError("guesses", guesses, f"1 to {canaries}, the canaries")
    design = Design(_law(mechanism, sharing=sharing), canaries, runs)
    half_noise = Guesser(_law(mechanism, actual_noise=mechanism.noise_multiplier / 2, sharing=sharing), canaries)
    quick = EveryRun(stand_in(planned), design, half_noise)

    way, guesses = _best(planned, quick, promise, guesses, enough_power, rank_groups=rank_groups)
    found = _foreseen(quick, way, guesses, (planned, *beside))
    note = _note(mechanism, planned, way)
    return Plan(attack=attack, power=way.power(promise, guesses), note=note, **found)


def _foreseen(quick: EveryRun, way: EveryRun, guesses: int, tests: Sequence[PlannedTest[Any]]) -> dict[str, Any]:
    """Return the fields of a plan that say what `way` certifies with so many guesses; the first test decides."""
    planned, design = tests[0], quick.design
    hypothesis, (inside, outside) = planned.family.hypothesis, design.sides(guesses)
    expected = {test.family.hypothesis: way.expected(test, guesses) for test in tests}
    largest = {test.family.hypothesis: way.largest(test, guesses) for test in tests}
    searches = isinstance(planned.test, SearchesFamily)
    return {
        "method": planned.test.method,
        "canaries": design.canaries,
        "runs": design.runs,
        "guesses_in": inside,
        "guesses_out": outside,
        "expected_epsilon": expected[hypothesis],
        "expected": expected,
        "largest_epsilon": largest[hypothesis],
        "largest": largest,
        "error_rates": way.error_rates(guesses),
        "surest": way.surest,
        "by_recursion": {hypothesis: quick.expected(quick.planned, guesses)} if searches else {},
    }


def _best(
    planned: PlannedTest[Curve],
    quick: EveryRun,
    promise: Curve,
    asked: int | None,
    enough_power: float,
    *,
    rank_groups: bool,
) -> tuple[EveryRun, int]:
    """Return the procedure and the number of guesses that certify most, of those with enough power.

    asked: so many guesses, instead of the best number.
    """
    design = quick.design

    def value(guesses: int) -> tuple[bool, float, float]:
        chance = quick.power(promise, guesses)
        return (chance >= enough_power, quick.expected(quick.planned, guesses), chance)

    best = _search(value, design.canaries) if asked is None else asked
    few_are_enough = asked is None and quick.power(promise, round(best / _MORE)) >= enough_power
    shares = _SHARES if asked is None else (1.0,)
    ways = [(EveryRun(planned, design, quick.half_noise), best), *by_evidence(planned, quick, best, shares)]
    if rank_groups:
        ways += by_groups(planned, quick, best, _MORE if few_are_enough else 1.0)

    def worth(way: tuple[EveryRun, int]) -> tuple[bool, float]:
        chance = way[0].power(promise, way[1])
        return (chance >= enough_power, way[0].expected(planned, way[1]))

    return max(ways, key=worth)


def _check(mechanism: Mechanism, planned: PlannedTest[Curve], canaries: int, runs: int) -> Curve:
    if not mechanism.is_private:
        raise InputError("noise multiplier", mechanism.noise_multiplier, "a private mechanism: nothing is promised")
    if mechanism.steps < 1:
        raise InputError("steps", mechanism.steps, "at least 1")
    if canaries < 1 or runs < 1:
        raise InputError("canaries, runs", (canaries, runs), "at least 1 of each")
    if planned.promise is None:
        raise InputError("promise", None, "the curve that the audit is to refute")
    return planned.promise


def _search(value: Callable[[int], tuple[bool, float, float]], canaries: int) -> int:
    """Return the number of guesses of greatest value, on a geometric grid that is refined once around its best."""
    grid = np.unique(np.geomspace(1, canaries, _COARSE).round().astype(int)).tolist()
    values = [value(guesses) for guesses in grid]
    best = max(range(len(grid)), key=values.__getitem__)
    left, right = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    finer = np.unique(np.geomspace(left, right, _FINE + 2).round().astype(int)).tolist()
    return int(max([*finer, grid[best]], key=value))


def _note(mechanism: Mechanism, planned: PlannedTest[Curve], way: EveryRun) -> str:
    words = f"ideal canaries; guesses chosen by hypothesis {planned.family.hypothesis}{way.remark}"
    if mechanism.sampling in ("poisson", "full"):
        return words
    return f"{words}; sampling {mechanism.sampling} planned as Poisson at the same rate"
