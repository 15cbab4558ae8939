"""Gaussian noise, drawn on all cores, and what is kept of it to check its scale.

A stream belongs to one step and one tensor and is cut into chunks of fixed length, each with a counter of its own:
the numbers are the same for any number of threads, on every rank, and in a run that was stopped and resumed.

Two generators. Philox (the default) is statistically good; its float32 noise is not exactly Gaussian in its last bits
(Mironov 2012, "On significance of the least significant bits for differential privacy"), and the accounting treats it
as if it were. SHAKE-256 (`secure`) cannot be predicted from other noise, and its float64 sum is rounded to a grid far
coarser than its last bits.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from dpaudit.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray
    from torch import Tensor

    from dpaudit.dp.tensors import Gradients
    from dpaudit.rng import Rng

__all__ = ["CHUNK", "Noise", "NoiseMeasure", "add_noise", "gaussian_like"]

#: numbers per chunk; even, for Box-Muller makes pairs
CHUNK = 1 << 16
#: numbers below which other threads take longer to begin than one takes for all
_SHARED_FROM = 4 * CHUNK
#: numbers that are drawn before they are added
_TOGETHER = 1 << 22
#: the grid of `secure` is 2^-20 of the largest power of two in the std: float32 holds it exactly up to 8 std
_GRID_BITS = 20


@dataclass(frozen=True)
class NoiseMeasure:
    """How large the added noise was: sum_of_squares / std^2 is chi-square with `count` degrees of freedom."""

    sum_of_squares: float = 0.0
    count: int = 0

    def __add__(self, other: NoiseMeasure) -> NoiseMeasure:
        return NoiseMeasure(self.sum_of_squares + other.sum_of_squares, self.count + other.count)


@dataclass(frozen=True, kw_only=True)
class Noise:
    """N(0, std^2) on every coordinate, by one of the two generators. std 0 adds nothing and draws nothing.

    threads: None = as many as torch computes with (OMP_NUM_THREADS, torch.set_num_threads); of no effect on the result.
    """

    std: float
    secure: bool = False
    threads: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.std < math.inf:
            raise InputError("noise std", self.std, "a finite number, 0 or more")
        if self.threads is not None and self.threads < 1:
            raise InputError("threads", self.threads, "at least 1")

    @property
    def generator(self) -> str:
        """Return the generator in words, for manifests."""
        return "SHAKE-256 in float64, rounded to a grid" if self.secure else "Philox 4x64, 128 bits of key, float32"

    def add(self, sums: Gradients, keys: Callable[[str], Rng]) -> tuple[Gradients, NoiseMeasure]:
        """Return every tensor plus noise from the key of its name, and the size of what was added."""
        if self.std == 0:
            count = sum(tensor.numel() for tensor in sums.values())
            return {name: tensor.clone() for name, tensor in sums.items()}, NoiseMeasure(0.0, count)
        noisy, measure = {}, NoiseMeasure()
        with ThreadPoolExecutor(self.threads or torch.get_num_threads()) as pool:
            for group in _groups(sums):
                for name, drawn in self._draw(group, keys, pool).items():
                    noisy[name] = self._added(group[name], drawn)
                    measure += _measure(noisy[name] - group[name])
        return noisy, measure

    def _added(self, tensor: Tensor, drawn: Tensor) -> Tensor:
        if self.secure:
            return _on_grid(tensor.detach().cpu().double() + drawn, self.std).to(tensor)
        return tensor + drawn.to(tensor)

    def _draw(self, group: Gradients, keys: Callable[[str], Rng], pool: ThreadPoolExecutor) -> Gradients:
        """Return noise in every tensor's shape, on the CPU: float32 (float64 for float64 tensors and when secure)."""
        fill = _fill_secure if self.secure else _fill_philox
        drawn = {name: np.empty(tensor.shape, self._kind(tensor)) for name, tensor in group.items()}

        def work(job: tuple[NDArray[Any], Rng, int]) -> None:
            out, key, chunk = job
            part = out[chunk * CHUNK : (chunk + 1) * CHUNK]
            fill(part, key, chunk)
            part *= self.std

        jobs = [(out.reshape(-1), keys(name), chunk) for name, out in drawn.items() for chunk in _chunks(out.size)]
        few = sum(out.size for out in drawn.values()) < _SHARED_FROM
        for _ in map(work, jobs) if few else pool.map(work, jobs):
            pass
        return {name: torch.from_numpy(out) for name, out in drawn.items()}

    def _kind(self, tensor: Tensor) -> np.dtype[Any]:
        return np.dtype(np.float64 if self.secure or tensor.dtype == torch.float64 else np.float32)


def _groups(sums: Gradients) -> Iterator[Gradients]:
    """Yield the tensors in groups of `_TOGETHER` numbers at most, or of one; threads share what a group needs."""
    group: Gradients = {}
    for name, tensor in sums.items():
        if group and sum(each.numel() for each in group.values()) + tensor.numel() > _TOGETHER:
            yield group
            group = {}
        group[name] = tensor
    if group:
        yield group


def _chunks(size: int) -> range:
    return range(-(-size // CHUNK))


def gaussian_like(tensor: Tensor, std: float, rng: Rng) -> Tensor:
    """Return independent N(0, std^2) in the tensor's shape, type and device, drawn from `rng` alone.

    Drawn by numpy's Philox on the CPU whatever the device, so a run is the same everywhere; torch's CPU generator keeps
    32 bits of its seed and is never used. std 0 gives zeros without a draw.
    """
    return add_noise(torch.zeros_like(tensor), std, rng)[0]


def add_noise(tensor: Tensor, std: float, rng: Rng, *, secure: bool = False) -> tuple[Tensor, NoiseMeasure]:
    """Return the tensor plus N(0, std^2), and the size of the difference between the two."""
    noisy, measure = Noise(std=std, secure=secure).add({"": tensor}, lambda _: rng)
    return noisy[""], measure


def _fill_philox(out: NDArray[Any], key: Rng, chunk: int) -> None:
    """Fill with standard normals by numpy's ziggurat, in the array's own precision."""
    key.numpy(chunk).standard_normal(out=out, dtype=out.dtype.type)


def _fill_secure(out: NDArray[np.float64], key: Rng, chunk: int) -> None:
    """Fill with standard normals by Box-Muller in float64, 128 bits of the stream for each pair.

    The radius has 64 bits, so it reaches 9.5 standard deviations; a Gaussian pair is beyond with chance 2^-65.
    """
    pairs = -(-out.size // 2)
    bits = np.frombuffer(key.stream(16 * pairs, chunk), dtype="<u8")
    radius = np.sqrt(-2 * np.log((bits[:pairs] + 0.5) * 2.0**-64))
    angle = bits[pairs:] * (2 * np.pi * 2.0**-64)
    out[:pairs] = radius * np.cos(angle)
    out[pairs:] = (radius * np.sin(angle))[: out.size - pairs]


def _on_grid(values: Tensor, std: float) -> Tensor:
    """Return float64 values rounded to multiples of 2^-20 of the largest power of two in `std`, (...).

    What is released then depends on the noise through the mass of whole grid cells, of which each holds so many
    float64 values that the gaps between them, which betray the sum (Mironov 2012), are of no weight.
    """
    grid = 2.0 ** (math.floor(math.log2(std)) - _GRID_BITS)
    return torch.round(values / grid) * grid


def _measure(noise: Tensor) -> NoiseMeasure:
    # in float64 without a float64 copy; a float32 sum of 5e6 squares is off by 3e-5, as much as its spread
    noise = noise.detach().cpu() if noise.device.type == "mps" else noise.detach()
    norm = float(torch.linalg.vector_norm(noise, dtype=torch.float64))
    return NoiseMeasure(norm**2, noise.numel())
