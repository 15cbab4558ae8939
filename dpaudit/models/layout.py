"""Another library's weights as a rearrangement of ours, so that they can be read and written back without loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import torch

from dpaudit.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor, nn

__all__ = ["Entry", "Layout", "State", "fused", "patches", "reshaped", "same", "transposed"]

#: tensor name -> tensor
State: TypeAlias = dict[str, "Tensor"]

_SHOWN = 3


@dataclass(frozen=True)
class Entry:
    """One tensor of theirs and what it is of ours. `write` undoes `read` exactly."""

    theirs: str
    ours: tuple[str, ...]
    read: Callable[[Tensor], tuple[Tensor, ...]]
    write: Callable[[tuple[Tensor, ...]], Tensor]


@dataclass(frozen=True)
class Layout:
    """All tensors of another library's module, in its order. name: what it is called in messages."""

    name: str
    entries: tuple[Entry, ...]

    def export(self, module: nn.Module) -> State:
        """Return our module's weights under their names and in their shapes; copies."""
        return self._written(module.state_dict())

    def load(self, module: nn.Module, state: Mapping[str, Tensor]) -> None:
        """Copy their weights into our module.

        Raises InputError when names or shapes are others than the module's size asks for; the first three are named.
        """
        self._check(module, state)
        ours: State = {}
        for entry in self.entries:
            ours |= dict(zip(entry.ours, entry.read(state[entry.theirs]), strict=True))
        module.load_state_dict({name: tensor.contiguous() for name, tensor in ours.items()})

    def _written(self, state: Mapping[str, Tensor]) -> State:
        return {
            entry.theirs: entry.write(tuple(state[name] for name in entry.ours)).clone(
                memory_format=torch.contiguous_format
            )
            for entry in self.entries
        }

    def _check(self, module: nn.Module, state: Mapping[str, Tensor]) -> None:
        expected = self._written({name: tensor.to("meta") for name, tensor in module.state_dict().items()})
        missing = [name for name in expected if name not in state]
        if missing:
            raise InputError("weights", f"without {_first(missing)}", f"every tensor of {self.name}")
        unknown = [name for name in state if name not in expected]
        if unknown:
            raise InputError("weights", f"with {_first(unknown)}", f"no other tensors than those of {self.name}")
        wrong = [
            f"{name} is {tuple(state[name].shape)} and not {tuple(tensor.shape)}"
            for name, tensor in expected.items()
            if state[name].shape != tensor.shape
        ]
        if wrong:
            found = f"{len(wrong)} of {len(expected)} tensors of another shape"
            raise InputError("weights", found, f"the shapes of {self.name} at this size, but {_first(wrong)}")


def same(theirs: str, ours: str) -> Entry:
    """Return a tensor that only has another name."""
    return Entry(theirs, (ours,), lambda tensor: (tensor,), lambda parts: parts[0])


def reshaped(theirs: str, ours: str, shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> Entry:
    """Return a tensor that has another shape: shapes holds theirs, then ours."""
    return Entry(
        theirs, (ours,), lambda tensor: (tensor.reshape(shapes[1]),), lambda parts: parts[0].reshape(shapes[0])
    )


def transposed(theirs: str, ours: str) -> Entry:
    """Return a matrix that multiplies from the other side."""
    return Entry(theirs, (ours,), lambda tensor: (tensor.T,), lambda parts: parts[0].T)


def fused(theirs: str, ours: Sequence[str]) -> Entry:
    """Return equal parts that lie one after the other in their first dimension: query, key and value."""
    return Entry(theirs, tuple(ours), lambda tensor: tensor.chunk(len(ours)), torch.cat)


def patches(theirs: str, ours: str, side: int) -> Entry:
    """Return a convolution over disjoint patches, (width, channels, side, side); ours is linear, (width, values).

    The values of a patch are in the order row, column, channel.
    """

    def read(tensor: Tensor) -> tuple[Tensor, ...]:
        return (tensor.permute(0, 2, 3, 1).flatten(1),)

    def write(parts: tuple[Tensor, ...]) -> Tensor:
        return parts[0].reshape(len(parts[0]), side, side, -1).permute(0, 3, 1, 2)

    return Entry(theirs, (ours,), read, write)


def _first(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
