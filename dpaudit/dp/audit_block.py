"""Virtual records whose gradients are known: canaries that measure what the mechanism itself gives away.

A virtual record's raw gradient is 10 C at one coordinate and 0 elsewhere, so clipping makes it exactly C. It is drawn
by the same sampler class, clipped by the same function, summed, noised and divided with the real records.

Family `block`: the coordinate is one of m that are appended to the parameters; the model is not touched.
Family `coordinates`: the coordinate is one of the model's own; the record is added to the real gradient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from dpaudit.dp.clipping import clip_factors
from dpaudit.dp.tensors import Gradients, trainable
from dpaudit.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from dpaudit.canaries import Family
    from dpaudit.rng import Rng

__all__ = ["BLOCK", "GradientCanaries", "Placement", "block_placement", "coordinate_placement"]

#: the appended tensor's name: no parameter can be called so, for attribute names hold no space
BLOCK = "audit block"
_RAW_NORM_IN_CLIPS = 10.0


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where each virtual record of a family has its gradient.

    positions: tensor name -> distinct positions in the flattened tensor; candidates follow the mapping's order.
    """

    family: Family
    positions: dict[str, NDArray[np.int64]]

    def __len__(self) -> int:
        return sum(len(at) for at in self.positions.values())

    @property
    def ids(self) -> NDArray[np.str_]:
        """Return the candidates' ids, (m,): "block:7", "coordinates:encoder.weight:123"."""
        prefixes = {name: self.family if name == BLOCK else f"{self.family}:{name}" for name in self.positions}
        ids = [f"{prefixes[name]}:{at}" for name, every in self.positions.items() for at in every]
        return np.array(ids, dtype=np.str_)

    def insert(self, sums: Gradients, values: Tensor) -> None:
        """Add one value per candidate, (m,), to the gradient sums, in place; append the block if it is not there."""
        if BLOCK in self.positions:
            sums.setdefault(BLOCK, torch.zeros_like(values))
        start = 0
        for name, at in self.positions.items():
            target, part = sums[name], values[start : start + len(at)]
            target.view(-1).index_add_(0, self._index(name, target), part.to(target))
            start += len(at)

    def read(self, gradients: Gradients) -> NDArray[np.float32]:
        """Return the value at each candidate's coordinate, (m,)."""
        flat = {name: gradients[name].reshape(-1) for name in self.positions}
        parts = [tensor.index_select(0, self._index(name, tensor)) for name, tensor in flat.items()]
        return torch.cat([part.to(device="cpu", dtype=torch.float32) for part in parts]).numpy()

    def _index(self, name: str, tensor: Tensor) -> Tensor:
        return torch.from_numpy(self.positions[name]).to(tensor.device)


def block_placement(size: int) -> Placement:
    """Return `size` candidates on a block of coordinates of their own.

    >>> block_placement(3).ids.tolist()
    ['block:0', 'block:1', 'block:2']
    """
    if size < 1:
        raise InputError("canaries.block", size, "at least 1")
    return Placement(family="block", positions={BLOCK: np.arange(size, dtype=np.int64)})


def coordinate_placement(model: nn.Module, per_tensor: int, rng: Rng) -> Placement:
    """Return candidates on `per_tensor` random coordinates of every trained tensor (all, of a smaller one)."""
    if per_tensor < 1:
        raise InputError("canaries.coordinates", per_tensor, "at least 1")
    positions = {}
    for name, parameter in trainable(model).items():
        count = min(per_tensor, parameter.numel())
        chosen = rng.child(name).numpy().choice(parameter.numel(), count, replace=False, shuffle=False)
        positions[name] = np.sort(chosen).astype(np.int64)
    return Placement(family="coordinates", positions=positions)


@dataclass(frozen=True)
class GradientCanaries:
    """A family of virtual records and who of them is in: `members` (m,), the coins in the order of `placement.ids`."""

    placement: Placement
    members: NDArray[np.bool_]

    def __post_init__(self) -> None:
        if self.members.shape != (len(self.placement),) or self.members.dtype != np.bool_:
            found = (self.members.shape, str(self.members.dtype))
            raise InputError(f"coins of family {self.placement.family}", found, f"{len(self.placement)} booleans")

    def contribute(self, sums: Gradients, mask: NDArray[np.bool_], clip: float) -> None:
        """Add the clipped gradients of the members among `mask`, (m,), to the sums, in place.

        The records' gradients are orthogonal, so one vector holds them all: entry j is record j's only entry.
        """
        like = next(iter(sums.values()))
        drawn = torch.from_numpy(mask & self.members).to(like.device)
        raw = drawn.to(torch.float32) * (_RAW_NORM_IN_CLIPS * clip)
        self.placement.insert(sums, raw * clip_factors(raw.abs(), clip))
