"""The tape of one backward pass: which parameter got which gradients, in which form, and their norms."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import torch

from dpaudit.dp.bookkeeping.forms import Dense, Grams, Stack, cheaper, is_small, join
from dpaudit.errors import DpauditError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager

    from torch import Tensor

    from dpaudit.dp.bookkeeping.forms import Form

__all__ = ["Tape", "Use", "full_precision"]


class Use(NamedTuple):
    """How the forward pass used a parameter: its name, by what, and how many rows belong to one record."""

    name: str
    kind: str
    rows: int


@dataclass(slots=True)
class Tape:
    """What the layers of one pass over `records` records leave behind.

    anchor: a scalar that every layer takes as an input, so that the backward pass reaches it. stacks: name -> one copy
    of a parameter per record, a leaf whose gradient is the per-record gradient. norms: name -> the norms of
    its gradients, (n,), after `differentiate`. again: more than one backward pass goes through one forward pass, each
    for the gradients themselves, not for norms.
    """

    records: int
    again: bool = False
    anchor: Tensor = field(default_factory=lambda: torch.zeros((), requires_grad=True))
    stacks: dict[str, Tensor] = field(default_factory=dict)
    uses: list[Use] = field(default_factory=list)
    norms: dict[str, Tensor] = field(default_factory=dict)
    _forms: dict[str, Form] = field(default_factory=dict)
    _small: dict[str, Dense] = field(default_factory=dict)
    _stacks: list[Stack] = field(default_factory=list)
    _waiting: dict[str, list[Form]] = field(default_factory=dict)
    _times: Counter[str] = field(default_factory=Counter)
    _grams: Grams = field(default_factory=Grams)

    def enter(self, name: str, kind: str, x: Tensor, dims: int) -> None:
        """Note that a layer reads x (rows, ...), of at least `dims` dimensions; rows must divide among the records."""
        rows = x.shape[0] if x.dim() >= dims else 0
        if rows == 0 or rows % self.records:
            raise DpauditError(
                f"the parameter {name} meets a tensor of shape {tuple(x.shape)} in {kind}; book-keeping expects the "
                f"{self.records} records, or the same number of rows for each, as its first dimension"
            )
        self.uses.append(Use(name, kind, rows // self.records))
        self._times[name] += 1

    def keep(self, name: str, form: Form) -> None:
        """Keep a form of a parameter's gradients; a parameter used once gets its norms now, while caches are warm."""
        if self._times[name] == 1:
            self._settle(name, form)
        else:
            self._waiting.setdefault(name, []).append(form)

    def per_record(self, x: Tensor, dims: int) -> Tensor:
        """Return x (rows, ..., *last `dims`) as (records, T, *last `dims`): all that belongs to one record together."""
        if x.dim() == 2 + dims and x.shape[0] == self.records:
            return x
        return x.reshape(self.records, -1, *x.shape[x.dim() - dims :])

    def differentiate(self, total: Tensor, *watched: Mapping[str, Tensor]) -> None:
        """Fill the tape by one backward pass from the summed loss.

        Outside autocast, which would round norms. watched: the parameters and their stand-ins, which no gradient may
        reach past the tape.
        """
        past = [(name, tensor) for each in watched for name, tensor in each.items()]
        leaves = [self.anchor, *self.stacks.values(), *(tensor for _, tensor in past)]
        with torch._C.DisableTorchFunctionSubclass():
            found = torch.autograd.grad(total, leaves, retain_graph=self.again, allow_unused=True)[1:]
        for (name, _), gradient in zip(past, found[len(self.stacks) :], strict=True):
            if gradient is not None:
                raise DpauditError(
                    f"the trained parameter {name} is used where book-keeping cannot see it (a function of your own, a "
                    "layer that keeps its weights in a list); freeze it, use a layer with a rule, or engine functional"
                )
        for name, gradient in zip(self.stacks, found, strict=False):
            if gradient is not None:
                self._waiting.setdefault(name, []).append(Dense(gradient))
        for name, forms in self._waiting.items():
            self._settle(name, join(forms))
        self._waiting.clear()
        self._stack()

    def kept(self) -> list[str]:
        """Return whose gradients are kept by themselves, not in a stack of small ones."""
        return list(self._forms)

    def take(self, name: str) -> Form | None:
        """Return what is kept of a parameter by itself; the tape no longer has it."""
        return self._forms.pop(name, None)

    def weighted_small(self, factors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the weighted sums of all small gradients by name, given name -> (n,); they are then gone."""
        sums: dict[str, Tensor] = {}
        while self._stacks:
            sums |= self._stacks.pop().weighted(factors)
        return sums

    def dense(self) -> dict[str, Tensor]:
        """Return the gradients themselves, name -> (n, *shape); the tape is then empty."""
        gradients: dict[str, Tensor] = {}
        while self._stacks:
            gradients.update(self._stacks.pop().dense())
        while self._forms:
            name, form = self._forms.popitem()
            gradients[name] = form.dense()
        return gradients

    def _settle(self, name: str, form: Form) -> None:
        form = cheaper(form)
        if is_small(form):
            self._small[name] = form
            return
        self._forms[name] = form
        if not self.again:
            with full_precision():
                self.norms[name] = form.norms(self._grams)

    def _stack(self) -> None:
        """Put small gradients of one size together: many little products cost more in calls than in numbers."""
        groups: dict[tuple[int, torch.dtype], dict[str, Dense]] = {}
        for name, form in self._small.items():
            gradients = form.gradients
            groups.setdefault((gradients.numel() // self.records, gradients.dtype), {})[name] = form
        self._small.clear()
        for group in groups.values():
            stack = Stack.of(group)
            self._stacks.append(stack)
            self.norms.update(stack.norms())


def full_precision() -> AbstractContextManager[None]:
    """Multiply float32 numbers as such inside the block, whatever a user has allowed (TF32, bfloat16).

    A norm or a factor that loses bits lets a record contribute more than C.
    """
    allowed = torch.get_float32_matmul_precision()
    return nullcontext() if allowed == "highest" else _raised(allowed)


@contextmanager
def _raised(before: str) -> Iterator[None]:
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
