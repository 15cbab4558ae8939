"""What a plug-in owes, checked in seconds: on the command line as `dpaudit check`, and from pytest.

from dpaudit.conformance import check

def test_mine_conforms() -> None:
    assert [str(found) for found in check(Mine()) if found.status == "failed"] == []
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dpaudit.conformance.attacks import check_attack
from dpaudit.conformance.finding import Finding
from dpaudit.conformance.probes import check_probe
from dpaudit.conformance.trainers import check_trainer
from dpaudit.errors import InputError
from dpaudit.plugins import Attack, BatchTrainer, PerExampleTrainer, Probe

if TYPE_CHECKING:
    from dpaudit.plugins import Trainer

__all__ = ["Finding", "check", "check_attack", "check_probe", "check_trainer"]


def check(plug_in: Attack | Trainer | Probe) -> tuple[Finding, ...]:
    """Return what every check of an attack, trainer or probe found, in order."""
    if isinstance(plug_in, Attack):
        return check_attack(plug_in)
    if isinstance(plug_in, PerExampleTrainer | BatchTrainer):
        return check_trainer(plug_in)
    if isinstance(plug_in, Probe):
        return check_probe(plug_in)
    raise InputError("plug-in", type(plug_in).__name__, "an attack, a trainer or a probe")
