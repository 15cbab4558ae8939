"""Audits of trainers that couple records: their noise, their promise, what replay and the step audit find of them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy import stats

import dpaudit
from dpaudit.dp.ledger import read_ledger
from dpaudit.dp.step import DpStep
from dpaudit.errors import DpauditError, InputError
from dpaudit.pipeline.hypotheses import step_family
from dpaudit.pipeline.order import advance, open_audit
from dpaudit.pipeline.promises import Stated, stated_promise, step_promise
from dpaudit.pipeline.stages.account import account_audit, read_account
from dpaudit.training.sensitivity import SENSITIVITY_REPLAYED, WORST_CASE_REPLAYED

if TYPE_CHECKING:
    from dpaudit.dp.step import Release
    from dpaudit.pipeline.audit import Audit

RECIPE = """
name: whole
data: {name: digits, limit: 200, split: {audit_pool: 20, probe_train: 20}}
trainer: {name: './whole.py:Whole'}
privacy: {noise_multiplier: 1, delta: 1.0e-5, clip_norm: 0.5, batch_size: 45, steps: 8, tuning_runs: 0}
runs: {checkpoint_every: 500}
attacks: []
bounds: {decide: []}
"""
STEPS = ("canaries.steps=worst-case", "attacks=[step_audit]", "bounds.decide=[{attack: step_audit}]")
HALF = 'trainer={name: "./whole.py:Whole", says: 1.0}'


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "whole.py").write_text(Path(__file__).with_name("whole_batch_trainer.py").read_text())
    (tmp_path / "recipe.yaml").write_text(RECIPE)


def trained(*settings: str) -> Audit:
    audit = open_audit("recipe.yaml", out="run", overrides=settings)
    advance(audit, "train")
    account_audit(audit)
    return audit


def premises(audit: Audit) -> dict[str, tuple[str, bool]]:
    return {each.name: (each.status, each.certified) for each in read_account(audit).assumptions}


def manifest(audit: Audit) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((audit.path / "target-00" / "manifest.json").read_text())
    return found


@pytest.mark.parametrize(
    ("settings", "unit"),
    [
        ((), 1.0),
        ((HALF,), 0.5),
        (("privacy.adjacency=replace-one",), 1.0),
        (("privacy.adjacency=replace-one", "privacy.sampling=fixed"), 0.5),
    ],
)
def test_noise_is_as_declared_and_earns_what_was_planned(settings: tuple[str, ...], unit: float) -> None:
    audit = trained("privacy.noise_multiplier=1.5", "privacy.steps=12", *settings)
    declared = 0.5 if HALF in settings else 1.0
    assert manifest(audit)["sensitivity"] == dict.fromkeys(("add-remove", "replace-one", "zero-out"), declared)
    rows = read_ledger(audit.path / "target-00" / "ledger.jsonl")
    total, count = sum(row.noise_sum_of_squares for row in rows), sum(row.noise_count for row in rows)
    assert 1e-3 < stats.chi2.cdf(total / (1.5 * unit) ** 2, count) < 1 - 1e-3
    promised = audit.planned.promise.epsilon
    answers = [answer.epsilon for answer in read_account(audit).guarantees if answer.epsilon is not None]
    assert min(answers) == pytest.approx(promised, rel=2e-3)
    found = premises(audit)
    assert found["noise scale in the ledger"] == found["noise scale measured"] == ("held", False)


def test_epsilon_is_calibrated_as_for_any_other_trainer() -> None:
    audit = trained("privacy.epsilon=4", "privacy.steps=4")
    answers = {answer.accountant: answer.epsilon for answer in read_account(audit).guarantees}
    assert answers["PLD"] == pytest.approx(4, abs=0.02)


def test_a_sound_one_breaks_no_premise() -> None:
    found = premises(trained())
    assert {status for status, _ in found.values()} == {"held", "unknown"}
    assert [name for name, (status, _) in found.items() if status == "unknown"] == ["sensitivity respected"]
    assert found[SENSITIVITY_REPLAYED][0] == found[WORST_CASE_REPLAYED][0] == "held"


def test_one_that_declares_half_is_proved_wrong_before_step_one() -> None:
    found = premises(trained(HALF, "privacy.steps=2"))
    assert found[SENSITIVITY_REPLAYED] == found[WORST_CASE_REPLAYED] == ("violated", True)
    assert found["sensitivity respected"] == ("unknown", False)


def test_one_that_says_that_it_is_unsound_is() -> None:
    audit = trained('trainer={name: "./whole.py:Whole", honest: false}', "privacy.steps=2")
    said = {each.name: each for each in read_account(audit).assumptions}["sensitivity respected"]
    assert (said.status, said.certified) == ("violated", False)
    assert "moves by 2 C, not by C" in said.evidence


def test_without_a_promise_nothing_is_clipped_and_no_coin_is_tossed() -> None:
    result = dpaudit.run("recipe.yaml", out="run", overrides=("privacy.epsilon=inf", "privacy.steps=3", *STEPS))
    rows = read_ledger(Path("run/target-00/ledger.jsonl"))
    assert {(row.noise_std, row.clip_norm, row.noise_sum_of_squares) for row in rows} == {(0.0, math.inf, 0.0)}
    assert all(row.loss is not None for row in rows)
    assert "steps" not in json.loads(Path("run/target-00/manifest.json").read_text())["candidates"]
    assert any("step_audit" in line for line in result.missing)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (("privacy.augmentations=2",), "privacy.augmentations = 2"),
        (("privacy.engine=loop",), "privacy.engine = 'loop'"),
        (("privacy.clipping=auto-s",), "privacy.clipping = 'auto-s'"),
        (("canaries.coordinates=1",), "canaries.coordinates = 1: expected 0: this trainer bounds a whole batch"),
        (("attacks=[audit_block]",), "attacks.0.name = 'audit_block': expected another attack: this trainer bounds"),
        (("attacks=[step_audit]",), "expected a run with candidates of steps or step_records"),
        (
            (*STEPS, "privacy.claimed_epsilon=3"),
            "bounds.decide.0.attack = 'step_audit': expected an attack on the whole run",
        ),
        (
            ("trainer={name: supervised, classes: 10, image_size: 8}", "canaries.steps=worst-case"),
            "canaries.steps = 'worst-case': expected record",
        ),
    ],
)
def test_what_has_no_meaning_is_refused_in_one_line(settings: tuple[str, ...], words: str) -> None:
    with pytest.raises((InputError, DpauditError)) as refusal:
        trained(*settings)
    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert not Path("run").exists()


def test_several_processes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Two:
        rank, size = 0, 2

    monkeypatch.setattr("dpaudit.training.train.current", Two)
    with pytest.raises(InputError, match="2: expected 1: this trainer sees each batch as a whole"):
        trained()


def test_attackers_are_told_a_loss_per_record() -> None:
    settings = ("attacks=[loss]", "privacy.steps=3", "probes=[]")
    audit = open_audit("recipe.yaml", out="run", overrides=settings)
    advance(audit, "attack")
    assert (audit.path / "scores" / "target-00" / "loss.parquet").is_file()


@pytest.mark.parametrize(("adjacency", "mu"), [("add-remove", 0.5), ("zero-out", 0.5), ("replace-one", 1.0)])
def test_the_promise_of_a_step_is_a_gaussian_at_the_declared_distance(adjacency: Any, mu: float) -> None:
    stated = Stated(noise_multiplier=2, batch_size=10, dataset_size=100, steps=50, delta=1e-5, adjacency=adjacency)
    promise = stated_promise(stated)
    step = step_promise(promise)
    assert 1 / step.mechanism.noise_multiplier == mu
    family = step_family(step.mechanism, promise.mechanism, 1e-5)
    assert family.curve(2.0).mu == mu
    assert family.epsilon(2.0) == pytest.approx(promise.epsilon, rel=0.01)
    assert family.epsilon(1.0) > 1.5 * family.epsilon(2.0)


def test_a_run_that_was_stopped_goes_on_bit_for_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = ("reproducible=true", "runs.checkpoint_every=3", "canaries.steps=worst-case")
    straight, stopped = (open_audit("recipe.yaml", out=out, overrides=settings) for out in ("straight", "stopped"))
    advance(straight, "train")
    call = DpStep.__call__

    def until_five(self: DpStep, step: int, *rest: Any) -> Release:
        if step == 5:
            raise KeyboardInterrupt
        return call(self, step, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(DpStep, "__call__", until_five)
        with pytest.raises(KeyboardInterrupt):
            advance(stopped, "train")
    advance(stopped, "train")
    for name in ("model.safetensors", "ledger.jsonl", "trace/steps/steps-000000000.npy"):
        one, other = ((audit.path / "target-00" / name).read_bytes() for audit in (straight, stopped))
        assert one == other, name
    assert np.load(straight.path / "target-00" / "trace" / "steps" / "steps-000000000.npy").shape == (8, 2)


@pytest.mark.parametrize("kind", ["worst-case", "record"])
def test_a_sound_one_survives_the_step_audit(kind: str) -> None:
    settings = ("privacy.steps=300", *STEPS, f"canaries.steps={kind}")
    result = dpaudit.run("recipe.yaml", out="run", overrides=(*settings, "reproducible=true"))
    decides = next(bound for bound in result.bounds if bound.decides)
    assert decides.one_step
    assert decides.p_value is not None
    assert decides.p_value > 0.05
    assert decides.threat is not None
    assert str(decides.threat) == f"all steps, inserts {'gradients' if kind == 'worst-case' else 'inputs'}"
    assert decides.note is not None
    assert decides.note.endswith("epsilon is that of 300 steps whose noise is what it does not refute")
    assert decides.counts.canaries == (300,)
    assert result.runs[0].facts[f"candidates of {'steps' if kind == 'worst-case' else 'step_records'}"] == 300


@pytest.mark.slow
def test_the_step_audit_refutes_one_that_declares_half_and_not_the_sound_one() -> None:
    for says, word in ((2.0, "CONSISTENT"), (1.0, "VIOLATED")):
        trainer = f'trainer={{name: "./whole.py:Whole", says: {says}}}'
        settings = (trainer, "privacy.steps=2000", "privacy.batch_size=8", *STEPS)
        result = dpaudit.run("recipe.yaml", out=f"run-{says}", overrides=settings)
        assert result.plans[0].power > 0.9
        assert result.verdict.word == word, result.verdict
        bound = next(bound for bound in result.bounds if bound.decides)
        assert (bound.p_value or 0.0) <= 0.05 if says == 1 else (bound.p_value or 0.0) > 0.05
        assert np.isfinite(bound.epsilon)
        if says == 1:
            assert bound.epsilon > result.promise.epsilon
            assert "single training steps" in result.verdict.sentence
