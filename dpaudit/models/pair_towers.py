"""Networks that place images on the unit sphere, where the cosine of two says how well they match.

As in the public code of Logit-DP (Kong, Munoz Medina, Ribero 2023, arXiv 2310.03104): a convolutional network of 8, 16
and 32 channels with an embedding of 8 numbers, and ResNet18 (He et al. 2016) without batch norm. None has a layer that
mixes records.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import torch
from torch import nn
from torch.nn.functional import normalize, relu

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

__all__ = ["LEAST_LENGTH", "Norm", "PairTowers", "linear", "resnet18", "small_convolutions"]

#: a shorter vector is not lengthened to 1, or its derivative would know no bound
LEAST_LENGTH = 1e-6
#: what stands behind the convolutions of ResNet18
Norm: TypeAlias = Literal["none", "group"]

_CHANNELS = (8, 16, 32)
_STAGES = (64, 128, 256, 512)
_GROUPS = 16


class PairTowers(nn.Module):
    """Images (n, 3, S, S) -> unit vectors (n, e): firsts and seconds of pairs by one network, or by one each.

    >>> towers = PairTowers(lambda: small_convolutions(embedding=8), shared=True)
    >>> towers(torch.zeros(2, 3, 32, 32)).shape, sum(parameter.numel() for parameter in towers.parameters())
    (torch.Size([2, 8]), 6296)
    """

    def __init__(self, make: Callable[[], nn.Module], *, shared: bool) -> None:
        super().__init__()
        self.tower = make()
        self.second_tower = None if shared else make()

    def forward(self, images: Tensor) -> Tensor:
        """Return unit vectors of firsts, (n, e)."""
        return normalize(self.tower(images), dim=1, eps=LEAST_LENGTH)

    def seconds(self, images: Tensor) -> Tensor:
        """Return unit vectors of seconds, (n, e)."""
        return normalize((self.second_tower or self.tower)(images), dim=1, eps=LEAST_LENGTH)

    def heads(self) -> tuple[Tensor, Tensor]:
        """Return the matrices (e, d) of `linear` towers; the same one twice where both sides share it."""
        first, second = (next(iter(tower.parameters())) for tower in (self.tower, self.second_tower or self.tower))
        return first, second


def small_convolutions(*, embedding: int) -> nn.Module:
    """Return three 3 x 3 convolutions of stride 2 with rectifiers, the mean over all places, and a linear layer."""
    layers: list[nn.Module] = []
    for before, after in zip((3, *_CHANNELS), _CHANNELS, strict=False):
        layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.ReLU()]
    return _initialised(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(after, embedding)))


def linear(*, image_size: int, embedding: int) -> nn.Module:
    """Return a linear map of the pixels, without a bias."""
    return _initialised(nn.Sequential(nn.Flatten(), nn.Linear(3 * image_size**2, embedding, bias=False)))


def resnet18(*, embedding: int, norm: Norm) -> nn.Module:
    """Return ResNet18 without batch norm: nothing or a group norm in its place."""
    blocks: list[nn.Module] = []
    for before, after in zip((_STAGES[0], *_STAGES), _STAGES, strict=False):
        blocks += [_Block(before, after, norm), _Block(after, after, norm)]
    first = nn.Conv2d(3, _STAGES[0], 7, stride=2, padding=3, bias=norm == "none")
    start = (first, _norm(norm, _STAGES[0]), nn.ReLU(), nn.MaxPool2d(3, stride=2, padding=1))
    end = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(_STAGES[-1], embedding))
    return _initialised(nn.Sequential(*start, *blocks, *end))


class _Block(nn.Module):
    """Two 3 x 3 convolutions beside a skip path; the first has stride 2 where the number of channels changes."""

    def __init__(self, before: int, after: int, norm: Norm) -> None:
        super().__init__()
        stride, bias = 1 if before == after else 2, norm == "none"
        self.first = nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=bias)
        self.second = nn.Conv2d(after, after, 3, padding=1, bias=bias)
        self.norms = nn.ModuleList([_norm(norm, after), _norm(norm, after)])
        skip = nn.Sequential(nn.Conv2d(before, after, 1, stride=stride, bias=bias), _norm(norm, after))
        self.skip = nn.Identity() if before == after else skip

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, after, H', H')."""
        hidden = relu(self.norms[0](self.first(x)))
        return relu(self.skip(x) + self.norms[1](self.second(hidden)))


def _norm(norm: Norm, channels: int) -> nn.Module:
    return nn.GroupNorm(_GROUPS, channels) if norm == "group" else nn.Identity()


def _initialised(network: nn.Module) -> nn.Module:
    """Give every convolution and linear layer weights of variance 2 / fan-in (He et al. 2015) and no bias."""
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
    return network
