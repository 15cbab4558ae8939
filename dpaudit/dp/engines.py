"""The engines by name. All compute the same clipped sum; they differ in time and memory, and in what they accept.

`bookkeeping` is fast and has a rule per layer; `functional` takes what torch.func takes; `loop` takes everything.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from dpaudit.dp.bookkeeping.clipped_sum import bookkeeping_sum
from dpaudit.dp.clipping import clipping_rule
from dpaudit.dp.functional import functional_sum
from dpaudit.dp.loop import loop_sum
from dpaudit.errors import InputError

if TYPE_CHECKING:
    from dpaudit.dp.clipping import ClippedSum

__all__ = ["ENGINES", "engine"]

#: name -> engine
ENGINES: dict[str, ClippedSum] = {
    "bookkeeping": bookkeeping_sum,
    "functional": functional_sum,
    "loop": loop_sum,
}


def engine(name: str, clipping: str = "flat") -> ClippedSum:
    """Return the engine of this name, which clips by the rule of that name.

    >>> engine("ghost")
    Traceback (most recent call last):
    ...
    dpaudit.errors.InputError: engine = 'ghost': expected one of bookkeeping, functional, loop
    """
    if name not in ENGINES:
        raise InputError("engine", name, f"one of {', '.join(ENGINES)}")
    return functools.partial(ENGINES[name], rule=clipping_rule(clipping))
