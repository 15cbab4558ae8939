"""Multi-head attention from four linear layers and torch's fused kernel (Vaswani et al. 2017).

Query, key and value are layers of their own: a per-example rule for nn.Linear covers them, whereas
nn.MultiheadAttention owns a raw tensor and calls its linear maps past every hook.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn
from torch.nn.functional import scaled_dot_product_attention

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Attention"]


class Attention(nn.Module):
    """Attention of tokens to themselves or to a memory of the same width.

    bias: of query, key and value; out_bias: of the last layer. causal: token t sees tokens 0 to t only.

    >>> import torch
    >>> attention = Attention(8, heads=2)
    >>> attention(torch.zeros(3, 5, 8)).shape, attention(torch.zeros(3, 5, 8), torch.zeros(3, 9, 8)).shape
    (torch.Size([3, 5, 8]), torch.Size([3, 5, 8]))
    """

    def __init__(
        self, width: int, heads: int, *, bias: bool = True, out_bias: bool = True, causal: bool = False
    ) -> None:
        super().__init__()
        self.heads = heads
        self.causal = causal
        self.query = nn.Linear(width, width, bias=bias)
        self.key = nn.Linear(width, width, bias=bias)
        self.value = nn.Linear(width, width, bias=bias)
        self.out = nn.Linear(width, width, bias=out_bias)

    def forward(self, x: Tensor, memory: Tensor | None = None) -> Tensor:
        """Return what x (n, tokens, width) takes from the memory (n, other tokens, width), or from itself."""
        source = x if memory is None else memory
        query, key, value = self._split(self.query(x)), self._split(self.key(source)), self._split(self.value(source))
        heads = scaled_dot_product_attention(query, key, value, is_causal=self.causal)
        mixed: Tensor = self.out(heads.transpose(1, 2).reshape(x.shape))
        return mixed

    def _split(self, x: Tensor) -> Tensor:
        """Return (n, tokens, width) by heads: (n, heads, tokens, width / heads)."""
        return x.reshape(*x.shape[:2], self.heads, x.shape[2] // self.heads).transpose(1, 2)
