"""The engines by name. All compute the same clipped sum; they differ in time and memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dpaudit.dp.functional import functional_sum
from dpaudit.dp.loop import loop_sum
from dpaudit.errors import InputError

if TYPE_CHECKING:
    from dpaudit.dp.clipping import ClippedSum

__all__ = ["ENGINES", "engine"]

#: name -> engine
ENGINES: dict[str, ClippedSum] = {"functional": functional_sum, "loop": loop_sum}


def engine(name: str) -> ClippedSum:
    """Return the engine of this name.

    >>> engine("ghost")
    Traceback (most recent call last):
    ...
    dpaudit.errors.InputError: engine = 'ghost': expected one of functional, loop
    """
    if name not in ENGINES:
        raise InputError("engine", name, f"one of {', '.join(ENGINES)}")
    return ENGINES[name]
