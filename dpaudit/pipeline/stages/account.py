"""Account: what the executed mechanism promises, by every accountant that has a sound answer, and on what premises.

The guarantees come from the ledger of what was executed, not from the plan: the noise of each step over the declared
sensitivity (`dpaudit.accounting.executed`). Of several targets the worst is told.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from dpaudit.accounting.accountant import headline
from dpaudit.accounting.assumptions import assumptions
from dpaudit.accounting.compose import with_tuning_runs
from dpaudit.accounting.executed import executed_event, executed_guarantees
from dpaudit.accounting.gdp import gdp_estimate
from dpaudit.accounting.spent import spent_series
from dpaudit.pipeline.stages.earlier import together
from dpaudit.pipeline.stages.executed import copies, executed_facts, ledger, started
from dpaudit.pipeline.stages.start import read_beginning
from dpaudit.results import Assumption, GdpEstimate, Guarantee, Series, Value
from dpaudit.runs import read_json, write_atomically

if TYPE_CHECKING:
    from pathlib import Path

    from dpaudit.accounting.facts import Duplicates
    from dpaudit.pipeline.audit import Audit

__all__ = ["Accounted", "account_audit", "read_account"]

_WORST = ("held", "unknown", "violated")


class Accounted(Value):
    """account.json: the accountants' answers and the assumption ledger, the worst of all targets.

    with_tuning: what the final run and its declared tuning runs promise together; empty without any. with_pretraining:
    the same of the final run and the earlier trainings on these data that it started from; with_tuning includes those.
    spent: epsilon by step of the final run alone.
    """

    guarantees: tuple[Guarantee, ...]
    with_tuning: tuple[Guarantee, ...]
    with_pretraining: tuple[Guarantee, ...] = ()
    central_limit: GdpEstimate | None
    spent: Series | None = None
    assumptions: tuple[Assumption, ...]


def account_audit(audit: Audit) -> list[Path]:
    """Write account.json; return it."""
    found = copies(audit)
    premises = _worst([_premises(audit, name, found) for name in audit.targets])
    promised = {name: _promised(audit, name) for name in audit.targets}
    name = max(promised, key=lambda each: _epsilon(promised[each]))
    worst = promised[name].model_copy(update={"spent": _spent(audit, name)})
    path = audit.path / "account.json"
    text = worst.model_copy(update={"assumptions": premises}).model_dump_json(indent=1)
    write_atomically(path, (text + "\n").encode())
    return [path]


def read_account(audit: Audit) -> Accounted:
    """Return what `account_audit` wrote."""
    return Accounted.model_validate(read_json(audit.path / "account.json"))


def _premises(audit: Audit, name: str, found: Duplicates) -> tuple[Assumption, ...]:
    """Return the premises judged from what was executed, then those that were replayed before step one."""
    replayed = read_json(audit.path / name / "manifest.json").get("replayed", [])
    return (
        *assumptions(executed_facts(audit, name, found)),
        *(Assumption.model_validate(premise) for premise in replayed),
    )


def _promised(audit: Audit, name: str) -> Accounted:
    if audit.recipe.privacy.simulate_batch is not None:
        return Accounted(guarantees=(), with_tuning=(), central_limit=None, assumptions=())
    run, delta, tuning_runs = started(audit, name), audit.planned.promise.delta, audit.recipe.privacy.tuning_runs
    steps = ((row.sampling_rate, row.noise_std) for row in ledger(audit, name))
    event = executed_event(steps, run.noise_unit, run.mechanism)
    tuned = with_tuning_runs(event, tuning_runs) if tuning_runs else None
    begun = read_beginning(audit)
    earlier = () if begun is None else begun.earlier
    return Accounted(
        guarantees=executed_guarantees(event, run.mechanism, delta),
        with_tuning=() if tuned is None else together(earlier, tuned, run.mechanism, delta),
        with_pretraining=together(earlier, event, run.mechanism, delta) if earlier else (),
        central_limit=gdp_estimate(event, run.mechanism.adjacency, delta),
        assumptions=(),
    )


def _spent(audit: Audit, name: str) -> Series | None:
    run, delta = started(audit, name), audit.planned.promise.delta
    if audit.recipe.privacy.simulate_batch is not None or not run.mechanism.is_private:
        return None
    steps = [(row.sampling_rate, row.noise_std) for row in ledger(audit, name)]
    return spent_series(steps, run.noise_unit, run.mechanism, delta)


def _epsilon(accounted: Accounted) -> float:
    """Return the epsilon by which targets are compared; one that nobody can account for is the worst."""
    if all(guarantee.epsilon is None for guarantee in accounted.guarantees):
        return math.inf
    return headline(accounted.guarantees).epsilon or 0.0


def _worst(ledgers: list[tuple[Assumption, ...]]) -> tuple[Assumption, ...]:
    """Return one ledger: of every premise the entry of the run where it stands worst."""
    return tuple(max(same, key=lambda premise: _WORST.index(premise.status)) for same in zip(*ledgers, strict=True))
