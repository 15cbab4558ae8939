"""What an audit could see, from public numbers alone: how many to guess in and out, and what that can refute.

Everything here follows from the promise and is fixed before any coin is seen. The canaries are ideal
(`ideal_canary`): real ones show less, so a plan states what the test could see, not what the attack will.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from dpaudit.bounds.guesses import Guesses
from dpaudit.bounds.ideal_canary import ideal_score_law
from dpaudit.bounds.ideal_guesser import Design, Guesser, first_true
from dpaudit.bounds.joint.count import JointCount
from dpaudit.bounds.joint.foreseen import power_of_evidence, power_of_groups, typical_runs, weighted_quantile
from dpaudit.bounds.joint.groups import RankGroups, fits
from dpaudit.bounds.joint.runs import ErrorRates
from dpaudit.bounds.max_p import SearchesFamily, max_p_bound
from dpaudit.errors import InputError
from dpaudit.results import Plan, Surest

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
#: with fewer runs e-values are not tried: they would certify less
_MANY_RUNS = 4
#: two rank groups are tried where one count has so many guesses; the first has this share of them, and its errors
#: weigh as many times more as they are rarer, at most four times
_ENOUGH_GUESSES, _SUREST, _HEAVIEST = 120, 0.36, 4
#: where fewer guesses have enough power too, so many times those of one count are guessed: the others weigh less
_MORE = 1.35
#: errors that all ideal runs but this share stay below are told apart
_UNLIKELY = 0.05
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
) -> Plan:
    """Return the numbers of guesses that let `planned` certify most, and what they can refute.

    The guesses are the canaries whose coin is surest. How many: of the numbers whose power is at least `enough_power`
    (of all, if there are none) the one whose bound is largest at the mechanism's own noise, with the median right
    guesses of the worst of `runs` runs. Power: the chance to refute the promise if the noise multiplier is half of what
    was said, while the attacker still believes what was said. guesses: so many in all, instead of the best number.
    beside: other hypotheses, whose bounds by the same guesses are added to the plan. rank_groups: whether the surest
    guesses may weigh more, which certifies nothing more of `any` mechanism.

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
    design = Design(_law(mechanism), canaries, runs)
    half_noise = Guesser(_law(mechanism, actual_noise=mechanism.noise_multiplier / 2), canaries)
    quick = _EveryRun(_stand_in(planned), design, half_noise)

    def value(guesses: int) -> tuple[bool, float, float]:
        chance = quick.power(promise, guesses)
        return (chance >= enough_power, quick.expected(quick.planned, guesses), chance)

    best = _search(value, canaries) if guesses is None else guesses
    few_are_enough = guesses is None and quick.power(promise, round(best / _MORE)) >= enough_power
    shares = _SHARES if guesses is None else (1.0,)
    ways = [(_EveryRun(planned, design, half_noise), best), *_by_evidence(planned, quick, best, shares)]
    if rank_groups:
        ways += _by_groups(planned, quick, best, _MORE if few_are_enough else 1.0)

    def worth(way: tuple[_EveryRun, int]) -> tuple[bool, float]:
        chance = way[0].power(promise, way[1])
        return (chance >= enough_power, way[0].expected(planned, way[1]))

    way, guesses = max(ways, key=worth)
    inside, outside = design.sides(guesses)
    tests = (planned, *beside)
    expected = {test.family.hypothesis: way.expected(test, guesses) for test in tests}
    largest = {test.family.hypothesis: way.largest(test, guesses) for test in tests}
    recursion = {planned.family.hypothesis: quick.expected(quick.planned, guesses)}
    return Plan(
        attack=attack,
        method=planned.test.method,
        canaries=canaries,
        runs=runs,
        guesses_in=inside,
        guesses_out=outside,
        expected_epsilon=expected[planned.family.hypothesis],
        expected=expected,
        largest=largest,
        power=way.power(promise, guesses),
        largest_epsilon=largest[planned.family.hypothesis],
        error_rates=way.error_rates(guesses),
        surest=way.surest,
        by_recursion=recursion if isinstance(planned.test, SearchesFamily) else {},
        note=_note(mechanism, planned, way),
    )


def _by_evidence(
    planned: PlannedTest[Any], quick: _EveryRun, best: int, shares: Sequence[float]
) -> list[tuple[_EveryRun, int]]:
    """Return the designs by e-values, of several shares of the best number of guesses; none for few runs."""
    design = quick.design
    if not isinstance(planned.test, JointCount) or design.runs < _MANY_RUNS:
        return []
    choices = sorted({min(design.canaries, max(1, round(share * best))) for share in shares})
    return [(_ByEvidence(planned, design, quick.half_noise), choice) for choice in choices]


def _by_groups(planned: PlannedTest[Any], quick: _EveryRun, best: int, times: float) -> list[tuple[_EveryRun, int]]:
    """Return the design of two rank groups, of so many times the best number of guesses, if it can gain."""
    design, tested = quick.design, isinstance(planned.test, JointCount) and planned.family.hypothesis != "any"
    if not tested or design.runs >= _MANY_RUNS or best < _ENOUGH_GUESSES:
        return []
    total = min(design.canaries, round(times * best))
    groups = _rank_groups(design, total)
    return [] if groups is None else [(_ByGroups(planned, design, quick.half_noise, groups), total)]


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


class _EveryRun:
    """A design in which every run must refute, each at level alpha^(1/R)."""

    remark = ""
    surest: Surest | None = None

    def __init__(self, planned: PlannedTest[Any], design: Design, half_noise: Guesser) -> None:
        self.planned, self.design, self.half_noise = planned, design, half_noise

    def expected(self, test: PlannedTest[Any], guesses: int) -> float:
        """Return the epsilon that `test` certifies with the median right guesses of the worst run."""
        run = self.run(guesses, self.design.median_correct(guesses))
        return max_p_bound(test, [run] * self.design.runs, strategy="planned").epsilon

    def largest(self, test: PlannedTest[Any], guesses: int) -> float:
        """Return the epsilon that `test` certifies if every guess is right."""
        return max_p_bound(test, [self.run(guesses, guesses)] * self.design.runs, strategy="planned").epsilon

    def power(self, promise: TradeOff, guesses: int) -> float:
        """Return the chance to refute the promise at half its noise."""
        critical = _fewest_refuting(self.planned, promise, self.design, guesses)
        return self.design.chance(guesses, critical, self.half_noise.accuracy(*self.design.sides(guesses)))

    def error_rates(self, guesses: int) -> tuple[float, float] | None:  # noqa: ARG002  # those of e-values
        """Return what e-values are made for: there are none."""
        return None

    def run(self, guesses: int, correct: int) -> Guesses:
        """Return a run of this design."""
        return Guesses(canaries=self.design.canaries, guesses=guesses, correct=correct)


class _ByEvidence(_EveryRun):
    """A design in which the runs' e-values are multiplied."""

    remark = "; the runs' e-values are multiplied"

    def expected(self, test: PlannedTest[Any], guesses: int) -> float:
        """Return the epsilon that `test` certifies with a middling set of runs."""
        rates, design = self._rates(guesses), self.design
        runs = typical_runs(design.canaries, guesses, rates.promised, design.runs)
        return max_p_bound(replace(test, test=JointCount(rates)), runs, strategy="planned").epsilon

    def largest(self, test: PlannedTest[Any], guesses: int) -> float:
        """Return the epsilon that `test` certifies if every guess is right."""
        return super().largest(replace(test, test=JointCount(self._rates(guesses))), guesses)

    def power(self, promise: TradeOff, guesses: int) -> float:
        """Return the chance to refute the promise at half its noise."""
        alpha = 1 - self.planned.confidence
        return power_of_evidence(promise, self.run(guesses, 0), self._rates(guesses), self.design.runs, alpha)

    def error_rates(self, guesses: int) -> tuple[float, float] | None:
        """Return what e-values are made for."""
        rates = self._rates(guesses)
        return rates.promised, rates.broken

    def _rates(self, guesses: int) -> ErrorRates:
        sides = self.design.sides(guesses)
        promised, broken = self.design.accuracy(guesses), self.half_noise.accuracy(*sides)
        return ErrorRates(promised=max(0.0, 1 - promised), broken=max(0.0, 1 - broken))


class _ByGroups(_EveryRun):
    """A design in which every run must refute by two rank groups."""

    remark = "; two rank groups"

    def __init__(self, planned: PlannedTest[Any], design: Design, half_noise: Guesser, groups: _Groups) -> None:
        super().__init__(planned, design, half_noise)
        self.surest, self._groups = groups.surest, groups

    def expected(self, test: PlannedTest[Any], guesses: int) -> float:
        """Return the epsilon that `test` certifies with the median weighted errors of the worst run."""
        if test.family.hypothesis == "any":  # one count is tested
            return super().expected(test, guesses)
        return self._certified(test, self._groups.run(guesses, self.design, self._groups.median))

    def largest(self, test: PlannedTest[Any], guesses: int) -> float:
        """Return the epsilon that `test` certifies if every guess is right."""
        if test.family.hypothesis == "any":
            return super().largest(test, guesses)
        return self._certified(test, self._groups.run(guesses, self.design, 0))

    def power(self, promise: TradeOff, guesses: int) -> float:
        """Return the chance to refute the promise at half its noise."""
        sides = self.design.sides(guesses)
        first = (self.surest.guesses_in, self.surest.guesses_out) if self.surest is not None else (0, 0)
        rates = _group_rates(self.half_noise, first, sides)
        run = self._groups.run(guesses, self.design, 0)
        test, level = RankGroups(self._groups.surest), self.planned.level(self.design.runs)
        return float(power_of_groups(test, promise, run, rates, level) ** self.design.runs)

    def _certified(self, test: PlannedTest[Any], run: Guesses) -> float:
        planned = replace(test, test=RankGroups(self._groups.surest))
        return max_p_bound(planned, [run] * self.design.runs, strategy="planned").epsilon


@dataclass(frozen=True)
class _Groups:
    """Two rank groups, and the median of the weighted errors in the worst of the ideal runs."""

    surest: Surest
    median: int

    def run(self, guesses: int, design: Design, weighted: int) -> Guesses:
        """Return a run with so many weighted errors, each of weight 1 as far as there are guesses for it."""
        size = self.surest.guesses_in + self.surest.guesses_out
        first = max(0, -(-(weighted - (guesses - size)) // self.surest.weight))
        errors = weighted - self.surest.weight * first + first
        return Guesses(
            canaries=design.canaries,
            guesses=guesses,
            correct=guesses - errors,
            surest=size,
            surest_correct=size - first,
        )


def _rank_groups(design: Design, guesses: int) -> _Groups | None:
    """Return two rank groups of so many guesses; None for few of them, or where their program would be too large.

    The share of the surest is a rule of thumb; the weight is how many times rarer their errors are.
    """
    size = round(_SUREST * guesses)
    first, sides = design.sides(size), design.sides(guesses)
    if first[0] > sides[0] or first[1] > sides[1]:
        return None
    rates = _group_rates(design.guesser, first, sides)
    weight = min(_HEAVIEST, round(rates[1] / max(rates[0], 1e-9)))
    if weight < 2:
        return None
    sizes = (size, guesses - size)
    median = weighted_quantile(sizes, rates, weight, 0.5 ** (1 / design.runs))
    most = weighted_quantile(sizes, rates, weight, (1 - _UNLIKELY) ** (1 / design.runs))
    while most > median and not fits(design.canaries, sizes, weight, most):
        most -= 1
    if not fits(design.canaries, sizes, weight, most):
        return None
    return _Groups(Surest(guesses_in=first[0], guesses_out=first[1], weight=weight, most=most), median)


def _group_rates(guesser: Guesser, first: tuple[int, int], sides: tuple[int, int]) -> tuple[float, float]:
    """Return the chances that a guess of the first group, and one of the second, is wrong."""
    size, guesses = sum(first), sum(sides)
    right, all_right = size * guesser.accuracy(*first), guesses * guesser.accuracy(*sides)
    return max(0.0, 1 - right / size), min(1.0, max(0.0, 1 - (all_right - right) / (guesses - size)))


def _stand_in(planned: PlannedTest[Any]) -> PlannedTest[Any]:
    """Return the same question, asked of a test that is fast enough to search with."""
    test = planned.test
    return replace(planned, test=test.stand_in) if isinstance(test, SearchesFamily) else planned


def _fewest_refuting(planned: PlannedTest[Curve], promise: Curve, design: Design, guesses: int) -> int:
    """Return the fewest right guesses that refute the promise in every run; guesses + 1 if not even all do."""
    level = planned.level(design.runs)

    def refutes(correct: int) -> bool:
        run = Guesses(canaries=design.canaries, guesses=guesses, correct=correct)
        return planned.test.refutes(promise, run, level)

    return first_true(refutes, guesses)


def _search(value: Callable[[int], tuple[bool, float, float]], canaries: int) -> int:
    """Return the number of guesses of greatest value, on a geometric grid that is refined once around its best."""
    grid = np.unique(np.geomspace(1, canaries, _COARSE).round().astype(int)).tolist()
    values = [value(guesses) for guesses in grid]
    best = max(range(len(grid)), key=values.__getitem__)
    left, right = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    finer = np.unique(np.geomspace(left, right, _FINE + 2).round().astype(int)).tolist()
    return int(max([*finer, grid[best]], key=value))


def _note(mechanism: Mechanism, planned: PlannedTest[Curve], way: _EveryRun) -> str:
    words = f"ideal canaries; guesses chosen by hypothesis {planned.family.hypothesis}{way.remark}"
    if mechanism.sampling in ("poisson", "full"):
        return words
    return f"{words}; sampling {mechanism.sampling} planned as Poisson at the same rate"
