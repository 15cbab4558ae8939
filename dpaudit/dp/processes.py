"""Several processes that share the work of one run: who they are, and the few things they say to each other.

Sums go between them as numbers and messages as UTF-8; nothing is ever pickled. Started by torchrun, over gloo.
"""

from __future__ import annotations

import contextlib
import os
import signal
from contextvars import ContextVar
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

import torch
import torch.distributed as dist

from dpaudit.errors import DpauditError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from contextlib import AbstractContextManager

    from torch import Tensor

__all__ = ["Alone", "Group", "Processes", "current", "joined"]

#: how long a process waits for another that is alive; one that died is noticed at once
_PATIENCE = timedelta(minutes=60)
#: a message that is no name of a run
_STAY = "."


class Processes(Protocol):
    """The processes of a run. rank: 0 .. size - 1; the one of rank 0 leads, and it alone writes."""

    @property
    def rank(self) -> int:
        """Return which of the processes this one is."""

    @property
    def size(self) -> int:
        """Return how many there are."""

    def add(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by its sum over all processes, in place; all get the same bits."""

    def check(self, error: DpauditError | None) -> None:
        """Raise the error, or say which other process had one; to be called by all at the same point."""

    def together(self, message: str) -> AbstractContextManager[None]:
        """Begin work that the others join when they `Group.hear` this message."""

    def stay(self) -> None:
        """Say that the leader is at work alone, so that the others go on waiting."""


class Alone:
    """One process, and nobody to talk to."""

    rank, size = 0, 1

    def add(self, tensors: Iterable[Tensor]) -> None:
        """Leave the tensors as they are."""

    def check(self, error: DpauditError | None) -> None:
        """Raise the error if there is one."""
        if error is not None:
            raise error

    def together(self, message: str) -> AbstractContextManager[None]:  # noqa: ARG002 (the protocol's arguments)
        """Begin work that nobody joins."""
        return contextlib.nullcontext()

    def stay(self) -> None:
        """Say nothing: nobody waits."""


class Group:
    """The processes that torchrun started. waiting: whether the others wait for the leader's next message."""

    def __init__(self) -> None:
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self.waiting = True

    def add(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by its sum over all processes, in place; all get the same bits. It goes by the CPU."""
        with self._connected():
            under_way = [_Sent(tensor) for tensor in tensors]
            for sent in under_way:
                sent.arrive()

    def check(self, error: DpauditError | None) -> None:
        """Raise the error, or say which other process had one; to be called by all at the same point."""
        failed = torch.zeros(self.size, dtype=torch.int64)
        failed[self.rank] = error is not None
        self.add([failed])
        if error is not None:
            raise error
        if failed.any():
            raise DpauditError(f"{self._name} stopped, because process {int(failed.argmax())} failed: see its line")

    @contextlib.contextmanager
    def together(self, message: str) -> Iterator[None]:
        """Begin work that the others join when they `hear` this message."""
        self._tell(message)
        self.waiting = False
        yield
        self.waiting = True

    def stay(self) -> None:
        """Say that the leader is at work alone, so that the others go on waiting."""
        if self.waiting:
            self._tell(_STAY)

    def dismiss(self) -> None:
        """Tell the others that there is no more work, if they wait for any."""
        if self.waiting:
            self._tell("")

    def _tell(self, message: str) -> None:
        content = torch.tensor(list(message.encode()), dtype=torch.uint8)
        with self._connected():
            dist.broadcast(torch.tensor([len(content)]), src=0)
            if message:
                dist.broadcast(content, src=0)

    def hear(self) -> str:
        """Return the leader's next message of work to be shared; an empty one means that there is no more of it."""
        message = self._hear()
        while message == _STAY:
            message = self._hear()
        return message

    def _hear(self) -> str:
        length = torch.zeros(1, dtype=torch.int64)
        with self._connected():
            dist.broadcast(length, src=0)
            content = torch.empty(int(length), dtype=torch.uint8)
            if len(content):
                dist.broadcast(content, src=0)
        return content.numpy().tobytes().decode()

    @property
    def _name(self) -> str:
        return f"process {self.rank} of {self.size}"

    @contextlib.contextmanager
    def _connected(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            raise DpauditError(
                f"{self._name} stopped, because it lost another process of this run (killed, failed or out of reach); "
                "the same command continues at the last checkpoint, with any number of processes"
            ) from error


class _Sent:
    """A tensor on its way: what lies on a GPU travels as a copy, for gloo reads the memory of the CPU."""

    def __init__(self, tensor: Tensor) -> None:
        self._tensor, self._copy = tensor, tensor.cpu()
        self._work = dist.all_reduce(self._copy, async_op=True)

    def arrive(self) -> None:
        if self._work is not None:
            self._work.wait()
        if self._copy is not self._tensor:
            self._tensor.copy_(self._copy)


_JOINED: ContextVar[Group | None] = ContextVar("joined", default=None)


def current() -> Processes:
    """Return the processes that this one has joined, or itself alone."""
    return _JOINED.get() or Alone()


@contextlib.contextmanager
def joined() -> Iterator[Group]:
    """Join the processes that torchrun has started, until the end of the block."""
    previous = signal.signal(signal.SIGTERM, _terminated)  # torchrun ends the others so when one has failed
    try:
        dist.init_process_group("gloo", timeout=_PATIENCE)
    except (RuntimeError, ValueError) as error:
        line = str(error).splitlines()[0]
        raise DpauditError(f"cannot join the processes that torchrun started: {line}") from error
    group = Group()
    token = _JOINED.set(group)
    try:
        yield group
    finally:
        _JOINED.reset(token)
        dist.destroy_process_group()
        signal.signal(signal.SIGTERM, previous)


def _terminated(number: int, frame: object) -> None:  # noqa: ARG001 (a signal handler's arguments)
    name = f"process {os.environ.get('RANK', '0')} of {os.environ.get('WORLD_SIZE', '1')}"
    raise DpauditError(f"{name} was asked to stop (SIGTERM); the same command continues at the last checkpoint")
