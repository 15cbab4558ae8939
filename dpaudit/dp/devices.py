"""The devices of this machine: which there are, and which one a recipe's word means.

Where a run computes changes the last bits of its sums and nothing that it promises: who is in a batch, the noise and
the coins are drawn on the CPU, whatever the device.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from dpaudit.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["CPU", "device_of", "devices", "in_words", "one_thread"]

CPU = torch.device("cpu")


def devices() -> tuple[torch.device, ...]:
    """Return every device that is here, the one that `auto` means first and the CPU last.

    >>> devices()[-1]
    device(type='cpu')
    """
    found = [torch.device("cuda", index) for index in range(_gpus())]
    if torch.backends.mps.is_available():
        found.append(torch.device("mps"))
    return (*found, CPU)


def device_of(name: str) -> torch.device:
    """Return the device of this name; InputError when it is not here.

    `cuda` is the first GPU, or the own one of each process that torchrun has started; `auto` is `cuda` where there is
    one, else the CPU. `mps` is never chosen, only asked for.

    >>> device_of("cpu")
    device(type='cpu')
    """
    gpus = _gpus()
    if name == "auto":
        name = "cuda" if gpus else "cpu"
    if name == "cuda" and gpus:
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % gpus)
    here = {str(device): device for device in devices()}
    if name not in here:
        raise InputError("compute.device", name, f"a device that is here: {', '.join(here)}")
    return here[name]


def in_words(device: torch.device) -> str:
    """Return the device with the name of its model.

    >>> in_words(CPU)
    'cpu'
    """
    return f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)


def _gpus() -> int:
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread of the CPU inside: exactly repeatable, and for tiny models the fastest."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
