"""Where bounds meet accounting: the promise as a curve, hypotheses as families of curves, methods by name."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from dpaudit.accounting.accountant import tight_guarantee
from dpaudit.accounting.curve import has_curve, least_epsilon_at, profile_at
from dpaudit.accounting.events import mechanism_event
from dpaudit.bounds.clopper_pearson import Confusion, clopper_pearson_bound
from dpaudit.bounds.family import Family, accountant_family, any_family, gaussian_family
from dpaudit.bounds.guesses import guess
from dpaudit.bounds.joint.count import JointCount
from dpaudit.bounds.joint.groups import RankGroups
from dpaudit.bounds.joint.pooled import PooledCount
from dpaudit.bounds.joint.runs import ErrorRates
from dpaudit.bounds.max_p import PlannedTest, max_p_bound
from dpaudit.bounds.methods import METHODS, one_run_test
from dpaudit.bounds.one_run import Steinke
from dpaudit.bounds.one_run_fdp import FdpRecursion
from dpaudit.bounds.order_statistics import OrderStatistics
from dpaudit.bounds.scored import bound_scores
from dpaudit.bounds.tradeoff import EpsilonDelta, Gaussian, Profile
from dpaudit.errors import InputError
from dpaudit.pipeline.promises import accountable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dpaudit.bounds.strategies import FixedGuesses
    from dpaudit.bounds.tradeoff import TradeOff
    from dpaudit.mechanism import Mechanism
    from dpaudit.results import Bound, Plan, Promise
    from dpaudit.scores import LabelledScores

__all__ = [
    "CERTIFIED",
    "REQUESTS",
    "bound_all_guessed",
    "bound_runs",
    "hypothesis_of",
    "mechanism_curve",
    "mechanism_family",
    "planned_test",
    "promise_curve",
    "standard_requests",
    "step_family",
]

#: the methods that assume nothing of the canaries of one run: only they may decide a verdict
CERTIFIED = ("one-run-joint", "one-run-fdp", "one-run", "one-run-pooled")
#: what a recipe can ask for: method -> hypotheses. What can test any curve can test the accountant's and the promise's
REQUESTS: dict[str, tuple[str, ...]] = {
    name: ("promise", *known, "accountant") if "gaussian" in known else known
    for name, known in ((name, METHODS[name].hypotheses) for name in (*CERTIFIED, "clopper-pearson"))
}
#: noise multipliers searched, as multiples of the one executed
_LEAST, _MOST, _TOLERANCE = 1 / 16, 32.0, 1e-3


def promise_curve(promise: Promise) -> TradeOff | None:
    """Return the promise as a curve: the accountant's own, or f_(epsilon, delta) of a claim; None for no promise."""
    if promise.run is not None:
        return Gaussian(1 / promise.mechanism.noise_multiplier)
    match promise.kind:
        case "none":
            return None
        case "claim":
            return EpsilonDelta(promise.epsilon, promise.delta)
        case "accountant":
            return mechanism_curve(promise.mechanism)


def planned_test(
    promise: Promise,
    method: str,
    hypothesis: str,
    confidence: float,
    plan: Plan | None = None,
) -> PlannedTest[Any]:
    """Return a test of one hypothesis by one method, with the promise's own curve beside it.

    hypothesis `promise`: the family that the promise belongs to. InputError for a pair that does not exist.
    plan: what `one-run-joint` and `one-run-pooled` take from it: what e-values are made for, or two rank groups.
    """
    family = _family(promise, hypothesis)
    if hypothesis_of(promise, hypothesis) not in REQUESTS.get(method, ()):
        known = "; ".join(f"{name} with {', '.join(known)}" for name, known in REQUESTS.items())
        raise InputError("bound", f"{method} with hypothesis {hypothesis}", f"one of: {known}")
    test = FdpRecursion() if method == "clopper-pearson" else one_run_test(method)
    if isinstance(test, PooledCount) and plan is not None:
        test = PooledCount(_rates(plan))
    if isinstance(test, JointCount) and plan is not None:
        test = _as_planned(test, plan, family)
    curve = promise_curve(promise)
    if isinstance(test, Steinke) and not isinstance(curve, EpsilonDelta):
        curve = None
    return PlannedTest[Any](test=test, family=family, confidence=confidence, promise=curve)


def _as_planned(test: JointCount, plan: Plan, family: Family[Any]) -> JointCount | RankGroups:
    if plan.surest is not None:
        return test if family.hypothesis == "any" else RankGroups(plan.surest)
    return test if plan.error_rates is None else JointCount(_rates(plan))


def _rates(plan: Plan) -> ErrorRates | None:
    if plan.error_rates is None:
        return None
    return ErrorRates(promised=plan.error_rates[0], broken=plan.error_rates[1])


def bound_runs(planned: PlannedTest[Any], method: str, runs: Sequence[LabelledScores], chosen: FixedGuesses) -> Bound:
    """Return the bound of R runs of one attack, its guess counts fixed beforehand.

    Certified, but for Clopper-Pearson: it takes the canaries of a run for independent trials.
    """
    if method != "clopper-pearson":
        return bound_scores(planned, runs, chosen)
    return clopper_pearson_bound(
        planned.family,
        _confusion(runs, chosen.guesses_in),
        confidence=planned.confidence,
        strategy=str(chosen),
        promise=planned.promise,
    )


def bound_all_guessed(promise: Promise, runs: Sequence[LabelledScores], confidence: float) -> Bound:
    """Return what the guesses of all canaries say if canaries do not interact: of the accountant's curve if it has one.

    No number of guesses is chosen: the better half of every run is said to be in.
    """
    known = has_curve(promise.mechanism) and promise.mechanism.is_private
    family = _family(promise, "accountant" if known else "gaussian")
    planned = PlannedTest[Any](test=OrderStatistics(), family=family, confidence=confidence)
    guesses = [guess(run, guesses_in=len(run) - len(run) // 2, guesses_out=len(run) // 2) for run in runs]
    return max_p_bound(planned, guesses, strategy="all canaries guessed, the better half in")


def standard_requests(promise: Promise) -> tuple[tuple[str, str], ...]:
    """Return the (method, hypothesis) pairs that every report shows beside those that decide."""
    accountant = ("accountant",) if has_curve(promise.mechanism) and promise.mechanism.is_private else ()
    recursion = tuple(("one-run-fdp", hypothesis) for hypothesis in ("any", "gaussian", *accountant))
    return (("one-run", "any"), *recursion, ("clopper-pearson", "any"), ("clopper-pearson", "gaussian"))


def hypothesis_of(promise: Promise, hypothesis: str) -> str:
    """Return the hypothesis that `promise` stands for; any other name stands for itself."""
    if hypothesis != "promise":
        return hypothesis
    return "accountant" if promise.kind == "accountant" else "any"


def _family(promise: Promise, hypothesis: str) -> Family[Any]:
    match hypothesis_of(promise, hypothesis):
        case "any":
            return any_family(delta=promise.delta)
        case "gaussian":
            return gaussian_family(delta=promise.delta)
        case "accountant" if promise.run is not None:
            return step_family(promise.mechanism, promise.run, promise.delta)
        case "accountant" if has_curve(promise.mechanism) and promise.mechanism.is_private:
            return mechanism_family(promise.mechanism, promise.delta)
        case _:
            raise InputError("hypothesis", hypothesis, "any, gaussian, or accountant where the accountant has a curve")


def mechanism_family(mechanism: Mechanism, delta: float) -> Family[Profile]:
    """Return the accountant's curves of a mechanism whose noise multiplier is unknown: the hypothesis `accountant`.

    It is searched from 1/16 to 32 times the mechanism's own. InputError where the accountant has no sound curve.
    """
    if not has_curve(mechanism):
        raise InputError("sampling", f"{mechanism.sampling}, {mechanism.adjacency}", "one that PLD can account for")
    if not 0 < delta < 1:
        raise InputError("delta", delta, "a number between 0 and 1, both excluded, which the accountant needs")
    sigma = mechanism.noise_multiplier
    return accountant_family(
        curve=lambda noise_multiplier: _profile(mechanism, noise_multiplier),
        epsilon=lambda noise_multiplier: least_epsilon_at(mechanism, noise_multiplier, delta),
        delta=delta,
        noise_multipliers=(sigma * _LEAST, sigma * _MOST),
        tolerance=sigma * _TOLERANCE,
        start=sigma,
    )


def step_family(one: Mechanism, run: Mechanism, delta: float) -> Family[Gaussian]:
    """Return the curves of one step whose noise multiplier is unknown, with the epsilon of the run that it composes to.

    one: of a step (`dpaudit.pipeline.promises.step_promise`). The parameter is the run's noise multiplier. Who refutes
    a curve refutes that every step had so much noise, and so each promise that was accounted with so much or more.
    """
    distance, sigma = run.noise_multiplier / one.noise_multiplier, run.noise_multiplier
    return accountant_family(
        curve=lambda noise_multiplier: Gaussian(distance / noise_multiplier),
        epsilon=lambda noise_multiplier: _accounted_epsilon(run, noise_multiplier, delta),
        delta=delta,
        noise_multipliers=(sigma * _LEAST, sigma * _MOST),
        tolerance=sigma * _TOLERANCE,
        start=sigma,
    )


def _accounted_epsilon(run: Mechanism, noise_multiplier: float, delta: float) -> float:
    """Return the epsilon of a run with so much noise: PLD's, rounded down, or RDP's where PLD has no account."""
    mechanism = accountable(run)
    if has_curve(mechanism):
        return least_epsilon_at(mechanism, noise_multiplier, delta)
    event = mechanism_event(mechanism.model_copy(update={"noise_multiplier": noise_multiplier}))
    return tight_guarantee(event, mechanism.adjacency, delta).epsilon or 0.0


def mechanism_curve(mechanism: Mechanism) -> Profile:
    """Return the accountant's curve of the mechanism as it is."""
    return _profile(mechanism, mechanism.noise_multiplier)


@cache
def _profile(mechanism: Mechanism, noise_multiplier: float) -> Profile:
    return Profile(*profile_at(mechanism, noise_multiplier))


def _confusion(runs: Sequence[LabelledScores], guesses_in: int) -> Confusion:
    """Return the counts of "in" for the `guesses_in` highest scores of every run, all runs together."""
    right = sum(guess(run, guesses_in=guesses_in, guesses_out=0).correct for run in runs)
    members = sum(int(run.member.sum()) for run in runs)
    return Confusion(
        true_positives=right,
        in_trials=members,
        false_positives=guesses_in * len(runs) - right,
        out_trials=sum(len(run) for run in runs) - members,
        trials="canaries of one run",
    )
