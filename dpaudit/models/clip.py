"""CLIP small enough for a CPU (Radford et al. 2021, arXiv 2103.00020): two towers and the temperature between them.

The interface is that of open_clip's models, whose own modules stand in for any larger size: `encode_image`,
`encode_text`, and the parameter `logit_scale`, the logarithm of 1 / temperature.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from dpaudit.models.towers import ImageSize, ImageTower, TextSize, TextTower

__all__ = ["INITIAL_LOGIT_SCALE", "SIZES", "Clip", "Size"]

INITIAL_LOGIT_SCALE = math.log(1 / 0.07)


@dataclass(frozen=True, kw_only=True)
class Size:
    """An architecture: both towers have this width, depth and number of heads, and meet in `outputs` dimensions.

    image_size, patch_size: sides in pixels; context: tokens.
    """

    width: int
    depth: int
    heads: int
    outputs: int
    image_size: int
    patch_size: int
    context: int


#: ours; every other name is open_clip's
SIZES = {
    "micro": Size(width=64, depth=3, heads=4, outputs=64, image_size=16, patch_size=4, context=24),
    "nano": Size(width=192, depth=6, heads=6, outputs=128, image_size=32, patch_size=4, context=32),
}


class Clip(nn.Module):
    """Two towers whose outputs are compared by their cosine.

    >>> model = Clip(SIZES["micro"], vocabulary=50)
    >>> model.encode_image(torch.zeros(2, 3, 16, 16)).shape
    torch.Size([2, 64])
    >>> model.encode_text(torch.ones(2, 24, dtype=torch.int64)).shape
    torch.Size([2, 64])
    """

    def __init__(self, size: Size, *, vocabulary: int) -> None:
        super().__init__()
        image = ImageSize.open_clip(
            width=size.width,
            depth=size.depth,
            outputs=size.outputs,
            image_size=size.image_size,
            patch_size=size.patch_size,
        )
        self.visual = ImageTower(replace(image, heads=size.heads))
        self.text = TextTower(
            TextSize(
                width=size.width,
                depth=size.depth,
                heads=size.heads,
                outputs=size.outputs,
                vocabulary=vocabulary,
                context=size.context,
            )
        )
        self.logit_scale = nn.Parameter(torch.tensor(INITIAL_LOGIT_SCALE))

    def encode_image(self, images: Tensor) -> Tensor:
        """Return what the image tower says of normalised images (n, 3, S, S), (n, outputs)."""
        return self.visual.embed(images)

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Return what the text tower says of tokens (n, context), 0 behind each end, (n, outputs)."""
        places = torch.arange(tokens.shape[1], device=tokens.device)
        embedded: Tensor = self.text(tokens, ends=(places * (tokens != 0)).argmax(dim=1))
        return embedded
