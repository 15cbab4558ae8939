"""The examples of docs/attacks.md: 512 records in, 512 out, no privacy; minutes each."""

from __future__ import annotations

from pathlib import Path

import pytest

import dpaudit

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "least"), [("attacks-supervised", 0.8), ("attacks-dp-cap", 0.8), ("attacks-vip", 0.5)]
)
def test_an_attack_finds_the_members_and_none_knows_the_coins_beforehand(
    name: str, least: float, tmp_path: Path
) -> None:
    found = dpaudit.run(EXAMPLES / f"{name}.yaml", out=tmp_path / "run", overrides=("reproducible=true",)).attacks
    assert {attack.candidates for attack in found} == {1024}
    assert max(attack.auc.value for attack in found) > least
    assert all(attack.coin_blindness_p is not None and attack.coin_blindness_p > 1e-3 for attack in found)
