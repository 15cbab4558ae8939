"""Train what is missing in the pool, beside any number of others who do the same."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from dpaudit.references.reference import finish, train_reference
from dpaudit.references.stack import group_size, train_stacked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dpaudit.progress import Progress
    from dpaudit.references.reference import Reference

__all__ = ["missing", "say_damaged", "train_free", "wait_for"]

_POLL = 0.5  # seconds between two looks at a pool that others are working in


def missing(references: Sequence[Reference]) -> list[Reference]:
    """Return the references that the pool does not hold, or holds damaged."""
    return [reference for reference in references if not reference.entry.trained]


def say_damaged(references: Sequence[Reference], progress: Progress) -> None:
    """Say of those that are missing which were there, and what is wrong with them."""
    for reference in references:
        fault = reference.entry.fault()
        if fault not in (None, "never trained"):
            progress.say(f"{reference.name} in the pool: {fault}; it is trained again")


def train_free(references: Sequence[Reference], progress: Progress) -> int:
    """Train those that are missing and that nobody else is training; return how many.

    One after the other, so that others find some to take; small models in stacks (`dpaudit.references.stack`).
    """
    done, left = 0, missing(references)
    size = group_size(left[0]) if left else 1
    while left:
        with contextlib.ExitStack() as locks:
            mine = _taken(left, size, locks)
            if not mine:
                return done
            fresh = missing(mine)
            say_damaged(fresh, progress)
            _train(fresh, progress)
            done += len(fresh)
        names = {reference.name for reference in mine}
        left = [reference for reference in left if reference.name not in names]
    return done


def wait_for(references: Sequence[Reference], progress: Progress) -> int:
    """Train and wait until the pool holds all; return how many this process trained.

    What another process holds is left to it; if it dies, its lock is free and the reference is taken.
    """
    done = train_free(references, progress)
    while missing(references):
        time.sleep(_POLL)
        done += train_free(references, progress)
    return done


def _taken(left: Sequence[Reference], size: int, locks: contextlib.ExitStack) -> list[Reference]:
    """Return up to `size` references whose lock was free, and is held now."""
    mine: list[Reference] = []
    for reference in left:
        if len(mine) < size and locks.enter_context(reference.entry.lock(patience=0)):
            mine.append(reference)
    return mine


def _train(references: Sequence[Reference], progress: Progress) -> None:
    if len(references) < 2:
        for reference in references:
            train_reference(reference, progress)
        return
    seconds, parameters = train_stacked(references, progress)
    for reference in references:
        finish(reference, reference.job.run / "model.safetensors", seconds, parameters)
