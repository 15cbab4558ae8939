"""Losses over pairs: slopes with respect to all similarities, and how far one record can move the sum of them.

A batch of n pairs has similarities Z_ij of first i with second j, in [-1, 1]. A loss has slopes c_ij = dL/dZ_ij; with
pair gradients clipped to B the released sum is sum_ij c_ij clip_B(grad Z_ij), and its sensitivity is B times the
largest L1 change of the slopes (Kong, Munoz Medina, Ribero 2023, arXiv 2310.03104, Theorem 4.2). Every constant here is
for the worst drawn size and is attained: docs/statistics/pairs.md has the proofs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch.nn.functional import logsigmoid

if TYPE_CHECKING:
    from torch import Tensor

    from dpaudit.mechanism import Adjacency

__all__ = ["InfoNCE", "PairLoss", "Sigmoid", "SpreadOut"]


class PairLoss(Protocol):
    """A loss of n pairs as a function of their similarities Z (n, n), n >= 1."""

    def __hash__(self) -> int:
        """Return a hash of its options."""

    def losses(self, z: Tensor) -> Tensor:
        """Return what each record adds to the loss, (n,)."""

    def slopes(self, z: Tensor) -> Tensor:
        """Return dL/dZ_ij of the summed loss L, (n, n)."""

    def change(self, adjacency: Adjacency, n: float = math.inf) -> float:
        """Return how far one record moves all slopes, in L1, when the larger batch has n pairs; infinity = any n.

        What belongs to a record that goes or comes counts in full, for its pair gradients go and come too.
        """

    def largest(self, n: int) -> float:
        """Return the largest L1 norm of the slopes of n pairs: the sum itself is never longer than B times that."""

    def worst(self, n: int) -> Tensor:
        """Return similarities (n, n) at which the last record moves the slopes most, under each adjacency."""


@dataclass(frozen=True, kw_only=True)
class InfoNCE:
    """-log softmax_j(Z_ij / temperature) at j = i, for every first i; two_sided: the mean with every second's own.

    >>> loss = InfoNCE(temperature=1.0)
    >>> round(loss.change("add-remove"), 2), round(loss.change("replace-one"), 2)
    (16.78, 18.78)
    >>> loss.slopes(torch.tensor([[0.5]])).item()
    0.0
    """

    temperature: float
    two_sided: bool = False

    @property
    def contrast(self) -> float:
        """Return a = e^(2 / temperature): how much more often one second may be chosen than another."""
        return math.exp(2 / self.temperature)

    def losses(self, z: Tensor) -> Tensor:
        """Return each record's cross-entropy in nats, (n,)."""
        first = -(z / self.temperature).log_softmax(1).diagonal()
        if not self.two_sided:
            return first
        return (first - (z / self.temperature).log_softmax(0).diagonal()) / 2

    def slopes(self, z: Tensor) -> Tensor:
        """Return (p_ij - [i = j]) / temperature, or its mean with the columns' own, (n, n)."""
        p = (z / self.temperature).softmax(1)
        if self.two_sided:
            p = (p + (z / self.temperature).softmax(0)) / 2
        return (p - torch.eye(len(z), dtype=z.dtype, device=z.device)) / self.temperature

    def change(self, adjacency: Adjacency, n: float = math.inf) -> float:
        """Return the largest L1 change: own row 2 (1 - p_nn), once or twice, and 2 p_in in every other row."""
        others, a = max(n - 1, 0), self.contrast
        own = 2.0 if math.isinf(n) else 2 * others * a / (1 + others * a)
        rest = 2 * a if math.isinf(n) else 2 * others * a / (a + others)
        return ((2 if adjacency == "replace-one" else 1) * own + rest) / self.temperature

    def largest(self, n: int) -> float:
        """Return n times the largest own row."""
        others, a = n - 1, self.contrast
        return n * 2 * others * a / (1 + others * a) / self.temperature

    def worst(self, n: int) -> Tensor:
        """Return: the last pair unlike itself and like all others, which are like nothing else."""
        return _last_like_others(n)


@dataclass(frozen=True, kw_only=True)
class SpreadOut:
    """-Z_ii + repulsion x the mean over j /= i of Z_ij^2 (Zhang, Yu, Kumar, Chang 2017): no temperature.

    >>> SpreadOut().change("add-remove"), SpreadOut().change("replace-one")
    (7.0, 10.0)
    """

    repulsion: float = 1.0

    def losses(self, z: Tensor) -> Tensor:
        """Return each record's loss, (n,)."""
        own = z.diagonal()
        return -own + self.repulsion * (z.square().sum(1) - own.square()) / max(len(z) - 1, 1)

    def slopes(self, z: Tensor) -> Tensor:
        """Return -1 on the diagonal and 2 repulsion Z_ij / (n - 1) beside it, (n, n)."""
        return _with_diagonal(2 * self.repulsion * z / max(len(z) - 1, 1), -torch.ones_like(z.diagonal()))

    def change(self, adjacency: Adjacency, n: float = math.inf) -> float:
        """Return the largest L1 change: own pair 1, row and column 2 repulsion each, and the others' new divisor."""
        return _bounded_change(1.0, 2 * self.repulsion, adjacency, n)

    def largest(self, n: int) -> float:
        """Return n (1 + 2 repulsion), n for one pair alone."""
        return n * (1 + 2 * self.repulsion * (n > 1))

    def worst(self, n: int) -> Tensor:
        """Return: all alike."""
        return torch.ones(n, n, dtype=torch.float64)


@dataclass(frozen=True, kw_only=True)
class Sigmoid:
    """The pairwise sigmoid loss (Zhai et al. 2023, arXiv 2303.15343), its negatives capped: no softmax couples pairs.

    temperature x (-log s(l_ii) - repulsion x the mean over j /= i of log s(-l_ij)), l = Z / temperature + bias, s the
    sigmoid. The factor makes every slope at most 1, so the sensitivity is O(1) at any temperature and any n.

    >>> Sigmoid(temperature=0.01).change("add-remove"), Sigmoid(temperature=0.01).change("replace-one")
    (4.0, 6.0)
    """

    temperature: float
    bias: float = 0.0
    repulsion: float = 1.0

    def losses(self, z: Tensor) -> Tensor:
        """Return each record's loss, (n,)."""
        logits = z / self.temperature + self.bias
        own, apart = logsigmoid(logits.diagonal()), logsigmoid(-logits)
        others = (apart.sum(1) - apart.diagonal()) / max(len(z) - 1, 1)
        return -self.temperature * (own + self.repulsion * others)

    def slopes(self, z: Tensor) -> Tensor:
        """Return -s(-l_ii) on the diagonal and repulsion s(l_ij) / (n - 1) beside it, (n, n)."""
        logits = z / self.temperature + self.bias
        beside = self.repulsion * logits.sigmoid() / max(len(z) - 1, 1)
        return _with_diagonal(beside, -(-logits.diagonal()).sigmoid())

    def change(self, adjacency: Adjacency, n: float = math.inf) -> float:
        """Return the largest L1 change: own pair s(1/t - bias), row and column repulsion s(1/t + bias) each, divisor.

        At most 1 + 3 repulsion (add-remove) and 2 + 4 repulsion (replace-one).
        """
        return _bounded_change(self._own, self._beside, adjacency, n)

    def largest(self, n: int) -> float:
        """Return n times the largest slopes of a row."""
        return n * (self._own + self._beside * (n > 1))

    def worst(self, n: int) -> Tensor:
        """Return: every pair unlike itself and like all others."""
        z = torch.ones(n, n, dtype=torch.float64)
        return z.fill_diagonal_(-1.0)

    @property
    def _own(self) -> float:
        return _sigmoid(1 / self.temperature - self.bias)

    @property
    def _beside(self) -> float:
        return self.repulsion * _sigmoid(1 / self.temperature + self.bias)


def _bounded_change(own: float, beside: float, adjacency: Adjacency, n: float) -> float:
    """Return the L1 change of slopes that depend on their own similarity and on n alone.

    own: the largest slope of a record's own pair. beside: the largest sum of n - 1 slopes beside it, in a row or in a
    column; each is divided by n - 1, so one record less makes those of all other rows larger, by `beside` in sum.
    """
    if adjacency == "replace-one":
        return 2 * (own + (2 * beside if n >= 2 else 0.0)) if n >= 1 else 0.0
    return own + (3 * beside if n >= 3 else 2 * beside if n >= 2 else 0.0) if n >= 1 else 0.0


def _with_diagonal(matrix: Tensor, diagonal: Tensor) -> Tensor:
    return matrix - torch.diag(matrix.diagonal()) + torch.diag(diagonal)


def _last_like_others(n: int) -> Tensor:
    z = -torch.ones(n, n, dtype=torch.float64)
    if n:
        z[-1], z[:, -1], z[-1, -1] = 1.0, 1.0, -1.0
    return z


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))
