"""What a mechanism would promise before anything is trained: the answer of `dpaudit account`."""

from __future__ import annotations

from typing import Any

from dpaudit.accounting.accountant import event_guarantees, guarantees
from dpaudit.accounting.assumptions import ASSUMPTION_NAMES
from dpaudit.accounting.compose import with_tuning_runs
from dpaudit.accounting.events import mechanism_event, to_json
from dpaudit.accounting.gdp import gdp_estimate
from dpaudit.mechanism import Adjacency, Mechanism, Sampling
from dpaudit.results import Assumption, GdpEstimate, Guarantee, Value

__all__ = ["AccountStatement", "account_statement"]


class AccountStatement(Value):
    """The promise of a mechanism that has not been executed, with all that it rests on.

    found: the numbers of the mechanism that a target epsilon decided. with_tuning: what the final run and its tuning
    runs promise together; empty without tuning runs.
    """

    mechanism: Mechanism
    found: tuple[str, ...]
    event: dict[str, Any]
    delta: float
    guarantees: tuple[Guarantee, ...]
    tuning_runs: int | None
    with_tuning: tuple[Guarantee, ...]
    central_limit: GdpEstimate | None
    assumptions: tuple[Assumption, ...]


def account_statement(
    mechanism: Mechanism, delta: float, tuning_runs: int | None = None, found: tuple[str, ...] = ()
) -> AccountStatement:
    """Return what every accountant promises, and the premises that only an executed run can show to hold.

    Raises:
        InputError: delta is not between 0 and 1, or tuning_runs is negative.
        DisagreementError: Two accountants contradict each other.
    """
    event = mechanism_event(mechanism)
    tuned = with_tuning_runs(event, tuning_runs) if tuning_runs else None
    return AccountStatement(
        mechanism=mechanism,
        found=found,
        event=to_json(event),
        delta=delta,
        guarantees=guarantees(mechanism, delta),
        tuning_runs=tuning_runs,
        with_tuning=() if tuned is None else event_guarantees(tuned, mechanism.adjacency, delta),
        central_limit=gdp_estimate(event, mechanism.adjacency, delta),
        assumptions=tuple(_premise(name, mechanism, tuning_runs) for name in ASSUMPTION_NAMES),
    )


def _premise(name: str, mechanism: Mechanism, tuning_runs: int | None) -> Assumption:
    if name == "tuning runs are counted" and tuning_runs is not None:
        return Assumption(name=name, status="held", evidence=f"{tuning_runs} tuning runs declared")
    if name == "sampling is what is accounted" and not _has_account(mechanism.sampling, mechanism.adjacency):
        evidence = f"{mechanism.sampling} sampling has no sound account under add-remove"
        return Assumption(name=name, status="violated", evidence=evidence)
    return Assumption(name=name, status="unknown", evidence="nothing was executed")


def _has_account(sampling: Sampling, adjacency: Adjacency) -> bool:
    return adjacency != "add-remove" or sampling in ("poisson", "full")
