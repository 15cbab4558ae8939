"""The masked autoencoder (He et al. 2022) in the sizes of ViP (Yu et al. 2024, arXiv 2306.08842).

Which patches are masked is given from outside, as indices: the model itself draws nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from dpaudit.models.initialisation import xavier
from dpaudit.models.vit import Block, Learned, sincos_positions, take_tokens

__all__ = ["SIZES", "MaskedAutoencoder", "Size", "patchify", "unpatchify"]

CHANNELS = 3


@dataclass(frozen=True, kw_only=True)
class Size:
    """An architecture. Widths are multiples of 4 and of their heads; image_size and patch_size are sides in pixels.

    qkv_bias: of the encoder's query, key and value, which DP-Cap's encoder has not.
    branch_scale: what the last layer of every residual branch starts with, as a part of its Xavier weights. 1 is the
    original; less lets a small model learn in fewer steps, as its blocks start near the identity.
    """

    width: int
    depth: int
    heads: int
    decoder_width: int = 512
    decoder_depth: int = 4
    decoder_heads: int = 16
    image_size: int = 224
    patch_size: int = 16
    branch_scale: float = 1.0
    qkv_bias: bool = True

    @property
    def side(self) -> int:
        """Return the number of patches along one side."""
        return self.image_size // self.patch_size

    @property
    def tokens(self) -> int:
        """Return the number of patches of an image."""
        return self.side**2

    @property
    def patch_values(self) -> int:
        """Return the number of values of a patch, all channels."""
        return CHANNELS * self.patch_size**2


#: ViP's sizes (its Nano, Tiny and Small are not DeiT's), `micro` for 16 x 16 images and `mini` for 32 x 32.
SIZES = {
    "micro": Size(
        width=64,
        depth=3,
        heads=4,
        decoder_width=32,
        decoder_depth=1,
        decoder_heads=4,
        image_size=16,
        patch_size=4,
        branch_scale=0.2,
    ),
    "mini": Size(
        width=128,
        depth=4,
        heads=4,
        decoder_width=64,
        decoder_depth=1,
        decoder_heads=4,
        image_size=32,
        patch_size=4,
        branch_scale=0.2,
    ),
    "nano": Size(width=192, depth=12, heads=12),
    "tiny": Size(width=384, depth=12, heads=12),
    "small": Size(width=576, depth=12, heads=12),
    "base": Size(width=768, depth=12, heads=12),
    "large": Size(width=1024, depth=24, heads=16),
}


def patchify(images: Tensor, patch: int) -> Tensor:
    """Return images (n, 3, S, S) as patches (n, (S / patch)², 3 patch²), row by row; values: row, column, channel.

    >>> patchify(torch.zeros(2, 3, 16, 16), 4).shape
    torch.Size([2, 16, 48])
    """
    n, channels, height, width = images.shape
    grid = images.reshape(n, channels, height // patch, patch, width // patch, patch)
    return grid.permute(0, 2, 4, 3, 5, 1).reshape(n, (height // patch) * (width // patch), patch * patch * channels)


def unpatchify(patches: Tensor, patch: int) -> Tensor:
    """Return the square images (n, 3, S, S) that `patchify` took apart.

    >>> unpatchify(torch.zeros(2, 16, 48), 4).shape
    torch.Size([2, 3, 16, 16])
    """
    n, tokens, _ = patches.shape
    side = round(tokens**0.5)
    grid = patches.reshape(n, side, side, patch, patch, CHANNELS)
    return grid.permute(0, 5, 1, 3, 2, 4).reshape(n, CHANNELS, side * patch, side * patch)


class MaskedAutoencoder(nn.Module):
    """Encodes the visible patches, predicts the masked ones.

    Every trainable tensor belongs to an nn.Linear, an nn.LayerNorm or a `Learned`. train_positions: the position tables
    start as sines and cosines and are trained, as in ViP's DP phase, or stay fixed.

    >>> model = MaskedAutoencoder(SIZES["micro"])
    >>> visible, masked = torch.arange(4).expand(2, 4), torch.arange(4, 16).expand(2, 12)
    >>> model(torch.zeros(2, 3, 16, 16), visible, masked).shape
    torch.Size([2, 12, 48])
    """

    def __init__(self, size: Size, *, train_positions: bool = True) -> None:
        super().__init__()
        self.size = size
        self.encoder = _Encoder(size, train_positions=train_positions)
        self.decoder = _Decoder(size, train_positions=train_positions)
        xavier(self)
        for block in [*self.encoder.blocks, *self.decoder.blocks]:
            cast("Block", block).shrink_branches(size.branch_scale)

    def forward(self, images: Tensor, visible: Tensor, masked: Tensor) -> Tensor:
        """Return the predicted masked patches, (n, m, 3 patch²).

        images: (n, 3, S, S); visible (n, v) and masked (n, m): int64 patch positions, together every position once.
        """
        patches = patchify(images, self.size.patch_size)
        latent = self.encoder(take_tokens(patches, visible), visible)
        predicted: Tensor = self.decoder(latent, visible, masked)
        return predicted

    def features(self, images: Tensor, blocks: int = 0) -> Tensor:
        """Return ViP's probe features of images (n, 3, S, S): the mean patch token of each block, (n, depth * width).

        No class token, no final norm, nothing masked. blocks: only so many of the last, (n, blocks * width); 0 = all.
        """
        patches = patchify(images, self.size.patch_size)
        every = torch.arange(self.size.tokens, device=images.device).expand(len(images), -1)
        layers = self.encoder.layers(patches, every)[-blocks:]
        return torch.cat([tokens[:, 1:].mean(dim=1) for tokens in layers], dim=1)


class _Encoder(nn.Module):
    """A vision transformer that sees the patches it is given at the positions it is told."""

    def __init__(self, size: Size, *, train_positions: bool) -> None:
        super().__init__()
        self.embed = nn.Linear(size.patch_values, size.width)
        self.token = Learned(torch.randn(1, size.width) * 0.02)
        self.positions = Learned(sincos_positions(size.side, size.width), trained=train_positions)
        self.blocks = nn.ModuleList(Block(size.width, size.heads, qkv_bias=size.qkv_bias) for _ in range(size.depth))
        self.norm = nn.LayerNorm(size.width, eps=1e-6)

    def layers(self, patches: Tensor, where: Tensor) -> list[Tensor]:
        """Return the tokens after each block, each (n, 1 + k, width), of patches (n, k, values) at positions (n, k)."""
        tokens = torch.cat([self.token(len(patches)), self.embed(patches)], dim=1)
        tokens = tokens + take_tokens(self.positions(len(patches)), _after_class(where))
        layers = []
        for block in self.blocks:
            tokens = block(tokens)
            layers.append(tokens)
        return layers

    def forward(self, patches: Tensor, where: Tensor) -> Tensor:
        latent: Tensor = self.norm(self.layers(patches, where)[-1])
        return latent


class _Decoder(nn.Module):
    """A light transformer over the latent and one mask token per masked patch.

    Attention does not know order, so the tokens stay as they come (class, visible, masked) and get their own positions.
    """

    def __init__(self, size: Size, *, train_positions: bool) -> None:
        super().__init__()
        self.embed = nn.Linear(size.width, size.decoder_width)
        self.token = Learned(torch.randn(1, size.decoder_width) * 0.02)
        self.positions = Learned(sincos_positions(size.side, size.decoder_width), trained=train_positions)
        self.blocks = nn.Sequential(*(Block(size.decoder_width, size.decoder_heads) for _ in range(size.decoder_depth)))
        self.norm = nn.LayerNorm(size.decoder_width, eps=1e-6)
        self.head = nn.Linear(size.decoder_width, size.patch_values)

    def forward(self, latent: Tensor, visible: Tensor, masked: Tensor) -> Tensor:
        n, m = masked.shape
        masks = self.token(n).expand(n, m, -1)
        where = _after_class(torch.cat([visible, masked], dim=1))
        tokens = torch.cat([self.embed(latent), masks], dim=1) + take_tokens(self.positions(n), where)
        predicted: Tensor = self.head(self.norm(self.blocks(tokens))[:, -m:])
        return predicted


def _after_class(where: Tensor) -> Tensor:
    """Return table rows for the class token (0) and patch positions (n, k): (n, 1 + k)."""
    return torch.cat([torch.zeros_like(where[:, :1]), where + 1], dim=1)
