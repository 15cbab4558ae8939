"""Plan: noise, promise, guess counts and power, all from the recipe alone, before the first secret is drawn."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import numpy as np

from dpaudit.accounting.accountant import tight_guarantee
from dpaudit.accounting.calibrate import calibrate_noise
from dpaudit.accounting.curve import epsilon_at, has_curve
from dpaudit.accounting.events import mechanism_event
from dpaudit.audit import Audit, NamedAttack, Planned
from dpaudit.bounds.guesses import Guesses
from dpaudit.bounds.max_p import max_p_bound
from dpaudit.bounds.tradeoff import false_negative_rate
from dpaudit.errors import InputError
from dpaudit.hypotheses import CERTIFIED, METHODS, planned_test, promise_curve
from dpaudit.mechanism import Mechanism
from dpaudit.planner import plan_guesses
from dpaudit.results import Plan, Promise, Series
from dpaudit.runs import write_atomically
from dpaudit.training import candidate_ids

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["plan_audit", "plan_for", "preflight"]


def plan_audit(audit: Audit, planned: Planned) -> list[Path]:
    """Write plan.json; return it."""
    path = audit.path / "plan.json"
    write_atomically(path, (planned.model_dump_json(indent=1) + "\n").encode())
    return [path]


def preflight(audit: Audit) -> Planned:
    """Return the plan of a recipe that was checked against its data and plug-ins; InputError names what is wrong."""
    mechanism = _mechanism(audit)
    promise = _promise(audit, mechanism)
    for named in audit.attacks:
        _check_attack(audit, named, mechanism)
    for index, entry in enumerate(audit.recipe.probes):
        if audit.population.classes is None:
            raise audit.loaded.where.refusal(f"probes.{index}.name", entry.name, "no probe: the data set has no labels")
    audit.population.read_through()
    undecided = Planned(mechanism=mechanism, promise=promise, plans=())
    return undecided.model_copy(update={"plans": _deciding_plans(audit, undecided)})


def plan_for(
    audit: Audit, named: NamedAttack, planned: Planned, confidence: float, method: str = "one-run-fdp"
) -> Plan:
    """Return how many candidates of an attack will be guessed, and what a test by this method could see."""
    mechanism, promise = planned.mechanism, planned.promise
    family = audit.family(named, audit.attack(named).needs, audit.job("target-00", mechanism).placed_families())
    canaries = _count(audit, family or "block", mechanism)
    hypothesis = "gaussian" if promise.kind == "accountant" and method == "one-run-fdp" else "any"
    test = planned_test(promise, method, hypothesis, confidence)
    runs, power = audit.recipe.runs.count, audit.recipe.bounds.power
    if mechanism.is_private:
        return plan_guesses(mechanism, test, attack=named.label, canaries=canaries, runs=runs, enough_power=power)
    perfect = [Guesses(canaries=canaries, guesses=canaries, correct=canaries)] * runs
    best = max_p_bound(test, perfect, strategy="all").epsilon
    return Plan(
        attack=named.label,
        method=method,
        canaries=canaries,
        runs=runs,
        guesses_in=canaries // 2,
        guesses_out=canaries - canaries // 2,
        expected_epsilon=best,
        power=1.0,
        largest_epsilon=best,
        note="without noise every guess of an ideal attack is correct",
    )


def _mechanism(audit: Audit) -> Mechanism:
    privacy, where = audit.recipe.privacy, audit.loaded.where
    size = len(audit.population.universe)
    if privacy.batch_size > size:
        expected = f"at most the {size} records that can be in (the data less probe_train and probe_test)"
        raise where.refusal("privacy.batch_size", privacy.batch_size, expected)
    if privacy.sampling == "full" and privacy.batch_size != size:
        raise where.refusal("privacy.batch_size", privacy.batch_size, f"{size}, all records, with sampling `full`")
    unbounded = privacy.epsilon is not None and math.isinf(privacy.epsilon)
    template = Mechanism(
        sampling=privacy.sampling,
        adjacency=privacy.adjacency,
        noise_multiplier=0.0 if unbounded else privacy.noise_multiplier or 0.0,
        sampling_rate=privacy.batch_size / size,
        steps=privacy.steps,
        clip_norm=math.inf if unbounded else privacy.clip_norm,
        batch_size=privacy.batch_size,
        dataset_size=size,
    )
    if privacy.epsilon is None or unbounded:
        return template
    noise = calibrate_noise(privacy.epsilon, _delta(audit, size), _accountable(template))
    return template.model_copy(update={"noise_multiplier": noise})


def _promise(audit: Audit, mechanism: Mechanism) -> Promise:
    privacy, delta = audit.recipe.privacy, _delta(audit, mechanism.dataset_size)
    if privacy.claimed_epsilon is not None:
        claimed_delta = delta if privacy.claimed_delta is None else privacy.claimed_delta
        return _drawn(Promise(kind="claim", epsilon=privacy.claimed_epsilon, delta=claimed_delta, mechanism=mechanism))
    if not mechanism.is_private:
        return Promise(kind="none", epsilon=math.inf, delta=delta, mechanism=mechanism)
    answer = tight_guarantee(mechanism_event(mechanism), mechanism.adjacency, delta)
    if answer.epsilon is not None:
        kind: Literal["accountant", "claim"] = "accountant" if has_curve(mechanism) else "claim"
        return _drawn(Promise(kind=kind, epsilon=answer.epsilon, delta=delta, mechanism=mechanism))
    nominal = _accountable(mechanism)
    epsilon = epsilon_at(nominal, mechanism.noise_multiplier, delta)
    note = f"the number that Poisson accounting would print; {mechanism.sampling} sampling does not earn it"
    return _drawn(Promise(kind="claim", epsilon=epsilon, delta=delta, mechanism=mechanism, note=note))


def _accountable(mechanism: Mechanism) -> Mechanism:
    """Return the mechanism, or the Poisson one of the same rate where nobody can account what is executed."""
    unsound = mechanism.sampling in ("shuffle", "fixed") and mechanism.adjacency == "add-remove"
    return mechanism.model_copy(update={"sampling": "poisson"}) if unsound else mechanism


def _delta(audit: Audit, size: int) -> float:
    return 1 / (2 * size) if audit.recipe.privacy.delta is None else audit.recipe.privacy.delta


def _drawn(promise: Promise, points: int = 120) -> Promise:
    curve = promise_curve(promise)
    if curve is None:
        return promise
    rates = np.concatenate([[0.0], np.geomspace(1e-5, 1.0, points)])
    misses = false_negative_rate(curve, rates)
    return promise.model_copy(update={"curve": Series(name="promise", x=tuple(rates), y=tuple(misses))})


def _deciding_plans(audit: Audit, planned: Planned) -> tuple[Plan, ...]:
    promise = planned.promise
    if promise.kind == "none":
        return ()
    attacks, plans = {named.label: named for named in audit.attacks}, []
    shares = audit.recipe.bounds.shares()
    for index, (request, share) in enumerate(zip(audit.recipe.bounds.decide, shares, strict=True)):
        field = f"bounds.decide.{index}.method"
        _check_method(audit, field, request.method, promise, request.hypothesis)
        if request.method not in CERTIFIED:
            raise audit.loaded.where.refusal(field, request.method, f"a certified method: {', '.join(CERTIFIED)}")
        plans.append(plan_for(audit, attacks[request.attack], planned, 1 - share, request.method))
    for index, extra in enumerate(audit.recipe.bounds.also):
        _check_method(audit, f"bounds.also.{index}.method", extra.method, promise, extra.hypothesis)
    return tuple(plans)


def _check_method(audit: Audit, field: str, method: str, promise: Promise, hypothesis: str) -> None:
    if method not in METHODS:
        raise audit.loaded.where.refusal(field, method, f"one of {', '.join(METHODS)}")
    try:
        planned_test(promise, method, hypothesis, 0.95)
    except InputError as error:
        raise audit.loaded.where.refusal(field, f"{method} with hypothesis {hypothesis}", error.expected) from error


def _check_attack(audit: Audit, named: NamedAttack, mechanism: Mechanism) -> None:
    needs = audit.attack(named).needs
    audit.family(named, needs, audit.job("target-00", mechanism).placed_families())
    if needs.references > audit.recipe.references.count:
        expected = f"at least {needs.references}, which {named.label} needs"
        raise audit.loaded.where.refusal("references.count", audit.recipe.references.count, expected)
    lacking = [kind.__name__ for kind in needs.capabilities if not isinstance(audit.trainer, kind)]
    if lacking:
        raise InputError(f"{named.field}.name", named.entry.name, f"a trainer that can: {', '.join(lacking)}")


def _count(audit: Audit, family: str, mechanism: Mechanism) -> int:
    records = audit.population.candidate_ids()
    if family in records:
        return len(records[family])
    if family == "block":
        return audit.recipe.canaries.block
    return len(candidate_ids(audit.job("target-00", mechanism), "coordinates"))
