"""The two halves of a batch at once, each on its half of the processor's threads.

Records do not meet before their clip factors are known. An operation that several threads share waits for the slowest
of them, hundreds of times in a pass; two halves wait for each other once, and what Python does for one is hidden
behind what torch computes for the other.
"""

from __future__ import annotations

import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import torch

from dpaudit.dp.bookkeeping.symmetric import numpy_on_one_thread
from dpaudit.dp.objective import batch_length
from dpaudit.dp.tensors import trainable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from torch import nn

    from dpaudit.dp.tensors import Batch

__all__ = ["Each", "at_once", "halves", "in_one_piece", "twin"]

_Job = TypeVar("_Job")
_Done = TypeVar("_Done")

#: trained parameters times records below which Python's part, which the halves do in turns, is too large: measured on
#: masked autoencoders and captioners from 0.2 to 69 million parameters; of convolutions 0.9 to 1.2 of the time
_FEWEST_PRODUCTS = 75_000_000
#: models that cannot be differentiated in halves: their layers know each other by other ways than as children
_whole: weakref.WeakSet[nn.Module] = weakref.WeakSet()


class Each(Protocol):
    """How jobs are done."""

    def __call__(self, function: Callable[[_Job], _Done], jobs: Iterable[_Job], /) -> Iterable[_Done]:
        """Return what a function gives for every job, in their order; some are done at once."""


def halves(model: nn.Module, batch: Batch) -> list[Batch]:
    """Return the batch in two halves, the first at most one record longer, or in one piece where that is no slower.

    Decided by sizes and torch's number of threads, an even one, alone, so results repeat. In one piece, too, where
    somebody watches torch's calls, as a watch hears one thread only, and on other threads than the main one, where
    somebody else has shared out the processor.
    """
    records = batch_length(batch)
    if records < 2 or torch.get_num_threads() % 2 or model in _whole or _is_watched() or not _on_cpu(model, batch):
        return [batch]
    if records * sum(parameter.numel() for parameter in trainable(model).values()) < _FEWEST_PRODUCTS:
        return [batch]
    cut = (records + 1) // 2
    return [{name: each[:cut] for name, each in batch.items()}, {name: each[cut:] for name, each in batch.items()}]


def in_one_piece(model: nn.Module) -> None:
    """Remember that this model cannot be differentiated in halves."""
    _whole.add(model)


@contextmanager
def at_once(parts: int) -> Iterator[Each]:
    """Share torch's threads among so many parts of a batch, and yield what does a function of each of them at once."""
    if parts == 1:
        yield map
        return
    threads = torch.get_num_threads()
    share = threads // parts
    known = (share, torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu"))
    alone = numpy_on_one_thread() if share == 1 else nullcontext()
    torch.set_num_threads(share)
    try:
        with alone, ThreadPoolExecutor(parts, "half of a batch", initializer=_begin, initargs=known) as pool:
            yield pool.map
    finally:  # when no thread is left that could begin
        torch.set_num_threads(threads)


def twin(model: nn.Module) -> nn.Module:
    """Return a model of the same tensors and options in tables of its own: to replace some there leaves `model` alone.

    torch.func.functional_call replaces tensors in the tables of the model that it is given, for as long as it computes.
    """
    known: dict[int, nn.Module] = {}

    def made(module: nn.Module) -> nn.Module:
        if id(module) not in known:
            known[id(module)] = copy = module.__new__(type(module))
            tables = {"_parameters": dict(module._parameters), "_buffers": dict(module._buffers)}
            copy.__dict__.update(module.__dict__ | tables)
            children = {name: child if child is None else made(child) for name, child in module._modules.items()}
            copy.__dict__["_modules"] = children
        return known[id(module)]

    return made(model)


def _begin(threads: int, autocast: bool, dtype: torch.dtype) -> None:
    """Make a new thread compute as the one that started it."""
    torch.set_num_threads(threads)
    torch.set_autocast_enabled("cpu", autocast)
    torch.set_autocast_dtype("cpu", dtype)


def _on_cpu(model: nn.Module, batch: Batch) -> bool:
    tensors: Sequence[Any] = [*batch.values(), *trainable(model).values()]
    return all(each.device.type == "cpu" for each in tensors)


def _is_watched() -> bool:
    modes = torch._C._len_torch_dispatch_stack() + torch._C._len_torch_function_stack()
    raised = torch.get_float32_matmul_precision() != "highest"  # a setting of the whole process, which norms raise
    return raised or modes > 0 or threading.current_thread() is not threading.main_thread()
