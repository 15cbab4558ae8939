"""The captioner of DP-Cap (Sander et al. 2024, arXiv 2403.02506): an image tower and a text decoder that reads it.

Class token, position tables and type vectors are never trained, as published: every trained tensor belongs to an
nn.Linear, an nn.LayerNorm or an nn.Embedding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
from torch import nn
from torch.nn.functional import cross_entropy, gelu

from dpaudit.errors import InputError
from dpaudit.models.attention import Attention
from dpaudit.models.initialisation import xavier
from dpaudit.models.towers import ImageSize, ImageTower
from dpaudit.models.vit import Learned, sincos_positions

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["SIZES", "VOCABULARY", "Captioner", "Size", "caption_losses"]

VOCABULARY = 30_522  # BERT's WordPiece, which DP-Cap uses


@dataclass(frozen=True, kw_only=True)
class Size:
    """An architecture. context: the most tokens that the decoder reads; image_size, patch_size: sides in pixels."""

    width: int
    depth: int
    heads: int
    decoder_width: int
    decoder_heads: int
    decoder_depth: int = 6
    context: int = 40
    image_size: int = 224
    patch_size: int = 16

    @property
    def encoder(self) -> ImageSize:
        """Return the image tower: timm's vision transformer without bias in query, key and value."""
        return ImageSize(
            width=self.width,
            depth=self.depth,
            heads=self.heads,
            image_size=self.image_size,
            patch_size=self.patch_size,
            qkv_bias=False,
        )


#: DP-Cap's sizes, `micro` for 16 x 16 images and `mini` for 32 x 32.
SIZES = {
    "micro": Size(
        width=64,
        depth=3,
        heads=4,
        decoder_width=64,
        decoder_heads=4,
        decoder_depth=2,
        context=16,
        image_size=16,
        patch_size=4,
    ),
    "mini": Size(
        width=128,
        depth=4,
        heads=4,
        decoder_width=128,
        decoder_heads=4,
        decoder_depth=2,
        context=24,
        image_size=32,
        patch_size=4,
    ),
    "nano": Size(width=192, depth=12, heads=6, decoder_width=192, decoder_heads=6),
    "tiny": Size(width=384, depth=12, heads=6, decoder_width=384, decoder_heads=6),
    "small": Size(width=576, depth=12, heads=12, decoder_width=576, decoder_heads=12),
    "base": Size(width=768, depth=12, heads=12, decoder_width=768, decoder_heads=12),
    "large": Size(width=1024, depth=24, heads=16, decoder_width=768, decoder_heads=12),
}


class Captioner(nn.Module):
    """Predicts each next token of a caption from the image and the tokens before it.

    tied: the vocabulary is one matrix, read by the embedding and by the head; published is untied.

    >>> model = Captioner(SIZES["micro"], vocabulary=100)
    >>> model(torch.zeros(2, 3, 16, 16), torch.ones(2, 7, dtype=torch.int64)).shape
    torch.Size([2, 7, 100])
    """

    def __init__(self, size: Size, *, vocabulary: int = VOCABULARY, tied: bool = False) -> None:
        super().__init__()
        self.size = size
        self.encoder = ImageTower(size.encoder, trained_tables=False)
        self.bridge = _Bridge(size)
        self.decoder = _Decoder(size, vocabulary, tied=tied)
        xavier(self)
        self.decoder.initialise_vocabulary()

    def forward(self, images: Tensor, tokens: Tensor) -> Tensor:
        """Return the logits of the token after each of `tokens` (n, t), int64: (n, t, vocabulary).

        images: (n, 3, S, S), normalised. Position k depends on tokens 0 to k only.
        """
        logits: Tensor = self.decoder(tokens, self.memory(images))
        return logits

    def memory(self, images: Tensor) -> Tensor:
        """Return what the decoder reads of images (n, 3, S, S): every token, (n, 1 + patches, decoder_width)."""
        memory: Tensor = self.bridge(self.encoder(images))
        return memory

    def features(self, images: Tensor) -> Tensor:
        """Return DP-Cap's few-shot features of images (n, 3, S, S): the memory's mean token, (n, decoder_width)."""
        return self.memory(images).mean(dim=1)

    def block_features(self, images: Tensor) -> Tensor:
        """Return what ViP's linear probe reads, of images (n, 3, S, S): each block's mean patch, (n, depth * width)."""
        return torch.cat([tokens[:, 1:].mean(dim=1) for tokens in self.encoder.layers(images)], dim=1)


def caption_losses(logits: Tensor, targets: Tensor, pad: int = 0) -> Tensor:
    """Return each caption's mean cross-entropy over its own targets that are not `pad`, (n,); 0 where all are.

    logits: (n, t, vocabulary), in float32 or better; targets: (n, t), int64.

    >>> caption_losses(torch.zeros(2, 3, 8), torch.tensor([[1, 2, 0], [0, 0, 0]])).tolist()
    [2.079441547393799, 0.0]
    """
    each = cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=pad, reduction="none")
    count = (targets != pad).sum(dim=1).clamp(min=1)
    return each.reshape(targets.shape).sum(dim=1) / count


class _Bridge(nn.Module):
    """Brings all tokens of the encoder to the decoder's width and marks where and what they are."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.linear = nn.Linear(size.width, size.decoder_width)
        self.positions = Learned(sincos_positions(size.encoder.side, size.decoder_width), trained=False)
        self.modality = Learned(torch.randn(1, size.decoder_width) * 0.02, trained=False)

    def forward(self, tokens: Tensor) -> Tensor:
        n = len(tokens)
        memory: Tensor = self.linear(tokens) + self.positions(n) + self.modality(n)
        return memory


class _Decoder(nn.Module):
    """A causal transformer over the caption that looks at the memory in every block, and the head."""

    def __init__(self, size: Size, vocabulary: int, *, tied: bool) -> None:
        super().__init__()
        self.context = size.context
        self.tied = tied
        self.embedding = nn.Embedding(vocabulary, size.decoder_width)
        self.positions = Learned(_sincos_line(size.context, size.decoder_width), trained=False)
        self.modality = Learned(torch.randn(1, size.decoder_width) * 0.02, trained=False)
        self.blocks = nn.ModuleList(
            _DecoderBlock(size.decoder_width, size.decoder_heads) for _ in range(size.decoder_depth)
        )
        self.norm = nn.LayerNorm(size.decoder_width)
        self.head = nn.Linear(size.decoder_width, vocabulary)
        if tied:
            self.head.weight = self.embedding.weight

    def initialise_vocabulary(self) -> None:
        """Draw the embedding: N(0, 1) alone, N(0, 1 / width) where it is also the head (Vaswani et al. 2017)."""
        nn.init.normal_(self.embedding.weight, std=self.embedding.embedding_dim**-0.5 if self.tied else 1.0)

    def forward(self, tokens: Tensor, memory: Tensor) -> Tensor:
        n, length = tokens.shape
        if length > self.context:
            raise InputError("tokens", f"{length} per caption", f"at most the decoder's context of {self.context}")
        x = self.embedding(tokens)
        if self.tied:
            x = x * x.shape[2] ** 0.5
        x = x + self.positions(n)[:, :length] + self.modality(n)
        for block in self.blocks:
            x = cast("_DecoderBlock", block)(x, memory)
        logits: Tensor = self.head(self.norm(x))
        return logits


class _DecoderBlock(nn.Module):
    """Post-norm block without bias in its linear layers: causal attention, attention to the memory, MLP."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.itself = Attention(width, heads, bias=False, out_bias=False, causal=True)
        self.norm1 = nn.LayerNorm(width)
        self.image = Attention(width, heads, bias=False, out_bias=False)
        self.norm2 = nn.LayerNorm(width)
        self.widen = nn.Linear(width, 4 * width, bias=False)
        self.narrow = nn.Linear(4 * width, width, bias=False)
        self.norm3 = nn.LayerNorm(width)

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        x = self.norm1(x + self.itself(x))
        x = self.norm2(x + self.image(x, memory))
        mixed: Tensor = self.norm3(x + self.narrow(gelu(self.widen(x))))
        return mixed


def _sincos_line(length: int, width: int) -> Tensor:
    """Return the 1-D position table, (length, width): sines, then cosines, of position / 10000^(2k / width)."""
    frequencies = 10000.0 ** (-torch.arange(width // 2, dtype=torch.float64) / (width // 2))
    angles = torch.arange(length, dtype=torch.float64).unsqueeze(1) * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1).float()
