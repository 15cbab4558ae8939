"""A gate passes only what meets every condition, and says of each what it found."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

import dpaudit
from dpaudit.cli.app import application
from dpaudit.conditions import Gate
from dpaudit.errors import DamagedRunError, FalsifiedError, InputError
from dpaudit.mechanism import Mechanism
from dpaudit.results import (
    Assumption,
    AuditResult,
    Bound,
    Counts,
    Guarantee,
    Interval,
    Measurement,
    ProbeResult,
    Promise,
    Verdict,
)
from dpaudit.runs import RunFolder

if TYPE_CHECKING:
    from pathlib import Path


def result(**changes: Any) -> AuditResult:
    mechanism = Mechanism(
        sampling="poisson",
        adjacency="add-remove",
        noise_multiplier=1.0,
        sampling_rate=0.1,
        steps=10,
        clip_norm=1.0,
        batch_size=10,
        dataset_size=100,
    )
    facts: dict[str, Any] = {
        "name": "a",
        "title": "A",
        "dpaudit_version": "0",
        "recipe": {},
        "environment": {},
        "system": "vip",
        "promise": Promise(kind="accountant", epsilon=3.9, delta=1e-5, mechanism=mechanism),
        "guarantees": (guarantee(3.95),),
        "assumptions": (
            Assumption(name="sampling", status="held", evidence="drawn"),
            Assumption(name="tuning", status="unknown", evidence="not said"),
        ),
        "runs": (),
        "attacks": (),
        "bounds": (bound(2.0, "certified"), bound(3.5, "under_independence")),
        "plans": (),
        "probes": (probe("linear", 0.6), probe("linear", 0.55)),
        "pictures": (),
        "verdict": Verdict(word="CONSISTENT", sentence="It survived."),
    }
    return AuditResult(**(facts | changes))


def guarantee(epsilon: float | None, **facts: Any) -> Guarantee:
    return Guarantee(accountant="PLD", epsilon=epsilon, delta=1e-5, adjacency="add-remove", **facts)


def bound(epsilon: float, kind: Any) -> Bound:
    return Bound(
        method="m",
        hypothesis="any",
        guarantee=kind,
        epsilon=epsilon,
        delta=1e-5,
        confidence=0.95,
        strategy="fixed",
        counts=Counts(canaries=(10,)),
        attack="block",
    )


def probe(name: str, low: float) -> ProbeResult:
    scores = (
        Measurement(features="untrained", score=Interval(value=0.1, low=0.0, high=0.2)),
        Measurement(features="trained", score=Interval(value=low + 0.1, low=low, high=low + 0.2)),
    )
    return ProbeResult(probe=name, run="target-00", metric="accuracy", measurements=scores, train_size=9, test_size=9)


def failed(gate: Gate, found: AuditResult) -> list[str]:
    return [condition.name for condition in gate.judge(found) if not condition.met]


@pytest.mark.parametrize(
    ("gate", "expected"),
    [
        (Gate(), []),
        (Gate(max_lower_bound=2.0), []),
        (Gate(max_lower_bound=1.99), ["no certified lower bound above 1.99"]),
        (Gate(max_epsilon=3.95), []),
        (Gate(max_epsilon=3.92), ["promised epsilon at most 3.92"]),
        (Gate(require_assumptions=True), ["every premise held"]),
        (Gate(require_assumptions=True, allow_unknown=("tuning",)), []),
        (Gate(min_score=(("linear", 0.55),)), []),
        (Gate(min_score=(("linear", 0.56),)), ["linear at least 0.56"]),
    ],
)
def test_each_condition_decides_by_its_own_number(gate: Gate, expected: list[str]) -> None:
    assert failed(gate, result()) == expected


def test_tuning_and_earlier_trainings_are_paid_for() -> None:
    assert failed(Gate(max_epsilon=4), result(with_pretraining=(guarantee(4.5),)))
    assert failed(Gate(max_epsilon=5), result(with_pretraining=(guarantee(4.5),), with_tuning=(guarantee(5.5),)))
    assert not failed(Gate(max_epsilon=6), result(with_tuning=(guarantee(5.5),)))


def test_an_epsilon_that_no_accountant_can_state_is_infinite() -> None:
    assert failed(Gate(max_epsilon=100), result(guarantees=(guarantee(None),)))
    assert failed(Gate(max_epsilon=100), result(guarantees=(guarantee(5.0, exceeds=True),)))


@pytest.mark.parametrize("word", ["VIOLATED", "UNSOUND", "INCONCLUSIVE"])
def test_only_a_consistent_audit_passes(word: Any) -> None:
    found = result(verdict=Verdict(word=word, sentence="No."))
    assert failed(Gate(), found) == ["verdict CONSISTENT"]
    assert bool(failed(Gate(allow_inconclusive=True), found)) == (word != "INCONCLUSIVE")


def test_no_promise_is_no_pass() -> None:
    promise = result().promise.model_copy(update={"kind": "none", "epsilon": float("inf")})
    assert failed(Gate(), result(promise=promise)) == ["a promise was made"]


def test_without_a_certified_bound_nothing_is_bounded() -> None:
    found = result(bounds=(bound(0.5, "under_independence"),))
    assert failed(Gate(max_lower_bound=9), found) == ["no certified lower bound above 9"]


def test_a_violated_premise_cannot_be_allowed() -> None:
    premises = (Assumption(name="tuning", status="violated", evidence="seen"),)
    gate = Gate(require_assumptions=True, allow_unknown=("tuning",))
    assert failed(gate, result(assumptions=premises)) == ["every premise held"]


@pytest.mark.parametrize(
    ("gate", "message"),
    [
        (lambda: Gate(max_lower_bound=float("nan")), r"max_lower_bound = nan: expected a number of at least 0"),
        (lambda: Gate(allow_unknown=("x",)), r"allow_unknown = 'x': expected nothing without require_assumptions"),
        (
            lambda: Gate(require_assumptions=True, allow_unknown=("x",)).judge(result()),
            r"allow_unknown = 'x': expected a premise of this audit: sampling, tuning",
        ),
        (lambda: Gate(min_score=(("knn", 0.1),)).judge(result()), r"min_score = 'knn': expected a probe .*: linear"),
    ],
)
def test_bad_conditions_are_refused_in_one_line(gate: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        gate()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "results.json").write_text(result().model_dump_json())
    RunFolder(tmp_path).finish("report", "key", [tmp_path / "results.json"])
    return tmp_path


def test_the_verb_prints_every_condition_and_fails_as_a_falsified_claim(folder: Path) -> None:
    run = CliRunner().invoke(application("gate"), ["gate", str(folder), "--max-lower-bound", "1", "--json"])
    assert isinstance(run.exception, FalsifiedError)
    assert run.exception.exit_code == 3
    found = json.loads(run.stdout)
    assert found["passed"] is False
    assert [each["met"] for each in found["conditions"]] == [True, True, False]
    assert "epsilon at least 2.000" in found["conditions"][2]["finding"]
    assert CliRunner().invoke(application("gate"), ["gate", str(folder)]).exit_code == 0


def test_edited_results_are_not_judged(folder: Path) -> None:
    (folder / "results.json").write_text(result(bounds=(bound(0.0, "certified"),)).model_dump_json())
    with pytest.raises(DamagedRunError, match=r"results\.json"):
        dpaudit.gate(folder, Gate())
    with pytest.raises(InputError, match="has finished"):
        dpaudit.gate(folder / "no", Gate())
