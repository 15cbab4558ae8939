"""Real audits of several runs: plan, bound, verdict and report say the same of how the runs were judged together."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

import dpaudit
from dpaudit.bounds.joint.evidence import best_evidence
from dpaudit.pipeline.hypotheses import promise_curve
from dpaudit.pipeline.stages.attack import read_scores
from dpaudit.results import Plan
from dpaudit.runs import read_json
from dpaudit.scores import join
from dpaudit.seal import open_coins

if TYPE_CHECKING:
    from pathlib import Path

    from dpaudit.results import AuditResult, Bound

QUICK = ["probes=[]", "attacks=[audit_block]", "canaries.block=1000", "canaries.inputs.noise=0", "report.pictures=0"]
#: all data in each step: an ideal score is then Gaussian, and both signs of it are guessed
FULL = ["privacy.sampling=full", "privacy.batch_size=260", "privacy.steps=2"]


def audited(folder: Path, tiny: tuple[str, ...], *settings: str) -> tuple[AuditResult, Plan, Bound]:
    result = dpaudit.run("quickstart", out=folder, overrides=[*tiny, *QUICK, *settings])
    (written,) = read_json(folder / "plan.json")["plans"]
    (decided,) = [bound for bound in result.bounds if bound.decides]
    return result, Plan.model_validate(written), decided


def errors_by_hand(folder: Path, plan: Plan) -> list[int]:
    """Return the wrong guesses of each run: the surest scores against the coins, without the code of bounds."""
    found = []
    for run in range(plan.runs):
        name = f"target-{run:02d}"
        table, _ = read_scores(folder / "scores" / name / "audit_block.parquet")
        coins = open_coins(folder / name, read_json(folder / name / "manifest.json")["commitment"], "test")
        labelled = join(table, coins.members(table.family))
        ranked = labelled.member[np.argsort(labelled.scores)]
        wrong_in = int((~ranked[len(ranked) - plan.guesses_in :]).sum())
        found.append(wrong_in + int(ranked[: plan.guesses_out].sum()))
    return found


@pytest.mark.slow
def test_eight_runs_are_judged_by_the_product_that_was_planned(tmp_path: Path, tiny: tuple[str, ...]) -> None:
    result, plan, decided = audited(tmp_path / "run", tiny, *FULL, "runs.count=8")
    assert [each.model_copy(update={"hours": plan.hours}) for each in result.plans] == [plan]
    assert plan.error_rates is not None, "from so many runs on e-values are expected to certify more"
    assert "e-values are multiplied" in plan.note
    assert decided.note == "the e-values of 8 runs are multiplied"
    assert decided.counts.guesses == (plan.guesses_in + plan.guesses_out,) * 8
    wrong = errors_by_hand(tmp_path / "run", plan)
    assert list(decided.counts.correct) == [plan.guesses_in + plan.guesses_out - each for each in wrong]
    curve = promise_curve(result.promise)
    assert curve is not None
    evidence = best_evidence(plan.canaries, plan.guesses_in + plan.guesses_out, plan.error_rates[1], curve)
    assert evidence is not None
    product = math.prod(evidence.value(each, curve) for each in wrong)
    assert decided.p_value == pytest.approx(min(1.0, 1 / max(product, 1e-300)))
    assert result.verdict.word == "CONSISTENT"
    assert 0 < decided.epsilon <= 8, "the promise is kept, so at most 5 in 100 such audits exceed it"
    recursion = [bound for bound in result.bounds if (bound.method, bound.hypothesis) == ("one-run-fdp", "accountant")]
    assert decided.epsilon > recursion[0].epsilon
    page, summary = ((tmp_path / "run" / name).read_text() for name in ("report.html", "summary.md"))
    assert page.count("e-values of 8 runs are multiplied") >= 1
    assert page.count("e-values are multiplied") >= 1
    assert f"≥ {math.floor(decided.epsilon * 100) / 100:.2f}" in summary


@pytest.mark.slow
def test_one_run_is_judged_by_the_rank_groups_that_were_planned(tmp_path: Path, tiny: tuple[str, ...]) -> None:
    result, plan, decided = audited(tmp_path / "run", tiny, *FULL)
    assert plan.surest is not None
    assert plan.expected_epsilon > plan.by_recursion["gaussian"] * 1.05
    assert "two rank groups" in plan.note
    assert f"counts {plan.surest.weight}" in decided.strategy
    assert "two rank groups" in decided.note
    assert [plan.guesses_in + plan.guesses_out - each for each in errors_by_hand(tmp_path / "run", plan)] == [
        *decided.counts.correct
    ]
    assert decided.p_value is not None
    assert decided.p_value > 0.001
    assert result.verdict.word in ("CONSISTENT", "VIOLATED"), "5 in 100 such audits err"


@pytest.mark.slow
def test_four_runs_of_which_each_must_refute(tmp_path: Path, tiny: tuple[str, ...]) -> None:
    _, plan, decided = audited(tmp_path / "run", tiny, *FULL, "runs.count=4")
    assert plan.error_rates is None, "with four runs the exact count of the worst certifies no less"
    assert decided.note == ""
    wrong = errors_by_hand(tmp_path / "run", plan)
    assert list(decided.counts.correct) == [plan.guesses_in + plan.guesses_out - each for each in wrong]
    assert decided.p_value is not None
    assert decided.p_value > 0.05
