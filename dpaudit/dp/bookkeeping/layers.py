"""The layers as autograd functions: they return the gradient of their input only and put the rest on the tape.

Every `forward` takes (context, the tape's anchor, x, the layer) and gives the layer's output; every `backward` takes
the gradient at that output and gives one gradient for each input.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.autograd import Function
from torch.nn import functional

from dpaudit.dp.bookkeeping.forms import Dense, Outer, Rows
from dpaudit.dp.clipping import accumulator_dtype

if TYPE_CHECKING:
    from torch import Tensor

    from dpaudit.dp.bookkeeping.tape import Tape

__all__ = ["Convolution", "Embedding", "GroupNorm", "Layer", "LayerNorm", "Linear", "Product"]

_Back = tuple[None, "Tensor | None", None]
_aten = torch.ops.aten


@dataclass(slots=True)
class Layer:
    """A layer's parameters as plain tensors, the names of those that are trained, its options, and the tape."""

    tape: Tape
    weight: Any = None
    bias: Any = None
    weight_name: str | None = None
    bias_name: str | None = None
    options: Any = None

    def keep_product(self, left: Tensor, right: Tensor) -> None:
        """Keep the weight's gradients, sums over tokens of left (rows, ..., p) times right (rows, ..., d)."""
        if self.weight_name is not None:
            seen, sent = (self.tape.per_record(part.detach(), 1) for part in (left, right))
            self.tape.keep(self.weight_name, Outer(seen, sent, tuple(self.weight.shape)))

    def keep_sum(self, name: str | None, gradients: Tensor, dims: int = 1) -> None:
        """Keep the sums over tokens of gradients (rows, ..., *last `dims`)."""
        if name is not None:
            tokens = self.tape.per_record(gradients, dims)
            self.tape.keep(name, Dense(tokens.sum(1, dtype=accumulator_dtype(tokens.dtype))))


class Linear(Function):
    """x (rows, ..., d) -> x W' + b, W (p, d)."""

    @staticmethod
    def forward(ctx: Any, _anchor: Tensor, x: Tensor, layer: Layer) -> Tensor:
        """Return (rows, ..., p)."""
        ctx.save_for_backward(x)
        ctx.layer = layer
        return functional.linear(x, layer.weight, layer.bias)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> _Back:
        """Return the gradient of x."""
        (x,), layer = ctx.saved_tensors, ctx.layer
        layer.keep_sum(layer.bias_name, g)
        layer.keep_product(g, x)
        return None, g @ layer.weight if ctx.needs_input_grad[1] else None, None


class Product(Function):
    """x (rows, ..., d) -> x P, P (d, p)."""

    @staticmethod
    def forward(ctx: Any, _anchor: Tensor, x: Tensor, layer: Layer) -> Tensor:
        """Return (rows, ..., p)."""
        ctx.save_for_backward(x)
        ctx.layer = layer
        product: Tensor = x @ layer.weight
        return product

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> _Back:
        """Return the gradient of x."""
        (x,), layer = ctx.saved_tensors, ctx.layer
        layer.keep_product(x, g)
        return None, g @ layer.weight.t() if ctx.needs_input_grad[1] else None, None


class Convolution(Function):
    """x (rows, c, h, w) -> its convolution with W (p, c / groups, *kernel), plus b.

    options: stride, padding, dilation, each (vertical, horizontal) in pixels, and groups.
    """

    @staticmethod
    def forward(ctx: Any, _anchor: Tensor, x: Tensor, layer: Layer) -> Tensor:
        """Return (rows, p, h', w')."""
        ctx.save_for_backward(x)
        ctx.layer = layer
        return torch.conv2d(x, layer.weight, layer.bias, *layer.options)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> _Back:
        """Return the gradient of x."""
        (x,), layer = ctx.saved_tensors, ctx.layer
        *where, groups = layer.options
        places = g.flatten(2).transpose(1, 2)
        layer.keep_sum(layer.bias_name, places)
        if layer.weight_name is not None:
            seen = getattr(ctx, "seen", None)
            if seen is None:
                seen = _patches(x.detach(), tuple(layer.weight.shape[2:]), *where)
            if layer.tape.again:
                ctx.seen = seen
            left, right = (_by_group(layer.tape.per_record(part, 1), groups) for part in (places, seen))
            layer.tape.keep(layer.weight_name, Outer(left, right, tuple(layer.weight.shape)))
        if not ctx.needs_input_grad[1]:
            return None, None, None
        options = (None, *where, False, (0, 0), groups, [True, False, False])
        return None, _aten.convolution_backward(g, x, layer.weight, *options)[0], None


class LayerNorm(Function):
    """x (rows, ..., *shape) -> x normalised over `shape`, times w, plus b; options: shape, epsilon."""

    @staticmethod
    def forward(ctx: Any, _anchor: Tensor, x: Tensor, layer: Layer) -> Tensor:
        """Return the same shape."""
        shape, epsilon = layer.options
        y, mean, scale = torch.native_layer_norm(x, shape, layer.weight, layer.bias, epsilon)
        ctx.save_for_backward(x, mean, scale)
        ctx.layer = layer
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> _Back:
        """Return the gradient of x."""
        (x, mean, scale), layer = ctx.saved_tensors, ctx.layer
        shape, _ = layer.options
        layer.keep_sum(layer.bias_name, g, len(shape))
        if layer.weight_name is not None:
            layer.keep_sum(layer.weight_name, (x.detach() - mean).mul_(scale).mul_(g), len(shape))
        if not ctx.needs_input_grad[1]:
            return None, None, None
        parameters = (layer.weight, layer.bias, [True, False, False])
        return None, _aten.native_layer_norm_backward(g, x, shape, mean, scale, *parameters)[0], None


class GroupNorm(Function):
    """x (rows, c, ...), contiguous -> x normalised over each group of channels, times w (c), plus b.

    options: groups, epsilon.
    """

    @staticmethod
    def forward(ctx: Any, _anchor: Tensor, x: Tensor, layer: Layer) -> Tensor:
        """Return the same shape."""
        groups, epsilon = layer.options
        ctx.sizes = (x.shape[0], x.shape[1], x[0, 0].numel(), groups)
        y, mean, scale = _aten.native_group_norm(x, layer.weight, layer.bias, *ctx.sizes, epsilon)
        ctx.save_for_backward(x, mean, scale)
        ctx.layer = layer
        out: Tensor = y
        return out

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> _Back:
        """Return the gradient of x."""
        (x, mean, scale), layer = ctx.saved_tensors, ctx.layer
        rows, channels, pixels, groups = ctx.sizes
        g = g.contiguous()
        flat = g.reshape(rows, channels, pixels).to(accumulator_dtype(g.dtype))
        layer.keep_sum(layer.bias_name, flat.sum(2))
        if layer.weight_name is not None:
            normal = (x.detach().reshape(rows, groups, -1) - mean.unsqueeze(2)).mul_(scale.unsqueeze(2))
            layer.keep_sum(layer.weight_name, normal.reshape_as(flat).mul_(flat).sum(2))
        if not ctx.needs_input_grad[1]:
            return None, None, None
        sizes = (*ctx.sizes, [True, False, False])
        return None, _aten.native_group_norm_backward(g, x, mean, scale, layer.weight, *sizes)[0], None


class Embedding(Function):
    """index (rows, ...) -> rows of a table (V, d); options: the row that gets no gradient, or None."""

    @staticmethod
    def forward(ctx: Any, _anchor: Tensor, index: Tensor, layer: Layer) -> Tensor:
        """Return (rows, ..., d)."""
        ctx.save_for_backward(index)
        ctx.layer = layer
        return functional.embedding(index, layer.weight)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> _Back:
        """Return nothing: an index has no gradient."""
        (index,), layer = ctx.saved_tensors, ctx.layer
        if layer.options is not None:
            g = g.masked_fill((index == layer.options).unsqueeze(-1), 0)
        per_record = index.reshape(layer.tape.records, -1)
        layer.tape.keep(layer.weight_name, Rows(per_record, layer.tape.per_record(g, 1), tuple(layer.weight.shape)))
        return None, None, None


def _patches(
    x: Tensor, kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int], dilation: tuple[int, int]
) -> Tensor:
    """Return what each output pixel sees of x (rows, c, h, w): (rows, places, c * kernel's pixels)."""
    if padding != (0, 0) or dilation != (1, 1) or stride != kernel:
        return functional.unfold(x, kernel, dilation, padding, stride).transpose(1, 2)
    rows, channels, height, width = x.shape
    down, across = height // kernel[0], width // kernel[1]
    whole = x[:, :, : down * kernel[0], : across * kernel[1]]
    grid = whole.reshape(rows, channels, down, kernel[0], across, kernel[1])
    return grid.permute(0, 2, 4, 1, 3, 5).reshape(rows, down * across, channels * kernel[0] * kernel[1])


def _by_group(x: Tensor, groups: int) -> Tensor:
    """Return x (n, T, groups * k) as (n, groups, T, k), or as it is where there is one group."""
    return x if groups == 1 else x.reshape(*x.shape[:2], groups, -1).transpose(1, 2)
