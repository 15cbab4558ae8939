"""Fine-tuning on the data that a model was pre-trained on: found in the run's folder, composed, shown."""

from __future__ import annotations

import csv
import dataclasses
import shutil
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load_file

import dpaudit
from dpaudit.accounting.accountant import guarantees
from dpaudit.accounting.compose import ledger_event
from dpaudit.accounting.premises_of_data import pretraining
from dpaudit.errors import InputError
from dpaudit.mechanism import Mechanism
from dpaudit.pipeline.order import advance, open_audit, open_run
from dpaudit.pipeline.stages.earlier import earlier_trainings, other_roles, together
from dpaudit.pipeline.stages.executed import copies, executed_facts
from dpaudit.reports import headline
from dpaudit.results import AuditResult, EarlierTraining
from dpaudit.runs import read_json

if TYPE_CHECKING:
    from pathlib import Path

    from dpaudit.mechanism import Adjacency

RECIPE = """
name: tuned
data:
  name: digits
  limit: 400
  split: {{audit_pool: 60, probe_train: 80, probe_test: 60}}
trainer: {{name: fine-tune, encoder: {{name: {encoder}}}, peak_learning_rate: 0.5}}
start: {{weights: {weights}}}
privacy: {{epsilon: 4, delta: 1.0e-5, clip_norm: 1, batch_size: 32, steps: 5, tuning_runs: 1}}
canaries: {{block: 500}}
probes: [accuracy, linear]
"""


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory, tiny: tuple[str, ...]) -> Path:
    folder = tmp_path_factory.mktemp("earlier") / "first"
    return dpaudit.train("quickstart", out=folder, overrides=[*tiny, "canaries.block=500"])


def recipe(folder: Path, weights: Path, encoder: str = "vip") -> Path:
    path = folder / "tuned.yaml"
    path.write_text(RECIPE.format(weights=weights, encoder=encoder))
    return path


@pytest.fixture(scope="module")
def tuned(pretrained: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, AuditResult]:
    folder = tmp_path_factory.mktemp("tuned")
    weights = pretrained / "target-00" / "model.safetensors"
    return folder / "run", dpaudit.run(recipe(folder, weights), out=folder / "run")


def mechanism(adjacency: Adjacency = "add-remove", noise: float = 2.0, steps: int = 9) -> Mechanism:
    return Mechanism(
        sampling="full",
        adjacency=adjacency,
        noise_multiplier=noise,
        sampling_rate=1.0,
        steps=steps,
        clip_norm=1.0,
        batch_size=10,
        dataset_size=10,
    )


def earlier(made: Mechanism) -> EarlierTraining:
    return EarlierTraining(run="a/target-00", mechanism=made, steps=((1.0, made.noise_multiplier, made.steps),))


def test_two_gaussian_trainings_are_one_with_the_sum_of_their_precisions() -> None:
    first, second = mechanism(steps=9), mechanism(noise=4.0, steps=28)
    event = ledger_event([(1.0, 4.0)] * 28, second)
    found = together([earlier(first)], event, second, 1e-5)
    whole = guarantees(mechanism(noise=2.0, steps=9 + 7), 1e-5)  # 28 steps at 4 are 7 at 2
    assert [each.accountant for each in found] == ["PLD", "RDP", "PRV"]
    assert found[0].epsilon == pytest.approx(whole[0].epsilon, rel=1e-3)
    assert together([], event, second, 1e-5)[0].epsilon == guarantees(second, 1e-5)[0].epsilon


def test_a_pre_training_without_noise_leaves_no_promise() -> None:
    event = ledger_event([(1.0, 4.0)], mechanism(noise=4.0))
    found = together([earlier(mechanism(noise=0.0))], event, mechanism(noise=4.0), 1e-5)
    assert [each.epsilon for each in found] == [float("inf")] * 3


def test_two_notions_of_neighbours_do_not_compose() -> None:
    event = ledger_event([(1.0, 4.0)], mechanism())
    (answer,) = together([earlier(mechanism("replace-one"))], event, mechanism(), 1e-5)
    assert answer.epsilon is None
    assert "replace-one: composition needs one adjacency" in answer.note


def test_the_pre_training_is_found_composed_and_shown(tuned: tuple[Path, AuditResult], pretrained: Path) -> None:
    folder, result = tuned
    assert result.beginning is not None
    (first,) = result.beginning.earlier
    planned = Mechanism.model_validate(read_json(pretrained / "plan.json")["mechanism"])
    assert (first.run, first.mechanism) == ("first/target-00", planned)
    ((rate, noise, count),) = first.steps
    assert (rate, count) == (planned.sampling_rate, planned.steps)
    assert noise == pytest.approx(planned.noise_multiplier)
    own, whole, tuning = (
        next(each.epsilon for each in group if each.accountant == "PLD") or 0.0
        for group in (result.guarantees, result.with_pretraining, result.with_tuning)
    )
    assert own == pytest.approx(4, abs=0.01)
    assert max(own, 8) < whole < own + 8.05  # worse than either, better than the sum
    assert whole < tuning  # one tuning run more, the pre-training once
    said = headline.promised(result)
    assert float(said.value) == pytest.approx(whole, abs=0.01)
    assert any(line.endswith("this training alone, which was attacked: 4.00") for line in said.lines)
    assert "Together with pre-training on the same data" in (folder / "report.html").read_text(encoding="utf-8")
    with (folder / "tables" / "guarantees.csv").open(newline="", encoding="utf-8") as stream:
        marks = [(row["with_tuning"], row["with_pretraining"]) for row in csv.DictReader(stream)]
    assert marks == [("no", "no")] * 3 + [("no", "yes")] * 3 + [("yes", "yes")] * 3


def test_the_probes_read_logits_and_features(tuned: tuple[Path, AuditResult]) -> None:
    accuracy, linear = tuned[1].probes
    assert [each.features for each in accuracy.measurements] == ["trained", "pre-trained", "untrained"]
    assert [each.features for each in linear.measurements] == ["trained", "pre-trained", "untrained", "raw pixels"]
    assert linear.measurements[0].score == linear.measurements[1].score  # the encoder is frozen


def test_the_encoder_is_the_earlier_run_s_and_only_the_head_was_trained(
    tuned: tuple[Path, AuditResult], pretrained: Path
) -> None:
    given = load_file(pretrained / "target-00" / "model.safetensors")
    released = load_file(tuned[0] / "target-00" / "model.safetensors")
    assert set(released) == {f"encoder.{name}" for name in given} | {"head.weight", "head.bias"}
    assert all(torch.equal(released[f"encoder.{name}"], tensor) for name, tensor in given.items())
    assert released["head.weight"].any()


def test_a_wrong_declaration_is_told(tuned: tuple[Path, AuditResult]) -> None:
    audit = open_run(tuned[0])
    facts = executed_facts(audit, "target-00", copies(audit))
    status, evidence = pretraining(facts)
    assert (status, "both mechanisms are composed" in evidence) == ("held", True)
    declared = pretraining(dataclasses.replace(facts, initial_weights="public"))
    assert declared == ("violated", "declared public, but first/target-00 trained them on the same data")
    assert pretraining(dataclasses.replace(facts, initial_weights="private"))[0] == "held"


def test_a_run_that_was_fine_tuned_brings_its_own_past_along(tuned: tuple[Path, AuditResult]) -> None:
    folder, result = tuned
    fingerprint = read_json(folder / "audit.json")["data fingerprint"]
    found = earlier_trainings(folder / "target-00" / "model.safetensors", fingerprint)
    assert [each.run for each in found] == ["first/target-00", "run/target-00"]
    assert result.beginning is not None
    assert found[:1] == result.beginning.earlier
    assert found[1].mechanism == result.promise.mechanism


def test_held_out_records_that_were_trained_on_before_are_told(pretrained: Path, tmp_path: Path) -> None:
    weights = pretrained / "target-00" / "model.safetensors"
    same = open_audit(recipe(tmp_path, weights)).recipe
    assert other_roles(weights, same) == []
    changed = open_audit(recipe(tmp_path, weights), overrides=["seed=1", "data.split.probe_test=50"]).recipe
    assert other_roles(weights, changed) == ["data.split", "seed"]


def test_other_data_and_bare_files_are_no_earlier_training(pretrained: Path, tmp_path: Path) -> None:
    weights = pretrained / "target-00" / "model.safetensors"
    fingerprint = read_json(pretrained / "audit.json")["data fingerprint"]
    assert len(earlier_trainings(weights, fingerprint)) == 1
    assert earlier_trainings(weights, "other") == ()
    shutil.copy(weights, tmp_path / "model.safetensors")
    assert earlier_trainings(tmp_path / "model.safetensors", fingerprint) == ()


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("trainer.encoder.name=dp-cap", "start.weights = .*tensors of the trainer's model"),
        ("trainer.classes=9", "trainer.classes = 9: .*at least 10, the classes of the data"),
        ("trainer.encoder.size=huge", "encoder.size = 'huge'"),
        ("data.name=procedural", "data.name = 'procedural': .*data with labels: fine-tune learns from them"),
    ],
)
def test_what_cannot_be_fine_tuned_is_refused_before_anything_is_written(
    pretrained: Path, tmp_path: Path, override: str, expected: str
) -> None:
    path = recipe(tmp_path, pretrained / "target-00" / "model.safetensors")
    with pytest.raises(InputError, match=expected):
        advance(open_audit(path, out=tmp_path / "run", overrides=[override]), "plan")
    assert not (tmp_path / "run").exists()


def test_accuracy_needs_a_classifier(tmp_path: Path, tiny: tuple[str, ...]) -> None:
    audit = open_audit("quickstart", out=tmp_path / "run", overrides=[*tiny, "probes=[accuracy]"])
    with pytest.raises(InputError, match=r"probes.0.name = 'accuracy': .*this trainer does not classify"):
        advance(audit, "plan")
