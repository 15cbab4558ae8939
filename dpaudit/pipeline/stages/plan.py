"""Plan: noise, promise, guess counts and power, all from the recipe alone, before the first secret is drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dpaudit.bounds.tradeoff import false_negative_rate
from dpaudit.canaries import STEP_FAMILIES
from dpaudit.errors import InputError
from dpaudit.pipeline.aim import Aim
from dpaudit.pipeline.applicable import check_applicable
from dpaudit.pipeline.applicable_probes import check_probe_applicable
from dpaudit.pipeline.audit import Audit, NamedAttack, Planned
from dpaudit.pipeline.designs import plan_design
from dpaudit.pipeline.hypotheses import CERTIFIED, REQUESTS, planned_test, promise_curve
from dpaudit.pipeline.promises import recipe_mechanism, recipe_promise, step_promise
from dpaudit.pipeline.whole_batches import check_whole_batches, remarked
from dpaudit.plugins import NamesOptimisation
from dpaudit.recipes.recipe import BoundRequest
from dpaudit.results import Plan, Promise, Series
from dpaudit.runs import write_atomically

if TYPE_CHECKING:
    from pathlib import Path

    from dpaudit.mechanism import Mechanism

__all__ = ["check_attack", "deciding_aims", "plan_audit", "plan_for", "preflight", "promise_tested", "promised"]

#: what the plan says beside itself: how much more this many times the runs would have certified
_MORE_RUNS = 2


def plan_audit(audit: Audit, planned: Planned) -> list[Path]:
    """Write plan.json; return it."""
    path = audit.path / "plan.json"
    write_atomically(path, (planned.model_dump_json(indent=1) + "\n").encode())
    return [path]


def preflight(audit: Audit) -> Planned:
    """Return the plan of a recipe that was checked against its data and plug-ins; InputError names what is wrong."""
    _ = audit.device  # one that is not here is refused before anything is read or written
    undecided = promised(audit)
    _check_optimizer(audit)
    _check_precision(audit)
    check_whole_batches(audit)
    from dpaudit.pipeline.stages.start import check_start  # noqa: PLC0415  # torch, which `dpaudit plan` goes without

    check_start(audit)
    for named in audit.attacks:
        check_attack(audit, named, undecided.mechanism)
    for index, entry in enumerate(audit.recipe.probes):
        check_probe_applicable(audit, index, entry)
    audit.population.read_through(audit.trainer.modality)
    _check_collate(audit)
    aims, runs = deciding_aims(audit, undecided), audit.recipe.runs.count
    return undecided.model_copy(
        update={
            "promise": remarked(audit, _drawn(undecided.promise)),
            "plans": tuple(plan_design(aim, canaries, runs) for aim, canaries in aims),
            "more_runs": tuple(plan_design(aim, canaries, _MORE_RUNS * runs) for aim, canaries in aims),
        }
    )


def promised(audit: Audit) -> Planned:
    """Return mechanism and promise of a recipe, its designs still open; neither a trainer nor an image is needed."""
    mechanism = recipe_mechanism(audit.loaded, audit.sizes.universe)
    return Planned(mechanism=mechanism, promise=recipe_promise(audit.loaded, mechanism), plans=())


def deciding_aims(audit: Audit, planned: Planned) -> list[tuple[Aim, int]]:
    """Return what each deciding bound is to refute, and its candidates; InputError names a bound that cannot be."""
    promise = planned.promise
    if promise.kind == "none":
        return []
    settings, aims = audit.recipe.bounds, []
    attacks = {named.label: named for named in audit.attacks}
    for index, (request, share) in enumerate(zip(settings.decide, settings.shares(), strict=True)):
        field = f"bounds.decide.{index}.method"
        named = attacks[request.attack]
        tested = promise_tested(audit, named, planned)
        _check_method(audit, field, request.method, tested, request.hypothesis)
        if tested.run is not None and audit.recipe.privacy.claimed_epsilon is not None:
            expected = "an attack on the whole run: a claim of two numbers says nothing of one step"
            raise audit.loaded.where.refusal(f"bounds.decide.{index}.attack", request.attack, expected)
        if request.method not in CERTIFIED:
            raise audit.loaded.where.refusal(field, request.method, f"a certified method: {', '.join(CERTIFIED)}")
        aim = _aim(audit, tested, request, 1 - share, _sharing(audit, named, planned.mechanism))
        aims.append((aim, _candidates(audit, named, planned.mechanism)))
    for index, extra in enumerate(settings.also):
        tested = promise_tested(audit, attacks[extra.attack], planned)
        _check_method(audit, f"bounds.also.{index}.method", extra.method, tested, extra.hypothesis)
    return aims


def promise_tested(audit: Audit, named: NamedAttack, planned: Planned) -> Promise:
    """Return the promise that an attack tests: the run's, or what it says of one step where each has its own coin."""
    family = audit.family(named, audit.attack(named).needs, _placed(audit, planned.mechanism))
    return step_promise(planned.promise) if family in STEP_FAMILIES else planned.promise


def plan_for(audit: Audit, named: NamedAttack, planned: Planned, confidence: float) -> Plan:
    """Return how many candidates of an attack will be guessed, where no deciding bound has planned it."""
    tested = promise_tested(audit, named, planned)
    aim = _aim(audit, tested, BoundRequest(attack=named.label), confidence, _sharing(audit, named, planned.mechanism))
    canaries = _candidates(audit, named, planned.mechanism)
    return plan_design(aim, canaries, audit.recipe.runs.count, beside=False)


def _aim(audit: Audit, promise: Promise, request: BoundRequest, confidence: float, sharing: int) -> Aim:
    return Aim(
        promise=promise,
        attack=request.attack,
        confidence=confidence,
        methods=(request.method,),
        hypothesis=request.hypothesis,
        enough_power=audit.recipe.bounds.power,
        sharing=sharing,
    )


def _sharing(audit: Audit, named: NamedAttack, mechanism: Mechanism) -> int:
    """Return how many candidates of an attack share a coordinate; of directions that meet, none quite does."""
    canaries = audit.recipe.canaries
    family = audit.family(named, audit.attack(named).needs, _placed(audit, mechanism)) or "block"
    return canaries.per_coordinate if family == "block" and canaries.directions == "dirac" else 1


def _drawn(promise: Promise, points: int = 120) -> Promise:
    curve = promise_curve(promise)
    if curve is None:
        return promise
    rates = np.concatenate([[0.0], np.geomspace(1e-5, 1.0, points)])
    misses = false_negative_rate(curve, rates)
    return promise.model_copy(update={"curve": Series(name="promise", x=tuple(rates), y=tuple(misses))})


def _check_method(audit: Audit, field: str, method: str, promise: Promise, hypothesis: str) -> None:
    if method not in REQUESTS:
        raise audit.loaded.where.refusal(field, method, f"one of {', '.join(REQUESTS)}")
    try:
        planned_test(promise, method, hypothesis, 0.95)
    except InputError as error:
        raise audit.loaded.where.refusal(field, f"{method} with hypothesis {hypothesis}", error.expected) from error


def _check_optimizer(audit: Audit) -> None:
    if audit.recipe.optimizer is None or not isinstance(audit.trainer, NamesOptimisation):
        return
    options = audit.recipe.trainer.options
    void = sorted(audit.trainer.optimisation_options & set(options))
    if void:
        expected = "not given: it belongs to the trainer's own optimizer, and the recipe names another"
        raise audit.loaded.where.refusal(f"trainer.{void[0]}", options[void[0]], expected)


def _check_collate(audit: Audit) -> None:
    """Refuse an option that shows its fault only when a record is read, such as a tokenizer that is opened late."""
    population = audit.population
    try:
        audit.trainer.collate(population.data[population.universe[:1]], audit.public.child("check"))
    except InputError as error:
        if error.field not in audit.recipe.trainer.options:
            raise
        raise audit.loaded.where.refusal(f"trainer.{error.field}", error.value, error.expected) from error


def _check_precision(audit: Audit) -> None:
    engine, precision = audit.recipe.privacy.engine, audit.recipe.compute.precision
    if precision == "bf16" and engine == "functional" and audit.device.type == "cpu":
        expected = "float32, or privacy.engine bookkeeping: torch.func cannot mix the two types on a CPU"
        raise audit.loaded.where.refusal("compute.precision", precision, expected)


def check_attack(audit: Audit, named: NamedAttack, mechanism: Mechanism | None = None) -> None:
    """Raise InputError, one line, where the run lacks what an attack needs. mechanism: None = as the recipe says."""
    check_applicable(audit, named, _placed(audit, mechanism or promised(audit).mechanism))


def _placed(audit: Audit, mechanism: Mechanism) -> tuple[str, ...]:
    if not mechanism.is_clipped:
        return ()
    canaries = audit.recipe.canaries
    step = canaries.step_family()
    return (*canaries.gradient_families(), *(() if step is None else (step,)))


def _candidates(audit: Audit, named: NamedAttack, mechanism: Mechanism) -> int:
    """Return how many candidates an attack scores; only canaries on a model's own coordinates need the model."""
    family = audit.family(named, audit.attack(named).needs, _placed(audit, mechanism)) or "block"
    if family in audit.sizes.candidates:
        return audit.sizes.candidates[family]
    if family in STEP_FAMILIES:
        return mechanism.steps
    if family == "block":
        return audit.recipe.canaries.block
    from dpaudit.training.train import candidate_ids  # noqa: PLC0415 (imports torch)

    return len(candidate_ids(audit.job("target-00", mechanism), "coordinates"))
