"""Mechanisms and results: what is impossible is refused, and JSON keeps every number."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from dpaudit.mechanism import Mechanism
from dpaudit.reports.files import write_report
from dpaudit.results import (
    Assumption,
    AttackResult,
    AuditResult,
    Bound,
    Counts,
    Guarantee,
    Interval,
    Measurement,
    Picture,
    Plan,
    ProbeResult,
    Promise,
    RunSummary,
    Series,
    Threat,
    Verdict,
)
from dpaudit.scores import ThreatModel

if TYPE_CHECKING:
    from pathlib import Path

MECHANISM = Mechanism(
    sampling="poisson",
    adjacency="add-remove",
    noise_multiplier=1.5,
    sampling_rate=0.1,
    steps=10,
    clip_norm=0.5,
    batch_size=100,
    dataset_size=1000,
)


@pytest.mark.parametrize(
    "change",
    [
        {"noise_multiplier": -0.1},
        {"noise_multiplier": math.nan},
        {"sampling_rate": 0.0},
        {"sampling_rate": 1.1},
        {"steps": -1},
        {"clip_norm": 0.0},
        {"batch_size": 0},
        {"dataset_size": 0},
        {"sampling": "bernoulli"},
        {"adjacency": "swap"},
        {"colour": "red"},
    ],
    ids=str,
)
def test_impossible_mechanisms_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        Mechanism(**{**MECHANISM.model_dump(), **change})
    assert [error["loc"] for error in caught.value.errors()] == [(next(iter(change)),)]


@pytest.mark.parametrize(
    ("noise", "clip", "private"),
    [(1.0, 1.0, True), (math.inf, 1.0, True), (0.0, 1.0, False), (1.0, math.inf, False), (0.0, math.inf, False)],
)
def test_a_mechanism_is_private_when_it_clips_and_adds_noise(noise: float, clip: float, private: bool) -> None:
    mechanism = MECHANISM.model_copy(update={"noise_multiplier": noise, "clip_norm": clip})
    assert mechanism.is_private is private
    assert Mechanism.model_validate_json(mechanism.model_dump_json()) == mechanism


def audit_result() -> AuditResult:
    """Return a result with every part filled in, infinities and nulls where they may stand."""
    line = Series(name="curve", x=(0.0, 1e-5, 1.0), y=(1.0, 0.5, 0.0))
    interval = Interval(value=0.5, low=0.4, high=0.6)
    threat = Threat(access="all steps", inserts="gradients")
    counts = Counts(canaries=(100,), guesses=(10,), correct=(9,), guesses_in=(5,), guesses_out=(5,))
    mechanism = MECHANISM.model_copy(update={"noise_multiplier": math.inf, "clip_norm": math.inf})
    return AuditResult(
        name="quickstart",
        title="Quickstart",
        dpaudit_version="0.1.0",
        recipe={"name": "quickstart", "attacks": [{"name": "loss", "lr": 1e-5}], "title": None},
        environment={"python": "3.11"},
        system="vip",
        promise=Promise(kind="none", epsilon=math.inf, delta=1e-5, mechanism=mechanism, curve=line),
        guarantees=(
            Guarantee(accountant="PLD", epsilon=math.inf, delta=1e-5, adjacency="add-remove", exceeds=True),
            Guarantee(accountant="RDP", epsilon=None, delta=1e-5, adjacency="add-remove", note="no sound answer"),
        ),
        assumptions=(Assumption(name="noise is secret", status="violated", evidence="seeded"),),
        runs=(
            RunSummary(
                name="target-00",
                role="target",
                parameters=10,
                steps=10,
                seconds=1.5,
                commitment="ab",
                openings=1,
                curves=(line,),
                facts={"a": 1, "b": 0.1, "c": "x"},
            ),
        ),
        attacks=(
            AttackResult(
                attack="loss",
                run="target-00",
                family="pool",
                threat=threat,
                candidates=100,
                members=50,
                auc=interval,
                balanced_accuracy=interval,
                tpr_at_fpr={"0.1": interval, "0": interval},
                roc=line,
                histogram_in=line,
                histogram_out=line,
                coin_blindness_p=0.5,
            ),
        ),
        bounds=(
            Bound(
                method="one-run-fdp",
                hypothesis="accountant",
                guarantee="certified",
                epsilon=math.inf,
                delta=1e-5,
                confidence=0.95,
                strategy="planned",
                counts=counts,
                parameter=0.1 + 0.2,
                p_value=5e-324,
                threat=threat,
            ),
        ),
        plans=(
            Plan(
                attack="audit_block",
                method="one-run-fdp",
                canaries=100,
                runs=1,
                guesses_in=5,
                guesses_out=5,
                expected_epsilon=1.0,
                power=0.9,
                largest_epsilon=math.inf,
            ),
        ),
        probes=(
            ProbeResult(
                probe="linear",
                run="target-00",
                metric="accuracy",
                measurements=(Measurement(features="trained", score=interval),),
                train_size=10,
                test_size=10,
                detail={"c": 0.1},
            ),
        ),
        pictures=(Picture(file="a.png", title="A", alt="an a"),),
        verdict=Verdict(word="UNSOUND", sentence="No number is promised.", reasons=("seeded",)),
        commands=("dpaudit run quickstart",),
        missing=("PRV",),
    )


def test_results_come_back_from_json_exactly_infinities_included() -> None:
    result = audit_result()
    text = result.model_dump_json()
    assert '"Infinity"' in text
    assert "NaN" not in text
    again = AuditResult.model_validate_json(text)
    assert again == result
    assert again.model_dump_json() == text
    assert again.bounds[0].parameter == 0.1 + 0.2
    assert again.guarantees[1].epsilon is None


def test_results_refuse_unknown_fields_and_another_schema() -> None:
    fields = audit_result().model_dump()
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        AuditResult.model_validate({**fields, "extra": 1})
    with pytest.raises(ValidationError, match="schema_version"):
        AuditResult.model_validate({**fields, "schema_version": 2})


def test_results_are_frozen() -> None:
    result = audit_result()
    with pytest.raises(ValidationError, match="frozen"):
        result.name = "other"  # type: ignore[misc]  # the refusal is the point


@pytest.mark.parametrize("epsilon", [-0.1, math.nan])
def test_a_bound_below_zero_is_refused(epsilon: float) -> None:
    fields = audit_result().bounds[0].model_dump()
    with pytest.raises(ValidationError, match="epsilon"):
        Bound.model_validate({**fields, "epsilon": epsilon})


def test_threat_models_read_alike_in_scores_and_results() -> None:
    assert (
        str(ThreatModel(access="outputs", inserts="inputs"))
        == str(Threat(access="outputs", inserts="inputs"))
        == "outputs, inserts inputs"
    )


def test_only_an_estimate_may_lack_a_confidence() -> None:
    facts = {
        "method": "m",
        "hypothesis": "any",
        "epsilon": 1.0,
        "delta": 0.0,
        "strategy": "",
        "counts": {"canaries": []},
    }
    assert Bound.model_validate(facts | {"guarantee": "estimate", "confidence": None}).level == 1.0
    assert Bound.model_validate(facts | {"guarantee": "certified", "confidence": 0.9}).level == pytest.approx(0.1)
    for guarantee in ("certified", "under_independence"):
        with pytest.raises(ValidationError, match="needs a confidence"):
            Bound.model_validate(facts | {"guarantee": guarantee, "confidence": None})


def test_results_of_before_are_read(tmp_path: Path) -> None:
    """What was added since the first schema has a default, so a results.json of then is still a report."""
    fields = audit_result().model_dump(mode="json")
    added = {
        "": ("spent", "exposed", "partial", "more_runs", "with_pretraining", "beginning"),
        "attacks": ("roc_low", "roc_high", "measured"),
        "assumptions": ("public",),
        "bounds": ("one_step",),
        "plans": ("expected", "largest", "hours"),
        "pictures": ("said",),
    }
    for part, names in added.items():
        for item in [fields] if not part else fields[part]:
            for name in names:
                del item[name]
    del fields["promise"]["run"]
    again = AuditResult.model_validate(fields)
    assert again == audit_result()
    written = write_report(again, tmp_path, tmp_path, public=False)
    assert all(path.stat().st_size for path in written)
