"""Initial weights from a given key: torch's layers draw theirs from a global generator, which is left as it was."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dpaudit.rng import Rng

__all__ = ["seeded", "xavier"]


@contextmanager
def seeded(rng: Rng) -> Iterator[None]:
    """Seed torch's CPU generator from `rng` inside the block and restore it afterwards; no other device is touched.

    >>> from dpaudit.rng import Rng
    >>> with seeded(Rng.from_seed(1)):
    ...     first = torch.rand(3)
    >>> with seeded(Rng.from_seed(1)):
    ...     again = torch.rand(3)
    >>> bool((first == again).all())
    True
    """
    with torch.random.fork_rng(devices=[]):
        # torch.manual_seed would also seed every accelerator, and fork_rng would not restore those.
        torch.default_generator.manual_seed(rng.integer())
        yield


def xavier(module: nn.Module) -> None:
    """Give every linear layer below `module` Xavier-uniform weights and zero bias (Glorot, Bengio 2010)."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
