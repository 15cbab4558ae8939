"""Gradients of all similarities in a batch of pairs: their exact norms, and their clipped sum, without n^2 gradients.

Z_ij = u_i . v_j of unit vectors u_i of first i and v_j of second j. With J_i, J'_j (e, p) their derivatives by all p
parameters, grad Z_ij = J_i' v_j + J'_j' u_i, so that

    |grad Z_ij|^2 = v_j' (J_i J_i') v_j + u_i' (J'_j J'_j') u_i + 2 v_j' (J_i J'_j') u_i.

Two towers share no parameter: the last term is 0, and e x e blocks per record are enough. One shared tower needs the
Gram of its 2 n e rows. A weighted sum of all grad Z_ij is one ordinary backward pass.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import torch

from dpaudit.dp.bookkeeping.clipped_sum import differentiated
from dpaudit.dp.bookkeeping.derivatives import derivatives
from dpaudit.dp.bookkeeping.tape import full_precision
from dpaudit.dp.clipping import accumulator_dtype, clip_factors
from dpaudit.dp.objective import batch_length
from dpaudit.dp.tensors import Batch, Gradients, home, in_float64, trainable

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

    from dpaudit.dp.bookkeeping.derivatives import Embedded

__all__ = [
    "PairSum",
    "Towers",
    "clipped_pair_sum",
    "linear_pair_norms",
    "norms_by_jacobians",
    "norms_by_pairs",
    "pair_norms",
]

#: similarities (n, n) -> the weights of their gradients, (n, n)
Weights: TypeAlias = "Callable[[Tensor], Tensor]"

#: numbers in the derivatives of a batch's embeddings above which pairs are differentiated one by one
_MOST_NUMBERS = 2**29
#: pairs that are differentiated together
_PAIRS = 1024
#: products that a float32 Gram adds up before the sum goes on in float64: terms that cancel need more than 24 bits
_RUN = 512
#: rounding of float32 derivatives, added because the three terms may cancel: a norm is not taken too small
_ROUNDING = 1e-6


@dataclass(frozen=True, kw_only=True)
class Towers:
    """How a model places the two sides of its records: firsts u and seconds v, unit vectors (n, e) of a batch.

    norms: what takes the place of `pair_norms`, where there is a closed form.
    """

    firsts: Embedded
    seconds: Embedded
    norms: Callable[[nn.Module, Towers, Batch], Tensor] | None = None


@dataclass(frozen=True, kw_only=True)
class PairSum:
    """A weighted sum of clipped gradients of similarities. similarities, norms (before clipping): (n, n).

    norms None: nothing was clipped.
    """

    gradients: Gradients
    similarities: Tensor
    norms: Tensor | None


def clipped_pair_sum(model: nn.Module, towers: Towers, batch: Batch, weights: Weights, clip: float) -> PairSum:
    """Return sum_ij w_ij min(1, clip / |grad Z_ij|) grad Z_ij, for weights w that are a function of Z.

    An infinite clip norm is the ordinary gradient. Norms and weights are in float32 or better.
    """
    parameters = trainable(model)
    norms = None if math.isinf(clip) else (towers.norms or pair_norms)(model, towers, batch)
    with torch.enable_grad():
        u, v = towers.firsts(model, batch), towers.seconds(model, batch)
    with torch.no_grad(), full_precision():
        z = _similarities(u, v)
        scaled = weights(z) if norms is None else weights(z) * clip_factors(norms, clip)
        back = [(scaled.to(u.dtype) @ v).contiguous(), (scaled.to(u.dtype).t() @ u).contiguous()]
    found = torch.autograd.grad([u, v], list(parameters.values()), back, allow_unused=True, materialize_grads=True)
    gradients = {name: each.to(accumulator_dtype(each.dtype)) for name, each in zip(parameters, found, strict=True)}
    return PairSum(gradients=gradients, similarities=z, norms=norms)


def pair_norms(model: nn.Module, towers: Towers, batch: Batch) -> Tensor:
    """Return |grad Z_ij| of all pairs, (n, n): by the cheaper of two exact ways, chosen by sizes alone."""
    n = batch_length(batch)
    with torch.no_grad():
        width = towers.firsts(model, {name: tensor[:1] for name, tensor in batch.items()}).shape[1]
    numbers = 2 * n * width * sum(parameter.numel() for parameter in trainable(model).values())
    if width <= n and numbers <= _MOST_NUMBERS:
        return norms_by_jacobians(model, towers, batch)
    return norms_by_pairs(model, towers, batch)


def norms_by_jacobians(model: nn.Module, towers: Towers, batch: Batch) -> Tensor:
    """Return |grad Z_ij| of all pairs, (n, n), from the 2 n e rows of the embeddings' derivatives."""
    u, rows = derivatives(model, towers.firsts, batch)
    v, others = derivatives(model, towers.seconds, batch)
    with torch.no_grad(), torch.autocast(u.device.type, enabled=False), full_precision():
        u, v = in_float64(u), in_float64(v)
        apart = _quadratic(rows, v) + _quadratic(others, u).t()
        squares = apart + 2 * _crossed(rows, others, u, v)
        return (squares.clamp_min(0) + _ROUNDING * apart).sqrt().to(home(model))


def norms_by_pairs(model: nn.Module, towers: Towers, batch: Batch) -> Tensor:
    """Return |grad Z_ij| of all pairs, (n, n), each pair differentiated as a record of its own."""
    n = batch_length(batch)
    first, second = (torch.arange(n).repeat_interleave(n), torch.arange(n).repeat(n))
    parts = torch.split(torch.arange(n * n), _PAIRS)
    norms = [_norms_of(model, towers, batch, (first[part], second[part])) for part in parts]
    return torch.cat(norms).reshape(n, n)


def linear_pair_norms(sides: tuple[Tensor, Tensor], heads: tuple[Tensor, Tensor], floor: float) -> Tensor:
    """Return |grad Z_ij|, (n, n), of u = W x / max(|W x|, floor) and v alike, the heads W (e, d) being all that learns.

    sides: x and y, (n, d); heads: the same tensor twice where one serves both. With c = u . v, above the floor:
    |grad Z|^2 = (1 - c^2) (|x|^2 / |W x|^2 + |y|^2 / |W y|^2 - 2 c x . y / (|W x| |W y|) where W is shared).
    """
    with torch.no_grad(), full_precision():
        x, y = (in_float64(side) for side in sides)
        projected = [side @ in_float64(head).t() for side, head in zip((x, y), heads, strict=True)]
        lengths = [torch.linalg.vector_norm(each, dim=1) for each in projected]
        u, v = (each / length.clamp_min(floor)[:, None] for each, length in zip(projected, lengths, strict=True))
        c, p = u @ v.t(), (lengths[0] >= floor).to(u)[:, None]
        q, uu, vv = (lengths[1] >= floor).to(u)[None], u.square().sum(1)[:, None], v.square().sum(1)[None]
        one, other = lengths[0].clamp_min(floor)[:, None], lengths[1].clamp_min(floor)[None]
        left = (vv - p * c.square()) / one.square() * x.square().sum(1)[:, None]
        right = (uu - q * c.square()) / other.square() * y.square().sum(1)[None]
        both = c * (1 - p * uu - q * vv + p * q * c.square()) / (one * other) * (x @ y.t())
        squares: Tensor = left + right + (2 * both if heads[0] is heads[1] else 0)
        return squares.clamp_min(0).sqrt().to(sides[0].device)


def _norms_of(model: nn.Module, towers: Towers, batch: Batch, chosen: tuple[Tensor, Tensor]) -> Tensor:
    """Return |grad Z_ij| of these pairs (i, j), two tensors (m,), as (m,)."""
    sides = {
        f"{side}:{name}": tensor[rows.to(tensor.device)]
        for side, rows in zip(("first", "second"), chosen, strict=True)
        for name, tensor in batch.items()
    }

    def similarity(model: nn.Module, pairs: Batch) -> Tensor:
        one, other = ({name: pairs[f"{side}:{name}"] for name in batch} for side in ("first", "second"))
        return (towers.firsts(model, one) * towers.seconds(model, other)).sum(1)

    tape, values = differentiated(model, similarity, sides)
    norms = [each.float() for each in tape.norms.values()]
    tape.dense()
    return torch.linalg.vector_norm(torch.stack(norms), dim=0) if norms else torch.zeros_like(values)


def _quadratic(rows: dict[str, Tensor], v: Tensor) -> Tensor:
    """Return v_j' (J_i J_i') v_j, (n, n), of rows name -> (n, e, numbers) and vectors (n, e)."""
    blocks = v.new_zeros(len(v), v.shape[1], v.shape[1])
    for each in rows.values():
        wide = in_float64(each)
        blocks += torch.bmm(wide, wide.transpose(1, 2))
    return torch.einsum("jk,ikl,jl->ij", v, blocks, v)


def _crossed(rows: dict[str, Tensor], others: dict[str, Tensor], u: Tensor, v: Tensor) -> Tensor:
    """Return v_j' (J_i J'_j') u_i, (n, n): 0 unless both sides depend on a parameter."""
    n, width = u.shape
    gram = u.new_zeros(n * width, n * width)
    for name in sorted(rows.keys() & others.keys()):
        sides = (torch.split(each[name].flatten(0, 1), _RUN, dim=1) for each in (rows, others))
        for one, other in zip(*sides, strict=True):
            gram += in_float64(one @ other.t())
    return torch.einsum("jk,ikjl,il->ij", v, gram.reshape(n, width, n, width), u)


def _similarities(u: Tensor, v: Tensor) -> Tensor:
    """Return u_i . v_j, (n, n); rounding cannot carry it past 1, from where slopes would be larger than declared."""
    dtype = accumulator_dtype(u.dtype)
    return (u.to(dtype) @ v.to(dtype).t()).clamp(-1, 1)
