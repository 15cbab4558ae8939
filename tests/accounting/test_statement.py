"""The answer of `dpaudit account`: the numbers of a published run, its order grid and its premises, as JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from dpaudit.accounting.assumptions import ASSUMPTION_NAMES
from dpaudit.accounting.events import from_json, mechanism_event
from dpaudit.accounting.statement import AccountStatement, account_statement
from dpaudit.mechanism import Mechanism

if TYPE_CHECKING:
    from collections.abc import Callable


def test_dp_cap_as_json() -> None:
    mechanism = Mechanism(
        sampling="poisson",
        adjacency="add-remove",
        noise_multiplier=0.728,
        sampling_rate=1_310_720 / 233_804_767,
        steps=5708,
        clip_norm=1.0,
        batch_size=1_310_720,
        dataset_size=233_804_767,
    )
    written = account_statement(mechanism, 4.277e-9).model_dump_json()
    data = json.loads(written)
    found = {guarantee["accountant"]: guarantee for guarantee in data["guarantees"]}
    assert found["PLD"]["epsilon"] == pytest.approx(7.34, abs=0.005)
    assert found["RDP"]["epsilon"] == pytest.approx(8.05, abs=0.005)
    assert found["PRV"]["epsilon"] == pytest.approx(7.34, abs=0.02)
    assert "orders 1.1 to 10.9 by 0.1, 11 to 63" in found["RDP"]["note"]
    assert [assumption["name"] for assumption in data["assumptions"]] == list(ASSUMPTION_NAMES)
    assert {assumption["status"] for assumption in data["assumptions"]} == {"unknown"}
    assert from_json(data["event"]) == mechanism_event(mechanism)
    assert AccountStatement.model_validate_json(written).guarantees[0].epsilon == found["PLD"]["epsilon"]


def test_tuning_runs_are_shown_beside(make_mechanism: Callable[..., Mechanism]) -> None:
    statement = account_statement(make_mechanism(1.0, 8.0, 4, sampling="full"), 1e-5, tuning_runs=3)
    longer = account_statement(make_mechanism(1.0, 8.0, 16, sampling="full"), 1e-5)
    assert statement.with_tuning[0].epsilon == longer.guarantees[0].epsilon
    assert longer.with_tuning == ()
    held = {assumption.name for assumption in statement.assumptions if assumption.status == "held"}
    assert held == {"tuning runs are counted"}


@pytest.mark.parametrize("sampling", ["fixed", "shuffle"])
def test_sampling_without_an_account_is_violated(make_mechanism: Callable[..., Mechanism], sampling: str) -> None:
    statement = account_statement(make_mechanism(sampling=sampling), 1e-5)
    assert statement.assumptions[0].status == "violated"
    assert all(guarantee.epsilon is None for guarantee in statement.guarantees)
