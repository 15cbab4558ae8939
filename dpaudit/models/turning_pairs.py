"""Made-up pairs that turn the gradient of InfoNCE around: the worst that one pair can do to a batch clipped whole.

Vectors lie in a plane and move with one weight: no picture has such vectors, but a bound on what a pair changes must
hold whatever its vectors do. Speeds are chosen so that the last pair that came decides the sign of the gradient.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from dpaudit.models.contrastive import Encode

__all__ = ["TurningPairs", "turning_encoder", "turning_pairs"]

_FAST, _FASTER = 1e4, 1e8  # in units of the clip norm, or of 1 where that is larger


@dataclass(frozen=True, kw_only=True)
class TurningPairs:
    """Batches of made-up pairs. kept: two whose loss grows with the weight; down, up: one more, which outweighs them.

    Each is text and image (n,), angles in radians, and speed (n,), of the image as the weight grows.
    """

    kept: dict[str, Tensor]
    up: dict[str, Tensor]
    down: dict[str, Tensor]


def turning_pairs(like: Tensor, clip: float) -> TurningPairs:
    """Return pairs whose gradients are above `clip` in norm, on the device and in the type of `like`.

    A moving image stands midway between its text and the next one, where the loss has a slope at any temperature.
    """
    unit = max(1.0, clip)

    def pairs(*rows: tuple[float, float, float]) -> dict[str, Tensor]:
        columns = torch.tensor(rows, dtype=like.dtype, device=like.device).T
        return dict(zip(("text", "image", "speed"), columns, strict=True))

    right, up, left = 0.0, math.pi / 2, math.pi
    between = (math.pi / 4, 3 * math.pi / 4)
    return TurningPairs(
        kept=pairs((right, between[0], _FAST * unit), (up, up, 0.0)),
        up=pairs((left, between[1], -_FASTER * unit)),
        down=pairs((left, between[1], _FASTER * unit)),
    )


def turning_encoder(weight: Tensor) -> Encode:
    """Return the vectors of made-up pairs as functions of a weight of one number: each image turns at its speed.

    >>> from dpaudit.models.contrastive import info_nce
    >>> weight = torch.tensor(0.0, requires_grad=True)
    >>> pairs = turning_pairs(weight, 1.0)
    >>> loss = info_nce(*turning_encoder(weight)(pairs.kept), torch.tensor(10.0))
    >>> bool(torch.autograd.grad(loss, weight)[0] > 1000)
    True
    """

    def encode(pairs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        moved = (weight - weight.detach()).reshape(())
        return _directions(pairs["image"] + pairs["speed"] * moved), _directions(pairs["text"])

    return encode


def _directions(angles: Tensor) -> Tensor:
    return torch.stack([angles.cos(), angles.sin()], dim=1)
