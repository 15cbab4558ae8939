"""Linear encoders and the linear contrastive loss (Nakada et al. 2023, arXiv 2302.06232, section 2).

L = - mean_i <G x_i, H y_i> + mean_{i != j} <G x_i, H y_j> + penalty / 2 |G^T H|^2. The first two terms are
- tr(G S H^T) with the unbiased cross-covariance S of the batch, so L is least where G^T H is the best approximation of
S / penalty of rank r, and the rows of G span the leading left singular vectors of S.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor, nn

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["LinearTowers", "linear_gradients", "linear_loss", "sin_theta"]


class LinearTowers(nn.Module):
    """Two matrices without bias: image (rank, d) and text (rank, d), drawn from N(0, 1 / d).

    >>> import torch
    >>> LinearTowers(10, rank=2)(torch.zeros(3, 10)).shape
    torch.Size([3, 2])
    """

    def __init__(self, dimensions: int, *, rank: int) -> None:
        super().__init__()
        for name in ("image", "text"):
            layer = nn.Linear(dimensions, rank, bias=False)
            nn.init.normal_(layer.weight, std=1 / math.sqrt(dimensions))
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> Tensor:
        """Return the image vectors of x (n, d), (n, rank)."""
        layer = self.get_submodule("image")
        vectors: Tensor = layer(x)
        return vectors


def linear_loss(image: Tensor, text: Tensor, x: Tensor, y: Tensor, penalty: float) -> Tensor:
    """Return the loss of n >= 2 pairs, a scalar. image, text: matrices (rank, d); x, y: (n, d)."""
    agreement = (image @ _covariance(x, y) * text).sum()
    return penalty / 2 * (image.T @ text).square().sum() - agreement


def linear_gradients(image: Tensor, text: Tensor, x: Tensor, y: Tensor, penalty: float) -> tuple[Tensor, Tensor]:
    """Return the gradients of `linear_loss` at the two matrices, in closed form."""
    shared = _covariance(x, y)
    at_image = penalty * text @ text.T @ image - text @ shared.T
    at_text = penalty * image @ image.T @ text - image @ shared
    return at_image, at_text


def sin_theta(encoder: NDArray[np.floating], truth: NDArray[np.floating]) -> float:
    """Return the sine of the largest angle between an encoder's rows (rank, d) and the truth's columns (d, rank).

    0 where they span the same space, 1 where some direction of one is orthogonal to all of the other.

    >>> sin_theta(np.eye(2, 4), np.eye(4, 2)), sin_theta(np.eye(2, 4), np.eye(4, 2, -2))
    (0.0, 1.0)
    """
    rows, _ = np.linalg.qr(encoder.T)
    least = float(np.linalg.svd(rows.T @ truth, compute_uv=False).min())
    return math.sqrt(max(0.0, 1 - least**2))


def _covariance(x: Tensor, y: Tensor) -> Tensor:
    return (x - x.mean(dim=0)).T @ (y - y.mean(dim=0)) / (len(x) - 1)
