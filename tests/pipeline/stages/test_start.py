"""The weights of step 0: made once, shared by all runs, and judged by what was executed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load_file, save_file

from dpaudit.errors import InputError
from dpaudit.pipeline.order import advance, open_audit
from dpaudit.pipeline.promises import recipe_mechanism
from dpaudit.pipeline.stages.start import check_start, make_start, read_beginning
from dpaudit.progress import Silent
from dpaudit.training.job import drawn_model, initial_model

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from dpaudit.results import Beginning
    from tests.pipeline.stages.conftest import Audited

PREMISE = "pre-training data is public"
STAGE = "start={pretrain: {data: {name: procedural, size: 40}, batch_size: 8, steps: 6}}"


def public(data: str) -> str:
    return f"start={{pretrain: {{data: {data}, batch_size: 8, steps: 2}}}}"


def test_all_runs_start_from_one_public_stage(
    audited: Audited, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = (STAGE, "references.count=1", "privacy.steps=2")
    found, _ = audited(*settings)
    assert (found[PREMISE].status, found[PREMISE].evidence) == (
        "held",
        "executed: 6 steps of 8 on procedural (40 records), public by construction: a program makes them",
    )
    audit = open_audit(tmp_path / "run")
    made = load_file(tmp_path / "run" / "start" / "model.safetensors")
    for name in ("target-00", "reference-00"):
        started, drawn = initial_model(audit.job(name)).state_dict(), drawn_model(audit.job(name)).state_dict()
        assert all(torch.equal(tensor, made[key]) for key, tensor in started.items())
        assert not torch.equal(drawn["0.weight"], made["0.weight"])
    beginning = read_beginning(audit)
    assert beginning is not None
    assert (beginning.kind, beginning.steps, beginning.by_construction) == ("pretrain", 6, True)
    assert '"weights": "' + beginning.weights in (tmp_path / "run" / "target-00" / "manifest.json").read_text()
    monkeypatch.setattr("dpaudit.pipeline.stages.start.pretrain", None)
    advance(audit, "train")


def test_data_that_nobody_declared_public_are_refused(audited: Audited, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"start.pretrain.data.public = False: expected true, which declares digits"):
        audited(public("{name: digits}"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("data", "status", "evidence"),
    [
        ("{name: digits, public: true}", "violated", "the private data themselves"),
        ("{name: './small.py:Twice', public: true}", "violated", "have the pixels of a private record"),
        ("{name: scenes, size: 30, public: true}", "held", "declared public; none of 30 has the pixels"),
    ],
)
def test_public_data_must_not_be_the_private_ones(audited: Audited, data: str, status: str, evidence: str) -> None:
    found, _ = audited(public(data), "privacy.steps=2")
    assert found[PREMISE].status == status
    assert evidence in found[PREMISE].evidence


def test_weights_from_a_file_are_what_is_declared_of_them(audited: Audited, tmp_path: Path) -> None:
    model = {"0.weight": torch.ones(8, 48), "0.bias": torch.zeros(8), "3.weight": torch.ones(48, 8)}
    save_file({**model, "3.bias": torch.zeros(48)}, tmp_path / "w.safetensors")
    settings = ("start.weights=w.safetensors", "privacy.steps=2")
    found, _ = audited(*settings)
    assert (found[PREMISE].status, "w.safetensors" in found[PREMISE].evidence) == ("unknown", True)
    started = initial_model(open_audit(tmp_path / "run").job("target-00")).state_dict()
    assert torch.equal(started["0.weight"], torch.ones(8, 48))
    assert audited(*settings, "privacy.initial_weights=public", fresh=True)[0][PREMISE].status == "held"
    assert audited(*settings, "privacy.initial_weights=private", fresh=True)[0][PREMISE].status == "violated"
    save_file({**model, "3.bias": torch.ones(48)}, tmp_path / "w.safetensors")
    with pytest.raises(InputError, match=r"start fingerprint: .*--fresh starts over"):
        audited(*settings, "privacy.initial_weights=private")


CAPTIONER = (
    "data={name: scenes, size: 300, split: {audit_pool: 40}}",
    "trainer={name: dp-cap, tokenizer: scenes, context: 24}",
    "privacy.steps=1",
)


def of_vip(what: str, options: str = "qkv_bias: false") -> str:
    return f"start={{trainer: {{name: vip, {options}}}, {what}}}"


PUBLIC = "pretrain: {data: {name: procedural, size: 40}, batch_size: 8, steps: 2}"


@pytest.mark.usefixtures("audited")
def test_a_captioner_starts_from_an_encoder_that_vip_learned(tmp_path: Path) -> None:
    def begun(folder: str, start: str) -> tuple[dict[str, Tensor], dict[str, Tensor], Beginning]:
        audit = open_audit(tmp_path / "recipe.yaml", out=tmp_path / folder, overrides=(*CAPTIONER, start))
        check_start(audit)
        audit.path.mkdir()
        files = make_start(audit, Silent())
        assert all(file.is_file() for file in files)
        job = audit.job("target-00", recipe_mechanism(audit.loaded, audit.sizes.universe))
        beginning = read_beginning(audit)
        assert beginning is not None
        return initial_model(job).state_dict(), drawn_model(job).state_dict(), beginning

    started, drawn, beginning = begun("one", of_vip(PUBLIC))
    other = load_file(tmp_path / "one" / "start" / "other-trainer" / "model.safetensors")
    assert torch.equal(started["encoder.patches.weight"], other["encoder.embed.weight"])
    assert set(started) == set(drawn)
    assert not torch.equal(started["encoder.patches.weight"], drawn["encoder.patches.weight"])
    assert (beginning.kind, beginning.trainer, beginning.steps, beginning.by_construction) == (
        "pretrain",
        "vip",
        2,
        True,
    )

    save_file(other, tmp_path / "w.safetensors")
    again, _, beginning = begun("two", of_vip("weights: w.safetensors"))
    assert all(torch.equal(again[name], tensor) for name, tensor in started.items())
    assert (beginning.kind, beginning.trainer, beginning.source) == ("weights", "vip", "w.safetensors")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ([of_vip(PUBLIC)], r"start.trainer = 'vip': expected null: the trainer ./small.py:Small takes over no"),
        ([*CAPTIONER, of_vip(PUBLIC, "size: micro")], r"start.trainer.qkv_bias = True: expected false"),
        (
            [*CAPTIONER, of_vip(PUBLIC, "qkv_bias: false, heads: 2")],
            r"start.trainer.heads = 2: expected 4, as DP-Cap's encoder has",
        ),
        (
            [*CAPTIONER, of_vip(PUBLIC, "qkv_bias: false, patch_size: 8")],
            r"start.trainer = '2 of 39 tensors of another shape': expected .*encoder.embed.weight is \(64, 192\)",
        ),
        (
            [*CAPTIONER, "start={trainer: {name: supervised, classes: 8}, " + PUBLIC + "}"],
            r"start.trainer.name = 'TanhCnn': expected vip",
        ),
        ([*CAPTIONER, of_vip(PUBLIC, "qkv_biass: false")], r"start.trainer.qkv_biass = False: expected .*'qkv_bias'"),
        ([*CAPTIONER, of_vip("weights: small.py")], r"start.weights = 'small.py': expected a safetensors file"),
        (
            [*CAPTIONER, of_vip("weights: small.py", "qkv_bias: false, warmup: 3")],
            r"start.trainer.warmup = 3: expected not given: its own optimizer",
        ),
        (
            [of_vip("weights: w, parts: [encoder]")],
            r"start.parts = \['encoder'\]: expected \[\]: start.trainer is given",
        ),
        (["start={trainer: {name: vip}}"], r"start.weights = \(missing\): expected a file, or start.pretrain"),
    ],
)
def test_weights_that_cannot_be_taken_over_are_one_line(
    audited: Audited, tmp_path: Path, settings: list[str], message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        audited(*settings)
    assert (caught.value.exit_code, "\n" in str(caught.value)) == (2, False)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            ["start.weights=none.safetensors"],
            r"start.weights = 'none.safetensors': expected a file or folder that exists",
        ),
        (["start.weights=."], r"start.weights = '.': expected a safetensors file"),
        (["start.weights=small.py"], r"start.weights = 'small.py': expected a safetensors file"),
        ([STAGE.replace("size: 40", "size: 7")], r"start.pretrain.batch_size = 8: expected at most the 7 records"),
        ([STAGE.replace("size: 40", "sizes: 40")], r"start.pretrain.data.sizes = 40: expected .*'size'"),
        ([STAGE, "start.pretrain.frozen=[no]"], r"start.pretrain.frozen.0 = 'no': expected a module of the model"),
        ([STAGE, "trainer={name: dp-cap, tokenizer: scenes}"], r"start.pretrain.data.name = 'procedural': .*captions"),
        ([STAGE, "start.weights=w"], r"start.weights = 'w': expected nothing: start.pretrain is given too"),
        ([STAGE, "privacy.initial_weights=random"], r"privacy.initial_weights = 'random': expected null, public"),
        (["start={}"], r"start.weights = \(missing\): expected a file, or start.pretrain"),
        (["start={weights: w, parts: [0]}"], r"start.parts.0 = 0: expected"),
        ([STAGE, "start.parts=[a]"], r"start.parts = \['a'\]: expected \[\]"),
        (["data.expected_size=1700"], r"data.expected_size = 1700: expected 1797, the records that there are"),
    ],
)
def test_what_cannot_be_a_start_is_one_line_before_anything_is_written(
    audited: Audited, tmp_path: Path, settings: list[str], message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        audited(*settings)
    assert (caught.value.exit_code, "\n" in str(caught.value)) == (2, False)
    assert not (tmp_path / "run").exists()
