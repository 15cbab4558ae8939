"""Stand-ins: what a model finds in the place of its trained parameters during a book-kept pass.

A stand-in knows which function of torch it is handed to. Layers with a rule put themselves on the tape; a function of
parameters alone, or one that spreads a parameter over the records, is done on one copy per record; everything else is
an error that names the parameter, so that no gradient is lost or shared among records unseen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.overrides import get_default_nowrap_functions
from torch.utils import _pytree as pytree

from dpaudit.errors import DpauditError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from dpaudit.dp.bookkeeping.tape import Tape

__all__ = ["ROUTES", "StandIn", "refusal", "stand_in"]

#: function of torch -> what is called in its place when one of its arguments is a stand-in; `routes` fills it
ROUTES: dict[Any, Callable[..., Any]] = {}

#: functions that tell about a tensor or leave the graph: they get the parameter's value
_ABOUT = get_default_nowrap_functions() | {
    Tensor.size, Tensor.dim, Tensor.numel, Tensor.nelement, Tensor.stride, Tensor.element_size, Tensor.is_contiguous,
    Tensor.is_floating_point, Tensor.is_complex, Tensor.get_device, Tensor.storage_offset, Tensor.__len__, Tensor.item,
    Tensor.tolist, Tensor.__repr__, Tensor.__format__, Tensor.__hash__, Tensor.detach, torch.is_floating_point,
    torch.is_complex, torch.numel, torch.zeros_like, torch.ones_like, torch.empty_like, torch.rand_like,
    torch.randn_like, Tensor.new_zeros, Tensor.new_ones, Tensor.new_empty, Tensor.new_full, Tensor.new_tensor,
    Tensor.data.__get__, Tensor.shape.__get__, Tensor.dtype.__get__, Tensor.device.__get__,  # type: ignore[attr-defined]  # descriptors
}  # fmt: skip

_TRANSPOSED = {Tensor.t, torch.t, Tensor.T.__get__, Tensor.mT.__get__}  # type: ignore[attr-defined]  # descriptors
#: functions that act on each entry and broadcast, by name
_ENTRYWISE = {"add", "sub", "subtract", "rsub", "mul", "multiply", "div", "divide", "true_divide", "where", "maximum",
              "minimum", "lerp"}  # fmt: skip


class StandIn(Tensor):
    """A trained parameter, or a function of some, that knows its per-record copies.

    names: the parameters it is made of. value: a plain tensor. whole: whether it is one parameter itself, or that
    parameter transposed.
    """

    names: tuple[str, ...]
    value: Tensor
    tape: Tape
    whole: bool
    transposed: bool
    _copies: Callable[[], Tensor]

    def copies(self) -> Tensor:
        """Return one copy per record, (n, *shape), whose gradient is the per-record gradient."""
        return self._copies()

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Send a function of torch to where stand-ins are understood."""
        kwargs = kwargs or {}
        if func in ROUTES:
            return ROUTES[func](*args, **kwargs)
        if func in _ABOUT:
            return func(*_values(args), **_values(kwargs))
        if func in _TRANSPOSED and args[0].dim() == 2 and args[0].whole:
            return _turned(args[0])
        return _spread(func, args, kwargs)


def stand_in(name: str, parameter: Tensor, tape: Tape) -> StandIn:
    """Return a stand-in for a trained parameter; it requires grad, so that a function that slips past is noticed."""

    def copies() -> Tensor:
        if name not in tape.stacks:
            tape.stacks[name] = parameter.detach().expand(tape.records, *parameter.shape).requires_grad_()
        return tape.stacks[name]

    return _made((name,), parameter.detach(), tape, copies, whole=True, requires_grad=True)


def refusal(func: Any, names: Iterable[str]) -> DpauditError:
    """Return the error that names parameters and the function they were handed to."""
    title = getattr(func, "__name__", str(func))
    return DpauditError(
        f"the trained parameter {' and '.join(dict.fromkeys(names))} is used by torch's {title}, for which "
        "book-keeping has no rule; freeze it, use a layer that has one, or engine functional"
    )


def _made(  # noqa: PLR0913  # the fields of a Tensor's subclass, which can have no constructor
    names: tuple[str, ...],
    value: Tensor,
    tape: Tape,
    copies: Callable[[], Tensor],
    *,
    whole: bool = False,
    transposed: bool = False,
    requires_grad: bool = False,
) -> StandIn:
    made = torch.Tensor._make_subclass(StandIn, value, requires_grad)
    made.names, made.value, made.tape, made._copies = names, value, tape, copies
    made.whole, made.transposed = whole, transposed
    return made


def _turned(x: StandIn) -> StandIn:
    return _made(
        x.names, x.value.t(), x.tape, lambda: x.copies().transpose(1, 2), whole=True, transposed=not x.transposed
    )


def _spread(func: Any, args: Any, kwargs: Any) -> Any:
    """Do a function on per-record copies: of parameters alone, of entries, or one that repeats for every row."""
    leaves, structure = pytree.tree_flatten((args, kwargs))
    ours = [leaf for leaf in leaves if isinstance(leaf, StandIn)]
    others = [leaf for leaf in leaves if isinstance(leaf, Tensor) and not isinstance(leaf, StandIn)]
    name = getattr(func, "__name__", "")
    if (name.endswith("_") and not name.endswith("__")) or name in ("__setitem__", "__set__"):
        raise refusal(func, _names(ours))
    if name in ("expand", "repeat") and len(ours) == 1 and not others:
        sizes = args[1] if len(args) == 2 and isinstance(args[1], (tuple, list)) else args[1:]
        if (rows := _rows_asked(ours[0], sizes, repeats=name == "repeat")) is not None:
            return _repeated(func, ours[0], rows, sizes)
    if name.strip("_").removeprefix("r") in _ENTRYWISE and (dims := _record_dims(ours, others)):
        return _entrywise(func, leaves, structure, dims)
    if any(other.requires_grad or other.dim() for other in others):
        raise refusal(func, _names(ours))
    return _derived(func, leaves, structure)


def _rows_asked(x: StandIn, sizes: Sequence[int], *, repeats: bool) -> int | None:
    """Return how many rows an expansion asks for, or None when it does not repeat x over records."""
    added = len(sizes) > x.dim()
    single = len(sizes) == x.dim() > 0 and x.shape[0] == 1
    if not (added or single) or sizes[0] < 1 or sizes[0] % x.tape.records:
        return None
    return None if repeats and any(size != 1 for size in sizes[1:]) else sizes[0]


def _repeated(func: Any, x: StandIn, rows: int, sizes: Sequence[int]) -> Tensor:
    """Return x once per row, (rows, *the rest of `sizes`); the rows of a record lie side by side."""
    copies = x.copies().squeeze(1) if len(sizes) == x.dim() else x.copies()
    copies = _per_row(copies, rows, x)
    copies = copies.reshape(rows, *[1] * (len(sizes) - copies.dim()), *copies.shape[1:])
    return copies if func.__name__ == "repeat" else copies.expand(*sizes)


def _per_row(copies: Tensor, rows: int, x: StandIn) -> Tensor:
    """Return (records, ...) as (rows, ...)."""
    for name in x.names:
        x.tape.enter(name, "copies", copies.new_empty(()).expand(rows), 1)
    return copies if rows == len(copies) else copies.repeat_interleave(rows // len(copies), dim=0)


def _record_dims(ours: Sequence[StandIn], others: Sequence[Tensor]) -> int:
    """Return how many dimensions the tensors have that hold records, or 0 when none of `others` does.

    Records are the first dimension of a tensor that has more dimensions than the parameter.
    """
    widest = max((other.dim() for other in others), default=0)
    inner = max(each.dim() - (each.dim() > 0 and each.shape[0] == 1) for each in ours)
    rows = max((len(other) for other in others if other.dim() == widest > 0), default=0)
    return widest if widest > inner and rows and rows % ours[0].tape.records == 0 else 0


def _entrywise(func: Any, leaves: list[Any], structure: Any, dims: int) -> Any:
    """Do a broadcasting function on tensors that hold records, of `dims` dimensions, and copies of the parameters."""
    plain = [leaf for leaf in leaves if isinstance(leaf, Tensor) and not isinstance(leaf, StandIn)]
    rows = max(len(leaf) for leaf in plain if leaf.dim() == dims)

    def aligned(x: StandIn) -> Tensor:
        copies = _per_row(x.copies().squeeze(1) if x.dim() == dims else x.copies(), rows, x)
        return copies.reshape(rows, *[1] * (dims - copies.dim()), *copies.shape[1:])

    replaced = [aligned(leaf) if isinstance(leaf, StandIn) else leaf for leaf in leaves]
    args, kwargs = pytree.tree_unflatten(replaced, structure)
    return func(*args, **kwargs)


def _derived(func: Any, leaves: list[Any], structure: Any) -> StandIn:
    """Return a function of parameters (and constants) as a stand-in: its copies are the function of their copies."""
    at = [index for index, leaf in enumerate(leaves) if isinstance(leaf, StandIn)]
    ours = [leaves[index] for index in at]

    def applied(*tensors: Tensor) -> Any:
        given = list(leaves)
        for index, tensor in zip(at, tensors, strict=True):
            given[index] = tensor
        args, kwargs = pytree.tree_unflatten(given, structure)
        return func(*args, **kwargs)

    with torch.no_grad():
        value = applied(*(each.value for each in ours))
    if not isinstance(value, Tensor):
        raise refusal(func, _names(ours))

    def copies() -> Tensor:
        made: Tensor = torch.vmap(applied)(*(each.copies() for each in ours))
        return made

    return _made(_names(ours), value, ours[0].tape, copies)


def _names(ours: Iterable[StandIn]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for each in ours for name in each.names))


def _values(tree: Any) -> Any:
    return pytree.tree_map(lambda leaf: leaf.value if isinstance(leaf, StandIn) else leaf, tree)
