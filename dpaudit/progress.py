"""How long work tells where it stands. The library is silent; the command line brings bars or plain lines."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

__all__ = ["Progress", "Silent", "Task"]


class Task(Protocol):
    """One piece of work."""

    def advance(self, done: int, note: str = "") -> None:
        """Say how many units are done in all, and something short about them."""


class Progress(Protocol):
    """Where tasks are shown."""

    def task(self, title: str, total: int) -> AbstractContextManager[Task]:
        """Open a task of `total` units."""

    def say(self, line: str) -> None:
        """Show one line of text."""


class _SilentTask:
    def advance(self, done: int, note: str = "") -> None:
        """Say nothing."""


class Silent:
    """Shows nothing: the default of every Python call."""

    def task(self, title: str, total: int) -> AbstractContextManager[Task]:  # noqa: ARG002 (the protocol's names)
        """Open a task that shows nothing."""
        return nullcontext(_SilentTask())

    def say(self, line: str) -> None:
        """Say nothing."""
