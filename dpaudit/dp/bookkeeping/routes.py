"""Which of torch's functions are layers with a rule, and how their arguments are read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

from dpaudit.dp.bookkeeping import layers
from dpaudit.dp.bookkeeping.layers import Layer
from dpaudit.dp.bookkeeping.standin import ROUTES, StandIn, refusal, stand_in
from dpaudit.errors import DpauditError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dpaudit.dp.bookkeeping.tape import Tape

__all__ = ["stand_ins"]

#: the arguments of a call, by name
_Call: TypeAlias = dict[str, Any]


def stand_ins(parameters: Mapping[str, Tensor], tape: Tape) -> dict[str, StandIn]:
    """Return name -> stand-in of every trained parameter."""
    return {name: stand_in(name, parameter, tape) for name, parameter in parameters.items()}


def _linear(call: _Call) -> Tensor:
    weight, bias = call["weight"], call["bias"]
    if _is_computed(bias):
        return _plus(functional.linear(call["input"], weight), bias)
    if isinstance(weight, StandIn) and weight.transposed:
        product = _product({"input": call["input"], "other": weight.t()})
        return product if bias is None else _plus(product, bias)
    layer = _layer(functional.linear, call["input"], weight, bias, dims=2)
    if layer.weight_name is None:
        return _plus(functional.linear(call["input"], weight), bias)
    return _applied(layers.Linear, call["input"], layer, None)


def _product(call: _Call) -> Tensor:
    x, matrix = call["input"], call["other"]
    if isinstance(matrix, StandIn) and matrix.transposed:
        return _linear({"input": x, "weight": matrix.t(), "bias": None})
    layer = _layer(torch.matmul, x, matrix, None, dims=2)
    if matrix.dim() != 2:
        raise refusal(torch.matmul, _names(matrix))
    return _applied(layers.Product, x, layer, None)


def _convolution(call: _Call) -> Tensor:
    weight, bias = call["weight"], call["bias"]
    if bias is not None and (_is_computed(bias) or not isinstance(weight, StandIn)):
        return _plus(torch.conv2d(**(call | {"bias": None})), bias.reshape(-1, 1, 1))
    layer = _layer(torch.conv2d, call["input"], weight, bias, dims=4)
    stride, dilation = _pair(call["stride"]), _pair(call["dilation"])
    x, padding = _padded(call["input"], call["padding"], weight.shape[2:], dilation)
    return _applied(layers.Convolution, x, layer, (stride, padding, dilation, call["groups"]))


def _layer_norm(call: _Call) -> Tensor:
    shape = tuple(call["normalized_shape"])
    layer = _layer(functional.layer_norm, call["input"], call["weight"], call["bias"], dims=1 + len(shape))
    return _normalised(layers.LayerNorm, call["input"], layer, (shape, call["eps"]))


def _group_norm(call: _Call) -> Tensor:
    layer = _layer(functional.group_norm, call["input"], call["weight"], call["bias"], dims=2)
    return _normalised(layers.GroupNorm, call["input"].contiguous(), layer, (call["num_groups"], call["eps"]))


def _embedding(call: _Call) -> Tensor:
    index, table, padding = call["input"], call["weight"], call["padding_idx"]
    layer = _layer(functional.embedding, index, table, None, dims=1)
    for option, why in (("max_norm", "changes weights without noise"), ("scale_grad_by_freq", "mixes records")):
        if call[option]:
            raise DpauditError(f"the embedding {layer.weight_name} has {option}, which {why}; expected it unset")
    row = padding if padding is None or padding >= 0 else padding + len(table)
    layer.options = row
    y: Tensor = layers.Embedding.apply(layer.tape.anchor, index, layer)
    return y


def _route(
    handler: Callable[[_Call], Tensor], required: Sequence[str], optional: Mapping[str, Any]
) -> Callable[..., Tensor]:
    """Return a function that takes torch's arguments by position or name and hands them on by name."""
    names = [*required, *optional]

    def called(*args: Any, **kwargs: Any) -> Tensor:
        return handler({**optional, **dict(zip(names, args, strict=False)), **kwargs})

    return called


_affine = {"weight": None, "bias": None}
_embedded = {"padding_idx": None, "max_norm": None, "norm_type": 2.0, "scale_grad_by_freq": False, "sparse": False}
_window = {"bias": None, "stride": 1, "padding": 0, "dilation": 1, "groups": 1}
_multiply = _route(_product, ["input", "other"], {})

ROUTES |= {
    functional.linear: _route(_linear, ["input", "weight"], {"bias": None}),
    torch.conv2d: _route(_convolution, ["input", "weight"], _window),
    functional.layer_norm: _route(_layer_norm, ["input", "normalized_shape"], {**_affine, "eps": 1e-5}),
    functional.group_norm: _route(_group_norm, ["input", "num_groups"], {**_affine, "eps": 1e-5}),
    functional.embedding: _route(_embedding, ["input", "weight"], _embedded),
    torch.matmul: _multiply,
    Tensor.matmul: _multiply,
    Tensor.__matmul__: _multiply,
}


def _layer(func: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, *, dims: int) -> Layer:
    """Return the layer, its use noted; a trained parameter must be whole and stand where parameters stand."""
    ours = [each for each in (weight, bias) if isinstance(each, StandIn)]
    if isinstance(x, StandIn) or not ours or not all(each.whole for each in ours):
        raise refusal(func, _names(x, weight, bias))
    tape = ours[0].tape
    for each in ours:
        tape.enter(each.names[0], func.__name__, x, dims)
    named = [each.names[0] if isinstance(each, StandIn) else None for each in (weight, bias)]
    return Layer(tape, _value(weight), _value(bias), *named)


def _applied(function: Any, x: Tensor, layer: Layer, options: Any) -> Tensor:
    """Apply a layer as autocast would: in the type in which it multiplies."""
    layer.options = options
    if torch.is_autocast_enabled(x.device.type) and x.dtype != torch.float64:
        dtype = torch.get_autocast_dtype(x.device.type)
        x, layer.weight = x.to(dtype), layer.weight.to(dtype)
        layer.bias = None if layer.bias is None else layer.bias.to(dtype)
    y: Tensor = function.apply(layer.tape.anchor, x, layer)
    return y


def _normalised(function: Any, x: Tensor, layer: Layer, options: Any) -> Tensor:
    """Apply a norm as autocast would: on an accelerator in float32."""
    for name, value in ((layer.weight_name, layer.weight), (layer.bias_name, layer.bias)):
        if name is None and value is not None and value.requires_grad:
            raise DpauditError(
                f"the norm of {' and '.join(_known(layer))} has a computed weight or bias; expected none"
            )
    if torch.is_autocast_enabled(x.device.type) and x.device.type != "cpu":
        x = x.to(torch.promote_types(x.dtype, torch.float32))
    layer.options = options
    y: Tensor = function.apply(layer.tape.anchor, x, layer)
    return y


def _known(layer: Layer) -> list[str]:
    return [name for name in (layer.weight_name, layer.bias_name) if name is not None]


def _is_computed(bias: Tensor | None) -> bool:
    """Return whether a bias is no parameter but needs a gradient: it is then added behind the layer."""
    return not bias.whole if isinstance(bias, StandIn) else bias is not None and bias.requires_grad


def _plus(x: Tensor, bias: Any) -> Tensor:
    total: Tensor = x + bias
    return total


def _value(x: Tensor | None) -> Tensor | None:
    return x.value if isinstance(x, StandIn) else x


def _names(*tensors: Tensor | None) -> list[str]:
    return [name for each in tensors if isinstance(each, StandIn) for name in each.names]


def _pair(value: int | Sequence[int]) -> tuple[int, int]:
    pair = (value, value) if isinstance(value, int) else tuple(value)
    return (pair[0], pair[-1])


def _padded(
    x: Tensor, padding: str | int | Sequence[int], kernel: Sequence[int], dilation: tuple[int, int]
) -> tuple[Tensor, tuple[int, int]]:
    """Return x and the symmetric padding that is left to do; "same" may be one pixel wider below and to the right."""
    if padding == "valid":
        return x, (0, 0)
    if not isinstance(padding, str):
        return x, _pair(padding)
    total = [spacing * (size - 1) for spacing, size in zip(dilation, kernel, strict=True)]
    if all(each % 2 == 0 for each in total):
        return x, (total[0] // 2, total[1] // 2)
    left, top = total[1] // 2, total[0] // 2
    return functional.pad(x, (left, total[1] - left, top, total[0] - top)), (0, 0)
