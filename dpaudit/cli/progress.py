"""Progress as bars on a terminal and as plain lines elsewhere; both with the time that is left."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from dpaudit.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.progress import Progress as Bar

    from dpaudit.progress import Progress, Task

__all__ = ["Bars", "Lines", "Verbose", "progress_for", "verbose_now"]

_EVERY = 5.0  # seconds between two plain lines of one task
_OFTEN = 1.0  # the same with --verbose
_asked: set[str] = set()  # whether this command was asked to say more, which its failure wants to know


def _remember(asked: bool) -> bool:
    if asked:
        _asked.add("verbose")
    else:
        _asked.discard("verbose")
    return asked


Verbose = Annotated[
    bool,
    typer.Option(
        "--verbose", "-v", callback=_remember, help="Say what each piece of work took, and where a failure came from."
    ),
]


def verbose_now() -> bool:
    """Return whether the command that runs was asked to say more."""
    return "verbose" in _asked


def progress_for(*, quiet: bool, verbose: bool = False) -> Progress:
    """Return bars for a terminal, plain lines for a pipe, a log or --verbose, silence when asked for."""
    from dpaudit.progress import Silent  # noqa: PLC0415 (imports stay lazy for --help)

    if quiet and verbose:
        raise InputError("--quiet", quiet, "no --verbose beside it")
    if quiet:
        return Silent()
    return Bars() if sys.stderr.isatty() and not verbose else Lines(verbose=verbose)


class Lines:
    """Plain lines on standard error: one when a task begins to take long, one when it ends."""

    def __init__(self, *, verbose: bool = False) -> None:
        self.verbose = verbose

    @contextlib.contextmanager
    def task(self, title: str, total: int) -> Iterator[Task]:
        """Open a task."""
        task = _LineTask(title, total, _OFTEN if self.verbose else _EVERY)
        opened = time.monotonic()
        yield task
        task.end(f" in {time.monotonic() - opened:.1f} s" if self.verbose else "")

    def say(self, line: str) -> None:
        """Show a line."""
        print(line, file=sys.stderr, flush=True)  # noqa: T201 (the command line's own output)


class _LineTask:
    def __init__(self, title: str, total: int, every: float) -> None:
        self.title, self.total, self.every = title, total, every
        self.begun = self.shown = time.monotonic()
        self.first: int | None = None

    def advance(self, done: int, note: str = "") -> None:
        now = time.monotonic()
        if self.first is None:
            self.first, self.begun = done, now
        if now - self.shown < self.every:
            return
        self.shown = now
        rate = (done - self.first) / max(now - self.begun, 1e-9)
        left = f", {_clock((self.total - done) / rate)} left" if rate > 0 else ""
        self._print(f"{self.title}: {done}/{self.total}{left}{', ' + note if note else ''}")

    def end(self, taken: str) -> None:
        self._print(f"{self.title}: done{taken}")

    def _print(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)  # noqa: T201 (the command line's own output)


class Bars:
    """A bar per task on standard error."""

    @contextlib.contextmanager
    def task(self, title: str, total: int) -> Iterator[Task]:
        """Open a task."""
        from rich.console import Console  # noqa: PLC0415 (imports stay lazy for --help)
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn  # noqa: PLC0415
        from rich.progress import Progress as RichBar  # noqa: PLC0415

        columns = (
            TextColumn("{task.description:<32}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("left"),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[note]}"),
        )
        with RichBar(*columns, console=Console(stderr=True)) as bar:
            yield _BarTask(bar, title, total)

    def say(self, line: str) -> None:
        """Show a line."""
        print(line, file=sys.stderr, flush=True)  # noqa: T201 (the command line's own output)


class _BarTask:
    def __init__(self, bar: Bar, title: str, total: int) -> None:
        self.bar, self.identity = bar, bar.add_task(title, total=total, note="")

    def advance(self, done: int, note: str = "") -> None:
        self.bar.update(self.identity, completed=done, note=note)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
