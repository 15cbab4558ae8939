"""Train vision-language models under differential privacy, attack them, and compare three numbers.

The epsilon that the accountant promises, the epsilon that attacks refute, and the utility that was bought.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dpaudit.calls.kit import check, new
    from dpaudit.calls.sweeps import sweep
    from dpaudit.calls.verbs import (
        account,
        attack,
        bound,
        compare,
        finished,
        forecast,
        gate,
        plan,
        probe,
        report,
        run,
        train,
        train_references,
    )

__all__ = [
    "account",
    "attack",
    "bound",
    "check",
    "compare",
    "finished",
    "forecast",
    "gate",
    "new",
    "plan",
    "probe",
    "report",
    "run",
    "sweep",
    "train",
    "train_references",
]
_ELSEWHERE = {"check": "kit", "new": "kit", "sweep": "sweeps"}  #: all others are in dpaudit.calls.verbs
__version__ = version("dpaudit")


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module(f"dpaudit.calls.{_ELSEWHERE.get(name, 'verbs')}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
