"""The examples of docs/attacks.md, 512 records in and 512 out: overfitted, and at epsilon 1; minutes each."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import dpaudit
from dpaudit.results import Interval

if TYPE_CHECKING:
    from collections.abc import Callable

    from dpaudit.results import AuditResult

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"
#: system -> what the AUC of its best attack is above
SYSTEMS = {"supervised": 0.8, "dp-cap": 0.8, "vip": 0.8, "dp-clip": 0.8, "logit-dp": 0.65}
#: "no attack rejects chance": no p-value below it
LEVEL = 1e-3


@pytest.fixture(scope="module")
def table() -> dict[str, Callable[..., float]]:
    """Return the functions of docs/examples/attacks_table.py by name."""
    return runpy.run_path(str(EXAMPLES / "attacks_table.py"))


def audit(system: str, folder: Path, *settings: str) -> AuditResult:
    overrides = ("reproducible=true", *settings)
    return dpaudit.run(EXAMPLES / f"attacks-{system}.yaml", out=folder / system, overrides=overrides)


@pytest.mark.slow
@pytest.mark.parametrize("system", SYSTEMS)
def test_an_attack_finds_the_members_and_none_knows_the_coins_beforehand(system: str, tmp_path: Path) -> None:
    found = audit(system, tmp_path).attacks
    assert {attack.candidates for attack in found} == {1024}
    assert max(attack.auc.value for attack in found) > SYSTEMS[system]
    assert all(attack.coin_blindness_p is not None and attack.coin_blindness_p > LEVEL for attack in found)
    controls = {attack.attack: attack.auc for attack in found if attack.attack in ("blind", "random")}
    assert len(controls) == 2
    assert all(auc.low < 0.5 < auc.high for auc in controls.values())


@pytest.mark.slow
@pytest.mark.parametrize("system", SYSTEMS)
def test_at_epsilon_one_no_attack_is_above_what_the_accountant_allows(
    system: str, tmp_path: Path, table: dict[str, Callable[..., float]]
) -> None:
    result = audit(system, tmp_path, "privacy.epsilon=1")
    assert result.promise.kind == "accountant"
    assert result.promise.epsilon == pytest.approx(1, abs=0.01)
    largest = table["cap"](result)
    assert 0.55 < largest < 0.6  # 0.575 for a Gaussian mechanism of epsilon 1 at delta 1e-5
    for attack in result.attacks:
        assert attack.auc.low <= largest, attack.attack
        if attack.threat.access == "outputs":
            assert table["chance"](attack.auc) > LEVEL, attack.attack


def test_the_tables_p_value_is_that_of_its_interval(table: dict[str, Callable[..., float]]) -> None:
    assert table["chance"](Interval(value=0.5, low=0.46, high=0.54, confidence=0.95)) == 1.0
    assert table["chance"](Interval(value=1.0, low=0.99, high=1.0, confidence=0.95)) == 0.0
    assert table["chance"](Interval(value=0.6, low=0.5, high=0.6923, confidence=0.95)) == pytest.approx(0.05, rel=0.01)
    below = table["chance"](Interval(value=0.4, low=0.3077, high=0.5, confidence=0.95))
    assert below == pytest.approx(0.05, rel=0.01)
