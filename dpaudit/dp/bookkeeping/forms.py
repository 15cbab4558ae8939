"""The forms in which a layer's per-record gradients are kept until the clip factors are known.

Book-keeping (Bu et al. 2023, arXiv 2210.00038): the gradient of a weight is a product of what the layer saw and what
came back, so its norm needs no gradient (Goodfellow 2015, arXiv 1510.01799; Li et al. 2022, arXiv 2110.05679), and the
clipped sum is one weighted product. All is computed in float32 or better.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeGuard

import torch

from dpaudit.dp.bookkeeping.symmetric import gram
from dpaudit.dp.clipping import RUN, accumulator_dtype, tensor_norms

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

__all__ = ["Dense", "Form", "Grams", "Outer", "Rows", "Stack", "Tied", "cheaper", "is_small", "join"]

#: A product over T tokens with a (p, d) gradient: the norm costs T² (p + d) by Grams, and passes over p d numbers by
#: the gradient itself. Passing over memory is this much dearer than multiplying; 15 to 150 make no difference.
_PASS_COST = 50
#: what query, key and value read is the same tensor; a decoder's blocks read the same memory
_REMEMBERED = 16


@dataclass(frozen=True, slots=True)
class Grams:
    """The inner products among the tokens of each record, remembered: several layers may read the same tensor."""

    _known: dict[tuple[object, ...], tuple[Tensor, Tensor]] = field(default_factory=dict)

    def __call__(self, x: Tensor) -> Tensor:
        """Return x x' of x (..., T, d), in float32 or better: (..., T, T)."""
        return gram(_accumulated(x))

    def remembered(self, x: Tensor) -> Tensor:
        """Return the same; the result is kept and must not be changed. x is held, so its memory is not given away."""
        which = (x.data_ptr(), x.dtype, x.shape, x.stride())
        if which not in self._known:
            if len(self._known) == _REMEMBERED:
                del self._known[next(iter(self._known))]
            self._known[which] = (x, self(x))
        return self._known[which][1]


class Form(Protocol):
    """The gradients of n records with respect to one parameter."""

    def norms(self, grams: Grams, /) -> Tensor:
        """Return every record's L2 norm, (n,)."""

    def weighted(self, factors: Tensor, onto: Tensor | None = None) -> Tensor:
        """Return the sum of the gradients, each times its factor, (n,), in the parameter's shape; added to `onto`."""

    def dense(self) -> Tensor:
        """Return the gradients themselves, (n, *shape)."""


@dataclass(frozen=True, slots=True)
class Dense:
    """The gradients themselves, (n, *shape)."""

    gradients: Tensor

    def norms(self, _: Grams, /) -> Tensor:
        """Return every record's L2 norm, (n,)."""
        return tensor_norms(self.gradients)

    def weighted(self, factors: Tensor, onto: Tensor | None = None) -> Tensor:
        """Return the weighted sum, (*shape), added to `onto`."""
        gradients = _accumulated(self.gradients)
        flat = gradients.reshape(len(gradients), gradients[0].numel())
        total = (factors.to(flat.dtype) @ flat).reshape(gradients.shape[1:])
        return total if onto is None else onto.add_(total)

    def dense(self) -> Tensor:
        """Return the gradients, (n, *shape)."""
        return _accumulated(self.gradients)


@dataclass(frozen=True, slots=True)
class Outer:
    """Products: record i's gradient is left_i' right_i, left (n, T, p) and right (n, T, d), its p d numbers in `shape`.

    With G groups left is (n, G, T, p), right (n, G, T, d) and the gradient has G p d numbers.
    """

    left: Tensor
    right: Tensor
    shape: tuple[int, ...]

    def norms(self, grams: Grams, /) -> Tensor:
        """Return every record's L2 norm, (n,)."""
        if self.left.shape[-2] == 1:
            lengths = [torch.linalg.vector_norm(_accumulated(part), dim=-1) for part in (self.left, self.right)]
            norms: Tensor = torch.linalg.vector_norm((lengths[0] * lengths[1]).flatten(1), dim=1)
            return norms
        product = grams(self.left).mul_(grams.remembered(self.right))
        return product.flatten(1).sum(1).clamp_(min=0).sqrt_()

    def weighted(self, factors: Tensor, onto: Tensor | None = None) -> Tensor:
        """Return the weighted sum, (*shape), added to `onto`; the smaller factor of the product is the one scaled."""
        left, right = _accumulated(self.left), _accumulated(self.right)
        scale = factors.reshape(-1, *[1] * (left.dim() - 1))
        if left.shape[-1] < right.shape[-1]:
            left = left * scale
        else:
            right = right * scale
        if left.dim() == 3:
            seen, sent = left.flatten(0, 1).t(), right.flatten(0, 1)
            return (seen @ sent).reshape(self.shape) if onto is None else _product_onto(onto, seen, sent)
        grouped = [part.transpose(0, 1).flatten(1, 2) for part in (left, right)]
        total = torch.bmm(grouped[0].transpose(1, 2), grouped[1]).reshape(self.shape)
        return total if onto is None else onto.add_(total)

    def dense(self) -> Tensor:
        """Return the gradients, (n, *shape)."""
        products = _accumulated(self.left).transpose(-2, -1) @ _accumulated(self.right)
        return products.reshape(len(products), *self.shape)

    def is_cheaper_dense(self) -> bool:
        """Return whether the gradients cost less than two Grams; decided by sizes alone, so results repeat."""
        tokens, p, d = self.left.shape[-2], self.left.shape[-1], self.right.shape[-1]
        return tokens**2 * (p + d) > _PASS_COST * p * d


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of a table: record i's gradient is `gradients` (n, T, d) added up at rows `index` (n, T) of (V, d) zeros."""

    index: Tensor
    gradients: Tensor
    shape: tuple[int, ...]

    def norms(self, _: Grams, /) -> Tensor:
        """Return every record's L2 norm, (n,): what a record adds to the same row is added first."""
        n = len(self.index)
        rows = torch.arange(n, device=self.index.device).unsqueeze(1) * self.shape[0] + self.index
        distinct, at = torch.unique(rows, return_inverse=True)
        merged = _added(_accumulated(self.gradients), at, len(distinct))
        owner = torch.div(distinct, self.shape[0], rounding_mode="floor")
        return _added(merged.square_().sum(1, keepdim=True), owner, n).squeeze(1).sqrt_()

    def weighted(self, factors: Tensor, onto: Tensor | None = None) -> Tensor:
        """Return the weighted sum, (V, d), added to `onto`: a table of zeros to add would cost more."""
        scaled = _accumulated(self.gradients) * factors.reshape(-1, 1, 1)
        if onto is None:
            return _added(scaled, self.index, self.shape[0])
        return onto.index_put_((self.index,), scaled, accumulate=True)

    def dense(self) -> Tensor:
        """Return the gradients, (n, V, d)."""
        out = _accumulated(self.gradients).new_zeros(len(self.index), *self.shape)
        return out.scatter_add_(1, self.index.unsqueeze(-1).expand_as(self.gradients), _accumulated(self.gradients))


@dataclass(frozen=True, slots=True)
class Tied:
    """One matrix as table of embeddings and as product: the norm has a term for what the two have in common."""

    outer: Outer
    rows: Rows

    def norms(self, grams: Grams, /) -> Tensor:
        """Return every record's L2 norm, (n,)."""
        squares = self.outer.norms(grams).square() + self.rows.norms(grams).square() + 2 * self._common()
        return squares.clamp_(min=0).sqrt_()

    def weighted(self, factors: Tensor, onto: Tensor | None = None) -> Tensor:
        """Return the weighted sum, (V, d), added to `onto`."""
        return self.rows.weighted(factors, self.outer.weighted(factors, onto))

    def dense(self) -> Tensor:
        """Return the gradients, (n, V, d)."""
        return self.outer.dense() + self.rows.dense()

    def _common(self) -> Tensor:
        """Return the inner product of both gradients, (n,): rows of the product only where the table was read."""
        index = self.rows.index.unsqueeze(1).expand(-1, self.outer.left.shape[1], -1)
        read = _accumulated(self.outer.left.gather(2, index))
        products = read.transpose(1, 2) @ _accumulated(self.outer.right)
        return (products * _accumulated(self.rows.gradients)).sum((1, 2))


@dataclass(frozen=True, slots=True)
class Stack:
    """Gradients of k small tensors of one size D, (k, n, D), at most as long as a float32 sum may be."""

    shapes: dict[str, torch.Size]
    gradients: Tensor

    @classmethod
    def of(cls, forms: Mapping[str, Dense]) -> Stack:
        """Return the stack of some tensors' gradients, by name."""
        flat = [form.gradients.reshape(len(form.gradients), -1) for form in forms.values()]
        return cls({name: form.gradients.shape[1:] for name, form in forms.items()}, _accumulated(torch.stack(flat)))

    def norms(self) -> dict[str, Tensor]:
        """Return every tensor's norms, name -> (n,)."""
        return dict(zip(self.shapes, torch.linalg.vector_norm(self.gradients, dim=2), strict=True))

    def weighted(self, factors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return every tensor's weighted sum, name -> (*shape)."""
        weights = torch.stack([factors[name] for name in self.shapes]).unsqueeze(1).to(self.gradients.dtype)
        sums = torch.bmm(weights, self.gradients).squeeze(1)
        return {name: total.reshape(shape) for (name, shape), total in zip(self.shapes.items(), sums, strict=True)}

    def dense(self) -> dict[str, Tensor]:
        """Return every tensor's gradients, name -> (n, *shape)."""
        each = zip(self.shapes.items(), self.gradients, strict=True)
        return {name: part.reshape(len(part), *shape) for (name, shape), part in each}


def is_small(form: Form) -> TypeGuard[Dense]:
    """Return whether these are gradients that a `Stack` takes."""
    return isinstance(form, Dense) and 0 < form.gradients.numel() <= RUN * len(form.gradients)


def join(forms: Sequence[Form]) -> Form:
    """Return one form for a parameter that was used once or several times; sums of gradients, never of norms."""
    outer = [form for form in forms if isinstance(form, Outer)]
    rows = [form for form in forms if isinstance(form, Rows)]
    if len(outer) + len(rows) < len(forms) or len({form.left.dim() for form in outer}) > 1:
        return forms[0] if len(forms) == 1 else Dense(sum_of([form.dense() for form in forms]))
    if not outer:
        return _all_rows(rows)
    product = _all_tokens(outer)
    if rows:
        return Tied(product, _all_rows(rows))
    return product


def cheaper(form: Form) -> Form:
    """Return the gradients themselves where they cost less than two Grams."""
    return Dense(form.dense()) if isinstance(form, Outer) and form.is_cheaper_dense() else form


def sum_of(parts: Sequence[Tensor]) -> Tensor:
    """Return the sum of tensors of one shape."""
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def _all_tokens(forms: Sequence[Outer]) -> Outer:
    if len(forms) == 1:
        return forms[0]
    left, right = (torch.cat([getattr(form, side) for form in forms], dim=-2) for side in ("left", "right"))
    return Outer(left, right, forms[0].shape)


def _all_rows(forms: Sequence[Rows]) -> Rows:
    if len(forms) == 1:
        return forms[0]
    index = torch.cat([form.index for form in forms], dim=1)
    return Rows(index, torch.cat([form.gradients for form in forms], dim=1), forms[0].shape)


def _product_onto(onto: Tensor, seen: Tensor, sent: Tensor) -> Tensor:
    onto.view(seen.shape[0], sent.shape[1]).addmm_(seen, sent)
    return onto


def _added(values: Tensor, at: Tensor, rows: int) -> Tensor:
    """Return values (..., d) added up at rows `at` (...) of (rows, d) zeros, in the same order every time."""
    sums: Tensor = torch.ops.aten.embedding_dense_backward(values, at, rows, -1, False)
    return sums


def _accumulated(x: Tensor) -> Tensor:
    return x if x.dtype is torch.float32 else x.to(accumulator_dtype(x.dtype))
