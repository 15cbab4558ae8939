"""Epsilon beside the progress of a training: what the accountant says of the steps so far, and seldom asked."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

from dpaudit.accounting.accountant import tight_guarantee
from dpaudit.pipeline import spending
from dpaudit.pipeline.promises import Stated, stated_promise
from dpaudit.pipeline.spending import with_spending

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    import pytest

    from dpaudit.progress import Task


class Told:
    """A progress that keeps what it was told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def task(self, title: str, total: int) -> AbstractContextManager[Task]:  # noqa: ARG002 (the protocol's names)
        return nullcontext(self)

    def advance(self, done: int, note: str = "") -> None:  # noqa: ARG002 (as above)
        self.notes.append(note)

    def say(self, line: str) -> None:
        self.notes.append(line)


PROMISE = stated_promise(Stated(noise_multiplier=1.0, batch_size=10, dataset_size=1000, steps=2000, delta=1e-5))


def test_epsilon_so_far_is_the_accountants_and_costs_a_hundredth(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    now = 0.0

    def slow(event: object, adjacency: object, delta: float) -> object:
        nonlocal now
        now += 1.0  # a second of the clock that the training sees
        asked.append(event.count)  # type: ignore[attr-defined]  # of a self-composed event
        return tight_guarantee(event, adjacency, delta)  # type: ignore[arg-type]  # as it was called

    monkeypatch.setattr(spending, "tight_guarantee", slow)
    told = Told()
    shown = with_spending(told, PROMISE)
    shown.clock = lambda: now  # type: ignore[attr-defined]  # of the wrapper
    with shown.task("train", 2000) as task:
        for step in range(2000):
            now += 0.1
            task.advance(step + 1, "loss 1")
    assert told.notes[0] == "loss 1"
    assert told.notes[-1].startswith("loss 1, epsilon 2.")
    assert len(asked) <= 2 + 200 // 100
    assert asked == sorted(asked)
    last = asked[-1]
    assert told.notes[-1].endswith(f"after {last}")


def test_where_no_accountant_answers_nothing_is_added() -> None:
    told = Told()
    claim = PROMISE.model_copy(update={"kind": "claim"})
    assert with_spending(told, claim) is told
