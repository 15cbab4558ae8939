"""The recipe dp-clip-micro at a tiny size: an audit from a public stage to its probes, and what it refuses."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest

import dpaudit
from dpaudit.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from dpaudit.results import AuditResult

TINY = (
    "name=tiny",
    "data.size=260",
    "data.split.audit_pool=40",
    "data.split.probe_train=60",
    "data.split.probe_test=40",
    "start.pretrain.data.size=64",
    "start.pretrain.batch_size=16",
    "start.pretrain.steps=2",
    "privacy.steps=3",
    "privacy.batch_size=16",
)


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, AuditResult]:
    folder = tmp_path_factory.mktemp("dp-clip") / "run"
    return folder, dpaudit.run("dp-clip-micro", out=folder, overrides=TINY)


def test_no_premise_is_violated_and_the_worst_case_is_attained(audited: tuple[Path, AuditResult]) -> None:
    premises = {premise.name: premise for premise in audited[1].assumptions}
    assert "violated" not in {premise.status for premise in premises.values()}, premises
    assert premises["noise scale in the ledger"].status == "held"
    assert "x sensitivity 2" in premises["noise scale in the ledger"].evidence
    assert "1.0000 of the declared 2" in premises["sensitivity replayed on the trainer's own worst case"].evidence
    assert audited[1].verdict.word == "INCONCLUSIVE"  # nothing was listed to decide


def test_epsilon_zero_and_infinity_stand_beside_the_private_model(audited: tuple[Path, AuditResult]) -> None:
    folder, result = audited
    rows = {probe.probe: [each.features for each in probe.measurements] for probe in result.probes}
    models = ["trained", "non-private", "pre-trained", "untrained"]
    assert rows["zero-shot"] == rows["retrieval"] == models
    assert rows["vqa"][:4] == models
    assert rows["vqa"][-1] == "commonest answer"
    twin = folder / "non-private" / "target-00.safetensors"
    assert stat.S_IMODE(twin.stat().st_mode) == 0o600


def test_as_published_is_disproved_before_step_one(tmp_path: Path) -> None:
    settings = (*TINY, "trainer.as_published=true", "start=null", "runs.non_private=false", "probes=[]")
    result = dpaudit.run("dp-clip-micro", out=tmp_path / "run", overrides=settings)
    assert result.verdict.word == "VIOLATED"
    premises = {premise.name: premise for premise in result.assumptions}
    assert premises["sensitivity respected"].status == "violated"
    assert "x sensitivity 1" in premises["noise scale in the ledger"].evidence


@pytest.mark.parametrize(
    ("settings", "refused"),
    [
        (("trainer.model=ViT-B32",), r"trainer.model = 'ViT-B32': .*nearest: ViT-B-32.*dp-clip-micro.yaml|--set"),
        (("privacy.batch_size=1",), "privacy.batch_size = 1: expected at least 2"),
        (("probes=[accuracy]",), "probes.0.name = 'accuracy': expected another probe: this trainer does not classify"),
        (
            ("data={name: digits, split: {audit_pool: 40, probe_train: 60, probe_test: 40}}", "probes=[vqa]"),
            "probes.0.name = 'vqa': expected another probe: the data set asks no",
        ),
        (("optimizer={name: sgd, learning_rate: 1}", "trainer.warmup=3"), "trainer.warmup = 3: expected not given"),
    ],
)
def test_what_cannot_be_is_one_line(tmp_path: Path, settings: tuple[str, ...], refused: str) -> None:
    with pytest.raises(InputError, match=refused) as caught:
        dpaudit.run("dp-clip-micro", out=tmp_path / "run", overrides=(*TINY, *settings))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_zero_shot_needs_a_trainer_that_reads_text(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="another probe: this trainer does not embed text"):
        dpaudit.run("quickstart", out=tmp_path / "run", overrides=("probes=[zero-shot]",))


@pytest.mark.parametrize("name", ["dp-clip-micro", "dp-clip-audit", "dp-clip-small"])
def test_recipes_can_be_forecast(name: str) -> None:
    found = dpaudit.forecast(name)
    assert found.promise.epsilon == pytest.approx(8, rel=1e-3)
    assert found.trainer == "dp-clip"
