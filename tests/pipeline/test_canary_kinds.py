"""Every kind of canary goes through a whole audit: counted, committed to, scored, or refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import dpaudit
from dpaudit.errors import InputError
from dpaudit.runs import read_json

if TYPE_CHECKING:
    from pathlib import Path

QUICK = ("probes=[]", "report.pictures=0", "attacks=[audit_block, {name: loss, family: inputs, masks: 1}]")


@pytest.mark.parametrize("directions", ["hadamard", "sparse-sign"])
def test_an_audit_with_every_kind_of_picture_and_directions(
    directions: str, tiny: tuple[str, ...], tmp_path: Path
) -> None:
    kinds = ("blank", "out_of_distribution", "gradient_max")
    overrides = [*tiny, *QUICK, f"canaries.directions={directions}", *(f"canaries.inputs.{kind}=4" for kind in kinds)]
    result = dpaudit.run("quickstart", out=tmp_path / "run", overrides=overrides)
    assert result.verdict.word != "VIOLATED"
    counted = read_json(tmp_path / "run" / "target-00" / "manifest.json")["candidates"]
    assert counted == {"pool": 38, "inputs": 22, "block": 5000}
    scored = {attack.family: attack for attack in result.attacks}
    assert scored["block"].candidates == 5000
    assert scored["block"].auc.low > 0.55
    assert scored["inputs"].candidates == 22


@pytest.mark.parametrize(
    ("directions", "word"), [("hadamard", "VIOLATED"), ("dirac", "VIOLATED")], ids=["hadamard", "shared coordinates"]
)
def test_too_little_noise_is_found_along_any_direction(
    directions: str, word: str, tiny: tuple[str, ...], tmp_path: Path
) -> None:
    overrides = [
        *tiny,
        "probes=[]",
        "report.pictures=0",
        "attacks=[audit_block]",
        "canaries.inputs.noise=0",
        f"canaries.directions={directions}",
        f"canaries.per_coordinate={1 if directions == 'hadamard' else 2}",
        "privacy.noise_multiplier=0.3",
        "privacy.claimed_epsilon=0.5",
    ]
    assert dpaudit.run("quickstart", out=tmp_path / "run", overrides=overrides).verdict.word == word


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("canaries.inputs.new_token=4", "this trainer never reads a record's caption"),
        ("canaries.inputs.high_entropy=4", "this trainer never reads a record's caption"),
        ("canaries.inputs.mislabelled=4", "this trainer never reads a record's label"),
        ("canaries.inputs.blank=400", "at most the audit pool"),
        ("canaries.spread=8", "a power of 4 from 4 to 16384"),
        ("canaries.inputs.duplicates=4", "expected a key that exists|noise"),
        ("canaries.raw_norm=0.5", "1"),
    ],
)
def test_what_would_be_ordinary_or_wrong_is_refused(
    override: str, expected: str, tiny: tuple[str, ...], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=expected):
        dpaudit.train("quickstart", out=tmp_path / "run", overrides=[*tiny, override])
    assert not (tmp_path / "run").exists()


def test_orthogonal_directions_share_no_coordinate(tiny: tuple[str, ...], tmp_path: Path) -> None:
    overrides = [*tiny, "canaries.directions=hadamard", "canaries.per_coordinate=2"]
    with pytest.raises(InputError, match="1 with hadamard"):
        dpaudit.train("quickstart", out=tmp_path / "run", overrides=overrides)
