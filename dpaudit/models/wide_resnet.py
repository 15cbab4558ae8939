"""The wide residual network of De, Berrada, Hayes, Smith, Balle 2022 (arXiv 2204.13650): group norm, no batch norm.

As in their public code: a rectifier stands before each norm, the first block of a stage has a norm and a 1 x 1
convolution on its skip path, and a convolution's weight is standardised (Qiao et al. 2019) and scaled by a trained
gain. One difference: a convolution of stride 2 pads one pixel on all sides, JAX's "same" only below and on the right.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn.functional import conv2d, relu

from dpaudit.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["StandardisedConvolution", "WideResNet"]

_GROUPS = 16
_LEAST_VARIANCE = 1e-4
_SHRINKS = 4


class StandardisedConvolution(nn.Module):
    """A convolution whose kernels have mean 0 and norm `gain`, plus a bias: w' = gain (w - mean w) / (std w sqrt(N)).

    N: entries of a kernel; N var w is at least 1e-4. Written as gain / (std w sqrt(N)) times (w * x - mean w (1 * x)),
    which is the same: every engine then has a rule for it, as w itself is convolved and all else is one number per
    kernel.
    """

    def __init__(self, before: int, after: int, kernel: int, *, stride: int = 1) -> None:
        super().__init__()
        fan_in = before * kernel**2
        self.weight = nn.Parameter(torch.randn(after, before, kernel, kernel) / fan_in**0.5)
        self.gain = nn.Parameter(torch.ones(after))
        self.bias = nn.Parameter(torch.zeros(after))
        self.stride, self.padding = stride, kernel // 2

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, after, H', H') of x (n, before, H, H)."""
        ones = torch.ones_like(self.weight[:1].detach())
        kernels = self.weight.flatten(1)
        scale = self.gain * (kernels.var(1, correction=0) * kernels.shape[1]).clamp_min(_LEAST_VARIANCE).rsqrt()
        seen = conv2d(x, self.weight, None, self.stride, self.padding)
        total = conv2d(x, ones, None, self.stride, self.padding)
        centred = seen - kernels.mean(1).reshape(-1, 1, 1) * total
        y: Tensor = centred * scale.reshape(-1, 1, 1) + self.bias.reshape(-1, 1, 1)
        return y


class WideResNet(nn.Module):
    """Images (n, 3, S, S) -> logits (n, classes). depth: 6 k + 4 layers in three stages; width: channels over 16 k.

    standardised: whether convolutions are `StandardisedConvolution`, as published, or plain ones.

    >>> sum(parameter.numel() for parameter in WideResNet(classes=10, depth=16, width=4).parameters())
    2753818
    """

    def __init__(self, *, classes: int, depth: int = 16, width: int = 4, standardised: bool = True) -> None:
        super().__init__()
        if depth < 10 or depth % 6 != 4:
            raise InputError("depth", depth, "6 k + 4 with k = 1, 2, ...: 10, 16, 22, 28, 34, 40")
        blocks, channels = (depth - 4) // 6, (16 * width, 32 * width, 64 * width)
        self.first = _convolution(3, 16, 3, standardised=standardised)
        stages = [
            _stage(before, after, blocks, stride, standardised=standardised)
            for before, after, stride in zip((16, *channels), channels, (1, 2, 2), strict=False)
        ]
        self.stages = nn.Sequential(*stages)
        self.norm = nn.GroupNorm(_GROUPS, channels[-1])
        self.head = nn.Linear(channels[-1], classes)
        nn.init.normal_(self.head.weight, std=channels[-1] ** -0.5)
        nn.init.zeros_(self.head.bias)

    def features(self, images: Tensor) -> Tensor:
        """Return what the last layer reads, (n, 64 width): the mean over all places."""
        places: Tensor = self.norm(relu(self.stages(self.first(images))))
        return places.mean(dim=(2, 3))

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits, (n, classes)."""
        logits: Tensor = self.head(self.features(images))
        return logits


class _Block(nn.Module):
    """Two convolutions beside a skip path, which has one of its own where the number of channels or places changes."""

    def __init__(self, before: int, after: int, stride: int, *, first: bool, standardised: bool) -> None:
        super().__init__()
        self.skip = _preceded(before, after, 1, stride, standardised=standardised) if first else nn.Identity()
        self.branch = nn.Sequential(
            _preceded(before, after, 3, stride, standardised=standardised),
            _preceded(after, after, 3, 1, standardised=standardised),
        )

    def forward(self, x: Tensor) -> Tensor:
        total: Tensor = self.skip(x) + self.branch(x)
        return total


def _stage(before: int, after: int, blocks: int, stride: int, *, standardised: bool) -> nn.Sequential:
    first = _Block(before, after, stride, first=True, standardised=standardised)
    others = [_Block(after, after, 1, first=False, standardised=standardised) for _ in range(blocks - 1)]
    return nn.Sequential(first, *others)


def _preceded(before: int, after: int, kernel: int, stride: int, *, standardised: bool) -> nn.Sequential:
    """Return rectifier, norm and convolution, in this order."""
    convolution = _convolution(before, after, kernel, stride=stride, standardised=standardised)
    return nn.Sequential(nn.ReLU(), nn.GroupNorm(_GROUPS, before), convolution)


def _convolution(before: int, after: int, kernel: int, *, stride: int = 1, standardised: bool) -> nn.Module:
    if standardised:
        return StandardisedConvolution(before, after, kernel, stride=stride)
    return nn.Conv2d(before, after, kernel, stride=stride, padding=kernel // 2)
