"""The two towers of CLIP (Radford et al. 2021), one of them the plain vision transformer (Dosovitskiy et al. 2021).

Every trainable tensor belongs to an nn.Linear, an nn.LayerNorm, an nn.Embedding or a `Learned`. Weights of open_clip
and timm fit without loss: dpaudit.models.open_clip_layout, dpaudit.models.timm_layout.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn.functional import gelu

from dpaudit.models.attention import Attention
from dpaudit.models.mae import CHANNELS, patchify
from dpaudit.models.vit import Learned, sincos_positions

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["ImageSize", "ImageTower", "TextSize", "TextTower"]


@dataclass(frozen=True, kw_only=True)
class ImageSize:
    """An image tower's architecture, as in timm: what open_clip has otherwise is in `ImageSize.open_clip`.

    outputs: width of the linear head behind the class token, None without a head. image_size, patch_size: sides in
    pixels. first_norm: normalise before the first block. sigmoid_gelu: x sigmoid(1.702 x), which OpenAI's weights want.
    """

    width: int
    depth: int
    heads: int
    outputs: int | None = None
    image_size: int = 224
    patch_size: int = 16
    qkv_bias: bool = True
    patch_bias: bool = True
    head_bias: bool = True
    first_norm: bool = False
    sigmoid_gelu: bool = False
    epsilon: float = 1e-6

    @classmethod
    def open_clip(cls, *, width: int, depth: int, outputs: int, image_size: int, patch_size: int) -> ImageSize:
        """Return the tower of open_clip's ViT configurations, with heads 64 wide.

        >>> ImageSize.open_clip(width=768, depth=12, outputs=512, image_size=224, patch_size=32).heads
        12
        """
        return cls(
            width=width,
            depth=depth,
            heads=width // 64,
            outputs=outputs,
            image_size=image_size,
            patch_size=patch_size,
            patch_bias=False,
            head_bias=False,
            first_norm=True,
            epsilon=1e-5,
        )

    @property
    def side(self) -> int:
        """Return the number of patches along one side."""
        return self.image_size // self.patch_size


@dataclass(frozen=True, kw_only=True)
class TextSize:
    """A text tower's architecture. context: number of tokens of every text; outputs: width of the embedding."""

    width: int
    depth: int
    heads: int
    outputs: int
    vocabulary: int = 49_408
    context: int = 77
    sigmoid_gelu: bool = False
    epsilon: float = 1e-5


class TowerBlock(nn.Module):
    """Pre-norm transformer block, (n, tokens, width) -> the same: attention, then an MLP four times as wide."""

    def __init__(self, size: ImageSize | TextSize, *, qkv_bias: bool, causal: bool) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(size.width, eps=size.epsilon)
        self.attention = Attention(size.width, size.heads, bias=qkv_bias, causal=causal)
        self.norm2 = nn.LayerNorm(size.width, eps=size.epsilon)
        self.widen = nn.Linear(size.width, 4 * size.width)
        self.narrow = nn.Linear(4 * size.width, size.width)
        self.sigmoid_gelu = size.sigmoid_gelu

    def forward(self, x: Tensor) -> Tensor:
        """Return the tokens after attention and MLP, each added to its input."""
        x = x + self.attention(self.norm1(x))
        wide = self.widen(self.norm2(x))
        active = wide * torch.sigmoid(1.702 * wide) if self.sigmoid_gelu else gelu(wide)
        mixed: Tensor = x + self.narrow(active)
        return mixed


class ImageTower(nn.Module):
    """A vision transformer with a class token.

    trained_tables: class token and position table are trained, as in CLIP; else both stay fixed, the table at sines and
    cosines, as in DP-Cap.

    >>> tower = ImageTower(ImageSize(width=32, depth=1, heads=2, outputs=10, image_size=16, patch_size=4))
    >>> tower(torch.zeros(2, 3, 16, 16)).shape, tower.embed(torch.zeros(2, 3, 16, 16)).shape
    (torch.Size([2, 17, 32]), torch.Size([2, 10]))
    """

    def __init__(self, size: ImageSize, *, trained_tables: bool = True) -> None:
        super().__init__()
        self.size = size
        self.patches = nn.Linear(CHANNELS * size.patch_size**2, size.width, bias=size.patch_bias)
        self.token = Learned(torch.randn(1, size.width) * 0.02, trained=trained_tables)
        self.positions = Learned(sincos_positions(size.side, size.width), trained=trained_tables)
        self.first_norm = nn.LayerNorm(size.width, eps=size.epsilon) if size.first_norm else nn.Identity()
        self.blocks = nn.Sequential(
            *(TowerBlock(size, qkv_bias=size.qkv_bias, causal=False) for _ in range(size.depth))
        )
        self.norm = nn.LayerNorm(size.width, eps=size.epsilon)
        self.head = None if size.outputs is None else nn.Linear(size.width, size.outputs, bias=size.head_bias)

    def forward(self, images: Tensor) -> Tensor:
        """Return the tokens of images (n, 3, S, S) after the last norm, class token first: (n, 1 + side², width)."""
        final: Tensor = self.norm(self.blocks(self._tokens(images)))
        return final

    def layers(self, images: Tensor) -> list[Tensor]:
        """Return the tokens of images (n, 3, S, S) after each block, not normed, each (n, 1 + side², width)."""
        layers = [self._tokens(images)]
        for block in self.blocks:
            layers.append(block(layers[-1]))
        return layers[1:]

    def embed(self, images: Tensor) -> Tensor:
        """Return the class token, through the head where there is one: (n, outputs) or (n, width)."""
        pooled: Tensor = self(images)[:, 0]
        if self.head is None:
            return pooled
        embedding: Tensor = self.head(pooled)
        return embedding

    def _tokens(self, images: Tensor) -> Tensor:
        n = len(images)
        patches = self.patches(patchify(images, self.size.patch_size))
        tokens: Tensor = self.first_norm(torch.cat([self.token(n), patches], dim=1) + self.positions(n))
        return tokens


class TextTower(nn.Module):
    """A causal transformer over texts; a text is embedded at its end token, in CLIP the one with the highest number.

    >>> tower = TextTower(TextSize(width=32, depth=1, heads=2, outputs=10, vocabulary=50, context=8))
    >>> tower(torch.ones(2, 8, dtype=torch.int64)).shape
    torch.Size([2, 10])
    """

    def __init__(self, size: TextSize) -> None:
        super().__init__()
        self.size = size
        self.embedding = nn.Embedding(size.vocabulary, size.width)
        nn.init.normal_(self.embedding.weight, std=0.02)
        self.positions = Learned(torch.randn(size.context, size.width) * 0.01)
        self.blocks = nn.Sequential(*(TowerBlock(size, qkv_bias=True, causal=True) for _ in range(size.depth)))
        self.norm = nn.LayerNorm(size.width, eps=size.epsilon)
        self.head = nn.Linear(size.width, size.outputs, bias=False)

    def forward(self, tokens: Tensor, ends: Tensor | None = None) -> Tensor:
        """Return the embedding of each text, (n, outputs), from its tokens (n, context), int64.

        ends: (n,) int64, where the end tokens stand; None = at the highest number.
        """
        x = self.norm(self.blocks(self.embedding(tokens) + self.positions(len(tokens))))
        at = tokens.argmax(dim=1) if ends is None else ends
        end = at.reshape(-1, 1, 1).expand(-1, 1, x.shape[2])
        embedding: Tensor = self.head(x.gather(1, end).squeeze(1))
        return embedding
