"""Bound: the seal is opened, scores meet coins, and hypotheses are refuted with the counts that were planned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dpaudit.bounds.joint.groups import RankGroups
from dpaudit.bounds.strategies import FixedGuesses
from dpaudit.errors import DpauditError
from dpaudit.metrics import attack_result, most_exposed
from dpaudit.pipeline.hypotheses import bound_all_guessed, bound_runs, hypothesis_of, planned_test, standard_requests
from dpaudit.pipeline.stages.attack import read_scores
from dpaudit.pipeline.stages.plan import plan_for, promise_tested
from dpaudit.recipes.recipe import BoundRequest
from dpaudit.results import AttackResult, Bound, Exposure, Threat, Value
from dpaudit.runs import read_json, write_atomically
from dpaudit.scores import join
from dpaudit.seal import open_coins

if TYPE_CHECKING:
    from pathlib import Path

    from dpaudit.canaries import Coins
    from dpaudit.pipeline.audit import Audit, NamedAttack
    from dpaudit.progress import Progress
    from dpaudit.recipes.recipe import DecidingBound
    from dpaudit.results import Exposed, Plan, Promise
    from dpaudit.scores import LabelledScores, ScoreTable

__all__ = ["Bounded", "bound_audit", "read_bounds"]

#: an untrained model's scores that know the coins with a p-value below this stop the audit (DESIGN rule 9)
_BLINDNESS = 1e-5


class Bounded(Value):
    """bounds.json: what the opened coins say of every attack.

    exposed: the members that one attack on outputs ranks highest; of several attacks and runs the largest AUC's.
    """

    attacks: tuple[AttackResult, ...]
    bounds: tuple[Bound, ...]
    exposed: Exposure | None = None


def bound_audit(audit: Audit, progress: Progress) -> list[Path]:
    """Open the coins of every target, judge every score table, and write bounds.json; return it."""
    coins = {name: _opened(audit, name) for name in audit.targets}
    results: list[AttackResult] = []
    bounds: list[Bound] = []
    exposures: list[Exposure] = []
    with progress.task("bound", len(audit.attacks)) as task:
        for done, named in enumerate(audit.attacks):
            found = _judge(audit, named, coins)
            results += found.attacks
            bounds += found.bounds
            exposures += [] if found.exposed is None else [found.exposed]
            task.advance(done + 1, named.label)
    path = audit.path / "bounds.json"
    found = Bounded(attacks=tuple(results), bounds=tuple(bounds), exposed=_strongest(exposures))
    write_atomically(path, (found.model_dump_json(indent=1) + "\n").encode())
    return [path]


def read_bounds(audit: Audit) -> Bounded:
    """Return what `bound_audit` wrote."""
    return Bounded.model_validate(read_json(audit.path / "bounds.json"))


def _opened(audit: Audit, name: str) -> Coins:
    commitment = read_json(audit.path / name / "manifest.json")["commitment"]
    reason = ", ".join(named.label for named in audit.attacks)
    return open_coins(audit.path / name, commitment, f"bound: {reason}")


def _judge(audit: Audit, named: NamedAttack, coins: dict[str, Coins]) -> Bounded:
    tables = []
    for name in audit.targets:
        path = audit.path / "scores" / name / f"{named.label}.parquet"
        if not path.exists():
            return Bounded(attacks=(), bounds=())
        tables.append((*read_scores(path), coins[name]))
    runs, results, exposures = [], [], []
    for table, untrained, tossed in tables:
        labelled = join(table, tossed.members(table.family))
        result = attack_result(table, labelled, untrained=untrained, exploratory=named.exploratory)
        _check_blind(result, control=not audit.attack(named).needs.sees_model)
        runs.append(labelled)
        results.append(result)
        exposures += _exposure(audit, named, result, most_exposed(table.ids, labelled))
    bounds = tuple(_bounds(audit, named, runs, tables[0][0]))
    return Bounded(attacks=tuple(results), bounds=bounds, exposed=_strongest(exposures))


def _exposure(audit: Audit, named: NamedAttack, result: AttackResult, records: tuple[Exposed, ...]) -> list[Exposure]:
    """Return what an attack on the outputs of the model says of records of the data; nothing for any other."""
    if result.threat.access != "outputs" or result.family not in audit.sizes.candidates:
        return []
    if not audit.attack(named).needs.sees_model:
        return []
    return [
        Exposure(
            attack=result.attack,
            run=result.run,
            family=result.family,
            auc=result.auc,
            non_members=result.candidates - result.members,
            records=records,
        )
    ]


def _strongest(exposures: list[Exposure]) -> Exposure | None:
    return max(exposures, key=lambda exposure: exposure.auc.value, default=None)


def _check_blind(result: AttackResult, *, control: bool) -> None:
    p_value = result.coin_blindness_p
    if p_value is None or p_value >= _BLINDNESS:
        return
    attack = f"attack {result.attack} on {result.run}"
    found = f"{attack}: the UNTRAINED model's scores know the coins (p = {p_value:.1g})"
    if control:
        found = f"the split is broken: {attack} never sees the model, and its scores know the coins (p = {p_value:.1g})"
    raise DpauditError(
        f"{found}; candidates that are in differ from those that are out, so no score of this run can be trusted"
    )


def _bounds(audit: Audit, named: NamedAttack, runs: list[LabelledScores], table: ScoreTable) -> list[Bound]:
    settings, promise = audit.recipe.bounds, promise_tested(audit, named, audit.planned)
    deciding = [asked for asked in _deciding(audit) if asked[0].attack == named.label and not named.exploratory]
    requests: list[tuple[str, str, float, bool, Plan]] = [
        (request.method, request.hypothesis, 1 - share, True, plan) for request, share, plan in deciding
    ]
    default = _usual_plan(audit, named, promise, deciding)
    extra = [(request.method, request.hypothesis) for request in settings.also if request.attack == named.label]
    decided = {(method, hypothesis_of(promise, hypothesis)) for method, hypothesis, *_ in requests}
    for method, hypothesis in dict.fromkeys([*standard_requests(promise), *extra]):
        if (method, hypothesis_of(promise, hypothesis)) in decided:
            continue
        requests.append((method, hypothesis, 1 - settings.alpha, False, default))
    threat = Threat(access=table.threat_model.access, inserts=table.threat_model.inserts)
    found = []
    for method, hypothesis, confidence, decides, plan in requests:
        tested = planned_test(promise, method, hypothesis, confidence, plan)
        surest = plan.surest if isinstance(tested.test, RankGroups) else None
        chosen = FixedGuesses(guesses_in=plan.guesses_in, guesses_out=plan.guesses_out, surest=surest)
        bound = bound_runs(tested, method, runs, chosen)
        facts = {"attack": named.label, "threat": threat, "decides": decides, "exploratory": named.exploratory}
        found.append(bound.model_copy(update=facts | _of_one_step(promise, bound)))
    if promise.run is None and table.family == "block":  # canaries of one kind, whose scores are likelihood ratios
        alike = bound_all_guessed(promise, runs, 1 - settings.alpha)
        found.append(alike.model_copy(update={"attack": named.label, "threat": threat}))
    return found


def _usual_plan(
    audit: Audit, named: NamedAttack, promise: Promise, deciding: list[tuple[DecidingBound, float, Plan]]
) -> Plan:
    """Return the plan of the bounds that do not decide: one that was made, if it asked the same, or a new one."""
    usual, alpha = BoundRequest(attack=named.label), audit.recipe.bounds.alpha
    hypothesis = hypothesis_of(promise, usual.hypothesis)
    for request, share, plan in deciding:
        same = request.method == usual.method and hypothesis_of(promise, request.hypothesis) == hypothesis
        if same and share == alpha:
            return plan
    return plan_for(audit, named, audit.planned, 1 - alpha)


def _of_one_step(promise: Promise, bound: Bound) -> dict[str, Any]:
    """Return what is to be said of a bound whose guesses tested one step; nothing for one on the run."""
    if promise.run is None:
        return {}
    steps = promise.run.steps
    composed = f"one step was tested; epsilon is that of {steps:,} steps whose noise is what it does not refute"
    said = composed if bound.hypothesis == "accountant" else "of one step, not of the run"
    return {"one_step": True, "note": f"{bound.note}; {said}" if bound.note else said}


def _deciding(audit: Audit) -> list[tuple[DecidingBound, float, Plan]]:
    if not audit.planned.plans:
        return []
    settings = audit.recipe.bounds
    return list(zip(settings.decide, settings.shares(), audit.planned.plans, strict=True))
