"""The report's tables as rounded text, for a paper, a README or a model card: one sheet per table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dpaudit.reports import foresight, headline, numbers
from dpaudit.reports.standing import by_standing, standing

if TYPE_CHECKING:
    from dpaudit.results import AttackResult, AuditResult, Bound, Guarantee, Interval, Plan

__all__ = ["Sheet", "sheets", "three_numbers"]


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """One table. numeric: the columns that are aligned right. note: what a reader must know to read it."""

    name: str
    caption: str
    header: tuple[str, ...]
    numeric: frozenset[int]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


def sheets(result: AuditResult) -> tuple[Sheet, ...]:
    """Return every table that has rows, in the order of the page."""
    found = (
        three_numbers(result),
        _assumptions(result),
        _attacks(result),
        _bounds(result),
        _guarantees(result),
        _probes(result),
        _plans(result),
    )
    return tuple(sheet for sheet in found if sheet.rows)


def three_numbers(result: AuditResult) -> Sheet:
    """Return the epsilon promised, the epsilon refuted and the utility bought, each with what makes it true."""
    three = (headline.promised(result), headline.refuted(result), headline.bought(result))
    return Sheet(
        name="numbers",
        caption=f"{result.title or result.name}: {result.verdict.word}",
        header=("Number", "Value", "What it says"),
        numeric=frozenset({1}),
        rows=tuple((number.label, number.value, "; ".join(number.lines)) for number in three),
    )


def _assumptions(result: AuditResult) -> Sheet:
    worst = ("violated", "unknown", "held")
    ranked = sorted(result.assumptions, key=lambda each: worst.index(each.status))
    return Sheet(
        name="assumptions",
        caption="Assumptions behind the promise",
        header=("Assumption", "Status", "Evidence"),
        numeric=frozenset(),
        rows=tuple((each.name, each.status, each.evidence) for each in ranked),
    )


def _attacks(result: AuditResult) -> Sheet:
    return Sheet(
        name="attacks",
        caption="Attacks: how well members are told from non-members",
        header=("Threat model", "Attack", "Candidates", "AUC", "TPR at 1 % FPR", "TPR at 0.1 % FPR"),
        numeric=frozenset({3, 4, 5}),
        rows=tuple(_attack(each, several=len(_targets(result)) > 1) for each in result.attacks),
        note="Intervals at 95 %, candidates taken as independent. These numbers describe attacks; only bounds speak "
        "of ε.",
    )


def _attack(attack: AttackResult, *, several: bool) -> tuple[str, ...]:
    name = attack.attack + (f" ({attack.run})" if several else "") + (" (exploratory)" if attack.exploratory else "")
    rates = (attack.tpr_at_fpr.get(fpr) for fpr in ("0.01", "0.001"))
    return (
        str(attack.threat),
        name,
        f"{attack.family}, {numbers.count(attack.candidates)}",
        f"{numbers.fixed(attack.auc.value)} [{numbers.fixed(attack.auc.low)}, {numbers.fixed(attack.auc.high)}]",
        *(numbers.NOTHING if rate is None else _share(rate) for rate in rates),
    )


def _bounds(result: AuditResult) -> Sheet:
    return Sheet(
        name="bounds",
        caption="Lower bounds on ε: what attacks refute",
        header=("Threat model", "Hypothesis", "Guarantee", "Method", "Standing", "ε", "Confidence"),
        numeric=frozenset({5, 6}),
        rows=tuple(_bound(each) for each in by_standing(result.bounds)),
        note="Only deciding bounds, certified and listed before any coin was opened, make the verdict. Only the "
        "hypothesis “any” bounds the ε of an unknown mechanism.",
    )


def _bound(bound: Bound) -> tuple[str, ...]:
    estimate = bound.guarantee == "estimate"
    method = bound.method + (f" on {bound.attack}" if bound.attack else "") + (", one step" if bound.one_step else "")
    return (
        numbers.NOTHING if bound.threat is None else str(bound.threat),
        headline.HYPOTHESES[bound.hypothesis],
        headline.GUARANTEES[bound.guarantee],
        method,
        standing(bound).short,
        ("≈ " if estimate else "≥ ") + numbers.at_least(bound.epsilon),
        "none" if estimate or bound.confidence is None else numbers.percent(bound.confidence),
    )


def _guarantees(result: AuditResult) -> Sheet:
    groups = (
        ("this training", result.guarantees),
        ("with pre-training", result.with_pretraining),
        ("with tuning runs", result.with_tuning),
    )
    return Sheet(
        name="guarantees",
        caption="What accountants promise of the executed mechanism",
        header=("Of", "Accountant", "ε", "δ", "Neighbours"),
        numeric=frozenset({2, 3}),
        rows=tuple(
            (of, each.accountant, _promised(each), numbers.small(each.delta), each.adjacency)
            for of, answers in groups
            for each in answers
        ),
        note="If every assumption holds.",
    )


def _promised(guarantee: Guarantee) -> str:
    if guarantee.epsilon is None:
        return "no sound answer"
    if guarantee.exceeds:
        return f"> {numbers.at_least(guarantee.epsilon)}"
    return numbers.at_most(guarantee.epsilon)


def _probes(result: AuditResult) -> Sheet:
    return Sheet(
        name="probes",
        caption="Utility",
        header=("Probe", "Run", "Features", "Score", "Interval", "Tested on"),
        numeric=frozenset({3, 4, 5}),
        rows=tuple(
            (
                f"{probe.probe}, {probe.metric}",
                probe.run,
                headline.features(each.features),
                numbers.score(each.score.value, probe.metric),
                numbers.score_interval(each.score, probe.metric),
                numbers.count(probe.test_size),
            )
            for probe in result.probes
            for each in probe.measurements
        ),
    )


def _plans(result: AuditResult) -> Sheet:
    done = [("done", each) for each in result.plans]
    more = [("not done", each) for each in result.more_runs]
    return Sheet(
        name="plans",
        caption="What this audit could have seen",
        header=("Attack", "Method", "Design", "Runs", "Canaries", "ε expected", "Power", "Largest ε"),
        numeric=frozenset({3, 4, 5, 6, 7}),
        rows=tuple(_plan(result, what, each) for what, each in (*done, *more)),
        note="ε expected: the bound if the mechanism is as promised and the canaries are ideal. Power: the chance to "
        "refute the promise had the noise been half of what was said.",
    )


def _plan(result: AuditResult, what: str, plan: Plan) -> tuple[str, ...]:
    return (
        plan.attack,
        plan.method,
        what,
        numbers.count(plan.runs),
        numbers.count(plan.canaries),
        numbers.at_least(foresight.expected(result, plan)[1]),
        numbers.chance(plan.power),
        numbers.at_least(foresight.largest(result, plan)),
    )


def _targets(result: AuditResult) -> set[str]:
    return {attack.run for attack in result.attacks}


def _share(interval: Interval) -> str:
    low, high = numbers.percent(interval.low), numbers.percent(interval.high)
    return f"{numbers.percent(interval.value)} [{low.removesuffix(' %')}, {high.removesuffix(' %')}]"
