"""Parts of a vision transformer (Dosovitskiy et al. 2021), made for per-example gradients.

Every trainable tensor belongs to an nn.Linear, an nn.LayerNorm or a `Learned`, so a clipping rule for these three
covers the model. No forward pass works in place. Attention is torch's fused kernel; torch.func.vmap has no rule for it,
so that whoever maps over records chooses the math backend.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention

__all__ = ["Block", "Learned", "sincos_positions", "take_tokens"]


class Learned(nn.Module):
    """A parameter that stands alone: a class token, a mask token, a position table.

    The result has one copy per record, so the gradient at the result is the per-example gradient.

    >>> Learned(torch.zeros(1, 8))(5).shape
    torch.Size([5, 1, 8])
    """

    def __init__(self, initial: Tensor, *, trained: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(initial, requires_grad=trained)

    def forward(self, count: int) -> Tensor:
        """Return `count` copies, (count, *shape), without copying."""
        return self.weight.expand(count, *self.weight.shape)


class Block(nn.Module):
    """Pre-norm transformer block, (n, tokens, width) -> the same: attention, then a GELU MLP four times as wide.

    qkv_bias: of query, key and value.
    """

    def __init__(self, width: int, heads: int, *, qkv_bias: bool = True) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attention = _Attention(width, heads, qkv_bias=qkv_bias)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.widen = nn.Linear(width, 4 * width)
        self.narrow = nn.Linear(4 * width, width)

    def shrink_branches(self, scale: float) -> None:
        """Multiply the last weights of attention and MLP, so that an untrained block is nearer to the identity."""
        with torch.no_grad():
            self.attention.out.weight.mul_(scale)
            self.narrow.weight.mul_(scale)

    def forward(self, x: Tensor) -> Tensor:
        """Return the tokens after attention and MLP, each added to its input."""
        x = x + self.attention(self.norm1(x))
        mixed: Tensor = x + self.narrow(gelu(self.widen(self.norm2(x))))
        return mixed


class _Attention(nn.Module):
    """Multi-head self-attention over all tokens."""

    def __init__(self, width: int, heads: int, *, qkv_bias: bool) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=qkv_bias)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        n, tokens, width = x.shape
        qkv = self.qkv(x).reshape(n, tokens, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # each (n, heads, tokens, width / heads)
        heads = scaled_dot_product_attention(query, key, value)
        mixed: Tensor = self.out(heads.transpose(1, 2).reshape(n, tokens, width))
        return mixed


def take_tokens(x: Tensor, index: Tensor) -> Tensor:
    """Return the tokens of x (n, tokens, width) at `index` (n, k), as (n, k, width)."""
    return x.gather(1, index.unsqueeze(-1).expand(-1, -1, x.shape[-1]))


def sincos_positions(side: int, width: int) -> Tensor:
    """Return the 2-D sine-cosine position table of a side x side grid, (1 + side², width); row 0 (class token) is zero.

    The first half of a row codes the column, the second the row; each half is sines, then cosines, of
    position / 10000^(4k / width) (Vaswani et al. 2017, in two dimensions as He et al. 2022).

    >>> sincos_positions(4, 8).shape
    torch.Size([17, 8])
    """
    frequencies = 10000.0 ** (-torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    angles = torch.arange(side, dtype=torch.float64).unsqueeze(1) * frequencies
    line = torch.cat([angles.sin(), angles.cos()], dim=1)  # (side, width / 2)
    columns = line.unsqueeze(0).expand(side, side, width // 2)
    rows = line.unsqueeze(1).expand(side, side, width // 2)
    grid = torch.cat([columns, rows], dim=2).reshape(side * side, width)
    return torch.cat([torch.zeros(1, width, dtype=torch.float64), grid]).float()
