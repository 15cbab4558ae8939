"""Attacks that a run cannot be asked are refused before training; a control that knows the coins stops the audit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import dpaudit
from dpaudit.errors import DpauditError, InputError
from dpaudit.pipeline.order import advance, explore, open_audit
from dpaudit.runs import read_json

if TYPE_CHECKING:
    from pathlib import Path

SMALL = (
    "name=small",
    "privacy.steps=2",
    "privacy.batch_size=16",
    "data.limit=260",
    "data.split.audit_pool=60",
    "data.split.probe_train=50",
    "data.split.probe_test=40",
    "canaries.block=200",
    "canaries.inputs.noise=0",
    "report.pictures=0",
    "probes=[]",
    "bounds.decide=[]",
)

#: scores by the coins themselves: `reproducible` draws them from the seed
ORACLE = """
from __future__ import annotations
from dataclasses import dataclass
import numpy as np
from dpaudit.plugins import Needs
from dpaudit.rng import Rng

@dataclass(frozen=True, kw_only=True)
class Oracle:
    sees_model: bool

    @property
    def needs(self):
        return Needs(access="outputs", families=("pool",), sees_model=self.sees_model)

    def score(self, view):
        count = len(view.candidates.ids)
        raw = Rng.from_seed(0).child("not secret", "target-00").child("coins", "pool").numpy().bytes((count + 7) // 8)
        return np.unpackbits(np.frombuffer(raw, dtype=np.uint8), count=count).astype(np.float64)

@dataclass(frozen=True, kw_only=True)
class Peeks:
    @property
    def needs(self):
        return Needs(access="outputs", families=("pool",), sees_model=False)

    def score(self, view):
        return view.target.signal("loss", view.candidates.records, view.rng)
"""


@pytest.mark.parametrize(
    ("attack", "settings", "message"),
    [
        ("clip_cosine", (), r"attacks\.0\.name = 'clip_cosine': expected .* vip offers: this one needs EmbedsText"),
        ("entropy", (), r"attacks\.0\.name = 'entropy': expected .* vip offers: this one needs Classifies"),
        ("min_k", (), r"'min_k': expected .* needs CaptionLikelihood"),
        ("loss", ("data.split.audit_pool=1",), r"two candidates or more: this run has one, of family pool"),
        ("embedding_norm", ("data.split.probe_train=10",), r"probe_train = 10: expected at least 20: embedding_norm"),
    ],
)
def test_what_a_run_lacks_is_said_before_anything_is_written(
    attack: str, settings: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    audit = open_audit("quickstart", out=tmp_path / "run", overrides=(*SMALL, f"attacks=[{attack}]", *settings))
    with pytest.raises(InputError, match=message) as refused:
        advance(audit, "plan")
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "run" / "plan.json").exists()


def test_an_attack_that_reads_labels_is_refused_without_them(tmp_path: Path) -> None:
    settings = (
        *SMALL[:-2],
        "probes=[]",
        "bounds.decide=[]",
        "data.name=procedural",
        "data.size=300",
        "data.limit=null",
    )
    audit = open_audit("quickstart", out=tmp_path / "run", overrides=(*settings, "attacks=[deja_vu]"))
    with pytest.raises(InputError, match="reads a label, the data set procedural has none"):
        advance(audit, "plan")


def test_an_attack_that_comes_later_is_refused_too_and_leaves_no_trace(tmp_path: Path) -> None:
    audit = open_audit("quickstart", out=tmp_path / "run", overrides=(*SMALL, "attacks=[blind]"))
    advance(audit, "plan")
    with pytest.raises(InputError, match="needs EmbedsText"):
        explore(audit, "clip_rank", {})
    assert not (tmp_path / "run" / "exploratory.json").exists()


def test_controls_and_white_box_attacks_run_whole(tmp_path: Path) -> None:
    attacks = "attacks=[blind, random, gradient_norm, displacement, {name: displacement, family: coordinates}]"
    settings = (*SMALL, attacks, "canaries.coordinates=3")
    result = dpaudit.run("quickstart", out=tmp_path / "run", overrides=settings)
    assert [(each.attack, each.threat.access) for each in result.attacks] == [
        ("blind", "outputs"),
        ("random", "outputs"),
        ("gradient_norm", "final weights"),
        ("displacement", "final weights"),
        ("displacement-coordinates", "final weights"),
    ]
    assert all(each.coin_blindness_p is not None for each in result.attacks)


@pytest.mark.parametrize(
    ("sees_model", "message"),
    [
        (
            "false",
            "the split is broken: attack Oracle on target-00 never sees the model, and its scores know the coins",
        ),
        ("true", "attack Oracle on target-00: the UNTRAINED model's scores know the coins"),
    ],
)
def test_scores_that_know_the_coins_stop_the_audit(sees_model: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "oracle.py").write_text(ORACLE)
    attack = f"attacks=[{{name: '{tmp_path}/oracle.py:Oracle', sees_model: {sees_model}}}]"
    with pytest.raises(DpauditError, match=message):
        dpaudit.run("quickstart", out=tmp_path / "run", overrides=(*SMALL, "reproducible=true", attack))
    assert read_json(tmp_path / "run" / "audit.json")["schema_version"] == 2


def test_a_control_is_given_no_model(tmp_path: Path) -> None:
    (tmp_path / "oracle.py").write_text(ORACLE)
    attack = f"attacks=['{tmp_path}/oracle.py:Peeks']"
    with pytest.raises(DpauditError, match="a control asked for signal of a model: its needs say that it sees none"):
        dpaudit.run("quickstart", out=tmp_path / "run", overrides=(*SMALL, attack))
