"""Folders of experiments in LiRA's layout: read, written, attacked."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy import stats
from typer.testing import CliRunner

from dpaudit.calls.own_experiments import export_experiments, score_experiments
from dpaudit.cli.app import application
from dpaudit.data.examples import Examples
from dpaudit.errors import DpauditError, InputError
from dpaudit.metrics import auc
from dpaudit.pipeline.order import advance
from dpaudit.references.experiments import Experiments, holds_experiments, read_experiments, write_experiments
from dpaudit.references.recorded import recorded_view

if TYPE_CHECKING:
    from pathlib import Path

    from tests.references.conftest import Opened


def simulated(models: int = 16, records: int = 300, draws: int = 2) -> Experiments:
    generator = np.random.default_rng(0)
    keep = generator.random((models, records)) < 0.5
    difficulty = 3 * generator.normal(size=records)
    noise = generator.normal(size=(models, draws, records))
    return Experiments(keep=keep, scores=difficulty + 1.5 * keep[:, None, :] + noise)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    experiments = simulated(12)
    write_experiments(tmp_path, experiments)
    assert holds_experiments(tmp_path)
    assert np.load(tmp_path / "experiment-3_12/scores/0000000000.npy").shape == (300, 1, 2)
    found = read_experiments(tmp_path)  # experiment-10_12 comes after experiment-9_12
    np.testing.assert_array_equal(found.keep, experiments.keep)
    np.testing.assert_array_equal(found.scores, experiments.scores)


def test_logits_become_scores(tmp_path: Path) -> None:
    logits = np.array([[1.0, 2.0, -3.0], [-1.0, 1.0, 0.0]])[:, None, None, :]  # the published vector
    np.save(tmp_path / "y_train.npy", np.array([1, 2, 0]))
    for index in range(2):
        run = tmp_path / f"experiment-{index}_2"
        (run / "logits").mkdir(parents=True)
        np.save(run / "keep.npy", np.array([True, False]))
        np.save(run / "logits/0000000010.npy", logits * 0)
        np.save(run / "logits/0000000100.npy", logits)
    np.testing.assert_allclose(read_experiments(tmp_path).scores, [[[0.98185009, -1.12692802]]] * 2, atol=1e-8)


@pytest.mark.parametrize("target", [0, 7])
def test_an_attack_reads_them_as_its_twin_would(tmp_path: Path, target: int) -> None:
    experiments = simulated()
    write_experiments(tmp_path, experiments)
    found = score_experiments(tmp_path, "lira", {"variance": "each", "draws": 2}, target=target)
    np.testing.assert_array_equal(found.member, experiments.keep[target])
    others = np.arange(16) != target
    for row in range(0, 300, 50):
        inside = experiments.keep[others, row]
        scores = []
        for draw in range(2):
            values, at = experiments.scores[others, draw, row], experiments.scores[target, draw, row]
            normal = [stats.norm(np.median(side), side.std()) for side in (values[inside], values[~inside])]
            scores.append(normal[0].logpdf(at) - normal[1].logpdf(at))
        assert found.scores[row] == pytest.approx(np.mean(scores), rel=1e-8)
    assert auc(score_experiments(tmp_path, "lira", target=target)).value > 0.7


def test_the_verb_scores_and_bound_reads_that(tmp_path: Path) -> None:
    write_experiments(tmp_path, simulated())
    run = CliRunner().invoke
    answer = run(application(), ["attack", str(tmp_path), "--attack", "lira", "--target", "3", "--json"])
    assert answer.exit_code == 0
    told = json.loads(answer.stdout)
    assert told["auc"]["value"] > 0.7
    bounds = run(application(), ["bound", told["scores"], "--delta", "1e-5", "--json"])
    assert bounds.exit_code == 0


@pytest.mark.usefixtures("pool")
def test_the_references_of_a_run_are_written_as_experiments(opened: Opened, tmp_path: Path) -> None:
    audit = opened("references.count=6", "trainer.width=32", "privacy.steps=40")
    advance(audit, "train")
    assert len(export_experiments(audit.path, tmp_path / "experiments")) == 6
    found = read_experiments(tmp_path / "experiments")
    assert (found.keep.sum(axis=0) == 3).all()
    assert found.scores.shape == (6, 1, 90)
    means = [found.scores[:, 0][keep].mean() for keep in (found.keep, ~found.keep)]
    assert means[0] > means[1]


def test_wrong_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="experiment-0_M"):
        read_experiments(tmp_path)
    write_experiments(tmp_path, simulated(3))
    with pytest.raises(InputError, match="experiments = 3: expected at least 5"):
        score_experiments(tmp_path)
    with pytest.raises(InputError, match="no population"):
        score_experiments(tmp_path, "rmia")
    with pytest.raises(InputError, match="--target = 3: expected the number of an experiment, 0 to 2"):
        score_experiments(tmp_path, "reference_difference", target=3)
    with pytest.raises(InputError, match="in at most 2 draws"):
        score_experiments(tmp_path, "reference_difference", {"draws": 3})
    with pytest.raises(DpauditError, match="cannot say embed"):
        recorded_view(simulated(), 0).target.embed(Examples(ids=np.array([]), images=np.zeros((0, 3, 1, 1), np.uint8)))
    np.save(tmp_path / "experiment-1_3/keep.npy", np.array([{"a": 1}], dtype=object))
    with pytest.raises(InputError, match=r"keep\.npy.*plain array"):
        read_experiments(tmp_path)
    np.save(tmp_path / "experiment-1_3/keep.npy", np.ones(7, dtype=bool))
    with pytest.raises(InputError, match=r"\(7,\).*the same records"):
        read_experiments(tmp_path)
