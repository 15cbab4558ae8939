"""Epsilon spent so far, beside the progress of a training: asked so seldom that it costs a hundredth of the time."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dpaudit.accounting.accountant import tight_guarantee
from dpaudit.accounting.events import mechanism_event
from dpaudit.reports.numbers import at_most

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dpaudit.mechanism import Mechanism
    from dpaudit.progress import Progress, Task
    from dpaudit.results import Promise

__all__ = ["with_spending"]

_SHARE = 0.01  # of the time that training takes
_USUAL = 0.2  # seconds that an accountant takes, until it was measured


def with_spending(progress: Progress, promise: Promise) -> Progress:
    """Return the same progress whose trainings also tell epsilon at the promise's delta, after the steps so far.

    Only where an accountant answers for the mechanism: a claim, a simulation or no noise has nothing to tell.
    """
    return _Spending(progress, promise) if promise.kind == "accountant" else progress


@dataclass
class _Spending:
    shown: Progress
    promise: Promise
    clock: Callable[[], float] = time.monotonic

    @contextlib.contextmanager
    def task(self, title: str, total: int) -> Iterator[Task]:
        with self.shown.task(title, total) as task:
            yield _Spent(task, self.promise.mechanism, self.promise.delta, self.clock)

    def say(self, line: str) -> None:
        self.shown.say(line)


@dataclass
class _Spent:
    task: Task
    mechanism: Mechanism
    delta: float
    clock: Callable[[], float]
    words: str = ""
    cost: float = _USUAL
    since: float = field(init=False)

    def __post_init__(self) -> None:
        self.since = self.clock()

    def advance(self, done: int, note: str = "") -> None:
        if done and self.cost < _SHARE * (self.clock() - self.since):
            self._ask(done)
        self.task.advance(done, ", ".join(part for part in (note, self.words) if part))

    def _ask(self, done: int) -> None:
        begun = self.clock()
        so_far = self.mechanism.model_copy(update={"steps": done})
        found = tight_guarantee(mechanism_event(so_far), so_far.adjacency, self.delta)
        if found.epsilon is not None:
            self.words = f"epsilon {at_most(found.epsilon)} after {done}"
        self.since = self.clock()
        self.cost = max(_USUAL, self.since - begun)
