"""Gaussian noise, and what is kept of it to check its scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from torch import Tensor

    from dpaudit.rng import Rng

__all__ = ["NoiseMeasure", "add_noise", "gaussian_like"]


@dataclass(frozen=True)
class NoiseMeasure:
    """How large the added noise was: sum_of_squares / std^2 is chi-square with `count` degrees of freedom."""

    sum_of_squares: float = 0.0
    count: int = 0

    def __add__(self, other: NoiseMeasure) -> NoiseMeasure:
        return NoiseMeasure(self.sum_of_squares + other.sum_of_squares, self.count + other.count)


def gaussian_like(tensor: Tensor, std: float, rng: Rng) -> Tensor:
    """Return independent N(0, std^2) in the tensor's shape, type and device, drawn from `rng` alone.

    Drawn by numpy's Philox on the CPU whatever the device, so a run is the same everywhere; torch's CPU generator keeps
    32 bits of its seed and is never used. std 0 gives zeros without a draw.

    Limit: float32 noise is not exactly Gaussian in its last bits (Mironov 2012, "On significance of the least
    significant bits for differential privacy"); the accounting treats it as if it were.
    """
    if std == 0:
        return torch.zeros_like(tensor)
    dtype = np.float64 if tensor.dtype == torch.float64 else np.float32
    draws = torch.from_numpy(rng.numpy().standard_normal(tuple(tensor.shape), dtype=dtype))
    return draws.mul_(std).to(device=tensor.device, dtype=tensor.dtype)


def add_noise(tensor: Tensor, std: float, rng: Rng) -> tuple[Tensor, NoiseMeasure]:
    """Return the tensor plus N(0, std^2), and the size of the difference between the two."""
    noisy = tensor + gaussian_like(tensor, std, rng)
    return noisy, _measure(noisy - tensor)


def _measure(noise: Tensor) -> NoiseMeasure:
    flat = noise.detach().cpu().numpy().reshape(-1)
    # einsum adds in float64 without a float64 copy; a float32 sum of 5e6 squares is off by 3e-5, as much as its spread
    return NoiseMeasure(float(np.einsum("i,i->", flat, flat, dtype=np.float64)), flat.size)
