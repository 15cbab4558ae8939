"""Virtual records whose gradients are known: canaries that measure what the mechanism itself gives away.

A virtual record's raw gradient is 10 C at one coordinate and 0 elsewhere, so clipping makes it exactly C. It is drawn
by the same sampler class, clipped by the same function, summed, noised and divided with the real records.

Family `block`: the coordinate is one of those that are appended to the parameters; the model is not touched. Several
records may share one, or a record may be a direction of many (`Directions`), still of norm C.
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

__all__ = [
    "BLOCK",
    "Directions",
    "GradientCanaries",
    "Placement",
    "block_placement",
    "coordinate_placement",
    "hadamard_placement",
    "sparse_sign_placement",
]

#: the appended tensor's name: no parameter can be called so, for attribute names hold no space
BLOCK = "audit block"


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
        ids = [f"{prefixes[name]}:{at}" for name, every in self.positions.items() for at in every.tolist()]
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


@dataclass(frozen=True, kw_only=True)
class Directions(Placement):
    """Candidates whose gradient is a direction of length 1 on an appended block, times 10 C.

    at: (m, s) coordinates of each candidate, all different; signs: (m, s) of +1 or -1; s is a power of 4, so that every
    entry, sign / sqrt(s), and so the norm, are exact. size: coordinates of the block.
    """

    at: NDArray[np.int64]
    signs: NDArray[np.float32]
    size: int

    def insert(self, sums: Gradients, values: Tensor) -> None:
        """Add one value per candidate, (m,), along its direction, in place; append the block if it is not there."""
        target = sums.setdefault(BLOCK, torch.zeros(self.size, dtype=values.dtype, device=values.device))
        target.index_add_(0, self._coordinates(target).flatten(), (values[:, None] * self._weights(target)).flatten())

    def read(self, gradients: Gradients) -> NDArray[np.float32]:
        """Return the inner product with each candidate's direction, (m,)."""
        block = gradients[BLOCK]
        along = (block[self._coordinates(block)] * self._weights(block)).sum(dim=1)
        return along.to(device="cpu", dtype=torch.float32).numpy()

    def _coordinates(self, like: Tensor) -> Tensor:
        return torch.from_numpy(self.at).to(like.device)

    def _weights(self, like: Tensor) -> Tensor:
        return torch.from_numpy(self.signs / np.float32(self.at.shape[1] ** 0.5)).to(like)


def block_placement(size: int, per_coordinate: int = 1) -> Placement:
    """Return `size` candidates on a block of coordinates of their own, so many on each.

    Those who share a coordinate are in or out by coins of their own, and each is noise to the others' scores.

    >>> block_placement(3).ids.tolist()
    ['block:0', 'block:1', 'block:2']
    """
    _check_block(size, per_coordinate)
    if per_coordinate == 1:
        return Placement(family="block", positions=_numbered(size))
    at = np.arange(size, dtype=np.int64)[:, None] // per_coordinate
    return Directions(
        family="block",
        positions=_numbered(size),
        at=at,
        signs=np.ones((size, 1), dtype=np.float32),
        size=-(-size // per_coordinate),
    )


def hadamard_placement(size: int, spread: int) -> Placement:
    """Return `size` candidates along orthogonal directions: Hadamard's rows on groups of `spread` coordinates.

    As strong as one coordinate each where noise is what it says; unlike those, they see noise that coordinates share.
    """
    _check_block(size, 1, spread)
    matrix = np.ones((1, 1), dtype=np.float32)
    while len(matrix) < spread:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    number = np.arange(size, dtype=np.int64)
    first = number // spread * spread
    return Directions(
        family="block",
        positions=_numbered(size),
        at=first[:, None] + np.arange(spread, dtype=np.int64),
        signs=np.ascontiguousarray(matrix[number % spread]),
        size=-(-size // spread) * spread,
    )


def sparse_sign_placement(size: int, spread: int, rng: Rng, per_coordinate: int = 1) -> Placement:
    """Return `size` candidates along random signs on `spread` random coordinates of size / per_coordinate.

    One coordinate of each of `spread` parts of the block, so that no direction has one twice. Directions meet, and each
    is noise to the others' scores.
    """
    _check_block(size, per_coordinate, spread)
    part = max(1, -(-size // (per_coordinate * spread)))
    draw = rng.child("sparse sign").numpy()
    at = draw.integers(part, size=(size, spread)) + np.arange(spread, dtype=np.int64) * part
    signs = draw.integers(2, size=(size, spread)).astype(np.float32) * 2 - 1
    return Directions(family="block", positions=_numbered(size), at=at, signs=signs, size=part * spread)


def _numbered(size: int) -> dict[str, NDArray[np.int64]]:
    return {BLOCK: np.arange(size, dtype=np.int64)}


def _check_block(size: int, per_coordinate: int, spread: int = 1) -> None:
    if size < 1:
        raise InputError("canaries.block", size, "at least 1")
    if per_coordinate < 1:
        raise InputError("canaries.per_coordinate", per_coordinate, "at least 1")
    if spread not in [4**power for power in range(8)]:
        raise InputError("canaries.spread", spread, "a power of 4 up to 16384: every entry is then exact")


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
    """A family of virtual records and who of them is in: `members` (m,), the coins in the order of `placement.ids`.

    raw_norm: of their gradients before they are clipped, in C.
    """

    placement: Placement
    members: NDArray[np.bool_]
    raw_norm: float = 10.0

    def __post_init__(self) -> None:
        if self.members.shape != (len(self.placement),) or self.members.dtype != np.bool_:
            found = (self.members.shape, str(self.members.dtype))
            raise InputError(f"coins of family {self.placement.family}", found, f"{len(self.placement)} booleans")

    def contribute(self, sums: Gradients, mask: NDArray[np.bool_], clip: float) -> None:
        """Add the clipped gradients of the members among `mask`, (m,), to the sums, in place.

        A record's gradient is a number, the same for all, times its direction, of length 1: so the number is its norm,
        and is clipped.
        """
        like = next(iter(sums.values()))
        drawn = torch.from_numpy(mask & self.members).to(like.device)
        norm = torch.tensor(self.raw_norm * clip, dtype=torch.float32, device=like.device)
        self.placement.insert(sums, drawn * (norm * clip_factors(norm, clip)))
