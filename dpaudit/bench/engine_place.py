"""Where a step is measured: a problem moved there, a clock that waits for a GPU, peak memory and largest batch."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import torch

from dpaudit.dp.precision import at_precision
from dpaudit.dp.tensors import moved

if TYPE_CHECKING:
    from collections.abc import Callable

    from dpaudit.bench.engine_cases import Case, Problem, Step
    from dpaudit.dp.precision import Precision

__all__ = ["LARGEST", "finished", "largest_batch", "peak_on_gpu", "placed"]

#: records of a pass above which nobody looks
LARGEST = 1 << 14


def placed(problem: Problem, device: torch.device, precision: Precision) -> Problem:
    """Return the problem on a device, its losses in a precision."""
    model, losses, batch = problem
    return model.to(device), at_precision(losses, precision), moved(batch, device)


def finished(device: torch.device) -> None:
    """Wait until the device has done all that it was asked for: a GPU takes orders faster than it carries them out."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def peak_on_gpu(step: Step, device: torch.device) -> int | None:
    """Return the most memory that a step's tensors took on a GPU above what was there before; None on others."""
    if device.type != "cuda":
        return None
    step()  # the first may check itself
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    step()
    return torch.cuda.max_memory_allocated(device) - before


def largest_batch(case: Case, run: Callable[[Problem], object]) -> int:
    """Return how many records one pass can take before memory ends: 0, or k 2^j with k 2 or 3, at most LARGEST.

    run: takes the step on a problem of that many records, and raises torch.OutOfMemoryError.
    """
    largest, tried = 0, 1
    while tried <= LARGEST and _fits(case, tried, run):
        largest, tried = tried, 2 * tried
    between = largest + largest // 2
    return between if largest < between < tried <= LARGEST and _fits(case, between, run) else largest


def _fits(case: Case, records: int, run: Callable[[Problem], object]) -> bool:
    problem = dataclasses.replace(case, records=records).build()
    try:
        run(problem)
    except torch.OutOfMemoryError:
        return False
    finally:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return True
