"""The recipe dp-cap-micro at a tiny size: an audit from captions to the page, and what it refuses beforehand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

import dpaudit
from dpaudit.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from dpaudit.results import AuditResult

TINY = (
    "name=tiny",
    "data.size=240",
    "data.split.audit_pool=40",
    "data.split.probe_train=60",
    "data.split.probe_test=40",
    "privacy.steps=3",
    "privacy.batch_size=16",
    "canaries.block=2000",
    "canaries.inputs.noise=10",
    "canaries.inputs.miscaptioned=10",
    "report.pictures=3",
)


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, AuditResult]:
    folder = tmp_path_factory.mktemp("dp-cap") / "run"
    return folder, dpaudit.run("dp-cap-micro", out=folder, overrides=TINY)


def test_the_audit_is_whole(audited: tuple[Path, AuditResult]) -> None:
    _, result = audited
    assert [(attack.attack, attack.family, attack.candidates) for attack in result.attacks] == [
        ("audit_block", "block", 2000),
        ("loss-of-scenes", "pool", 20),
        ("loss-of-canaries", "inputs", 20),
    ]
    statuses = {premise.name: (premise.status, premise.evidence) for premise in result.assumptions}
    assert "violated" not in {status for status, _ in statuses.values()}, statuses
    assert statuses["sensitivity replayed on neighbouring batches"][0] == "held"
    assert [probe.metric for probe in result.probes] == ["accuracy"]


def test_what_the_model_says_stands_beside_the_captions(audited: tuple[Path, AuditResult]) -> None:
    folder, result = audited
    (picture,) = result.pictures
    assert (folder / "pictures" / picture.file).is_file()
    assert len(picture.said) == 3
    page = (folder / "report.html").read_text()
    for said in picture.said:
        assert said.caption is not None
        assert said.caption.startswith("a large ")
        assert said.caption in page


@pytest.mark.parametrize(
    ("settings", "refused"),
    [
        (
            ("trainer.tokenizer=./nothing-here",),
            "trainer.tokenizer = './nothing-here': .* lacks tokenizer.json",
        ),
        (("trainer.context=2",), "trainer.context = 2: expected at least 3"),
        (("trainer.sise=nano",), "trainer.sise"),
        (("trainer.vocabulary=99",), r"trainer.vocabulary = 99: expected 48, as scenes has, or 0 \(--set\)"),
        (("trainer={name: dp-cap, tokenizer: ./nothing-here, vocabulary: 9}",), "trainer.tokenizer = './nothing-here'"),
    ],
)
def test_bad_options_name_the_recipes_line(tmp_path: Path, settings: tuple[str, ...], refused: str) -> None:
    with pytest.raises(InputError, match=refused):
        dpaudit.run("dp-cap-micro", out=tmp_path / "run", overrides=[*TINY, *settings])
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "refused"),
    [
        ("name: csv, path: {folder}/pairs.csv", "caption of 7.png = ' ': expected text"),
        ("name: folder, path: {folder}", "data captions = None: expected captions, which the trainer reads"),
    ],
)
def test_records_without_captions_are_refused_beforehand(tmp_path: Path, options: str, refused: str) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(12):
        Image.fromarray(np.full((16, 16, 3), 20 * number, dtype=np.uint8)).save(folder / f"{number}.png")
    rows = [f"{number}.png,{'  ' if number == 7 else 'a grey square'}" for number in range(12)]
    (folder / "pairs.csv").write_text("\n".join(["path,caption", *rows]))
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"name: pairs\ndata: {{{options.format(folder=folder)}, split: {{audit_pool: 4}}}}\n"
        "trainer: {name: dp-cap, tokenizer: scenes}\n"
        "privacy: {epsilon: 8, delta: 1.0e-5, clip_norm: 1, batch_size: 4, steps: 2}\n"
        "canaries: {block: 100}\nattacks: [audit_block]\n"
        "bounds: {decide: [{attack: audit_block, method: one-run-fdp, hypothesis: promise}]}\n"
    )
    with pytest.raises(InputError, match=refused):
        dpaudit.run(recipe, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
