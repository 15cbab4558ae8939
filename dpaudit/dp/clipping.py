"""Clipping: how each record's gradient is scaled so that its L2 norm is at most C; and what an engine returns.

Three rules, each with sensitivity C: flat (Abadi et al. 2016, arXiv 1607.00133), AUTO-S (Bu et al. 2023, arXiv
2206.07136) and per layer (McMahan et al. 2018, arXiv 1710.06963).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol, TypeAlias

import torch
from torch import Tensor, nn

from dpaudit.dp.tensors import Batch, Gradients, trainable
from dpaudit.errors import DpauditError, InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = [
    "RULES",
    "RUN",
    "AutoS",
    "Clipped",
    "ClippedSum",
    "ClippingRule",
    "Flat",
    "Losses",
    "PerLayer",
    "Scaling",
    "accumulator_dtype",
    "clip_factors",
    "clipping_rule",
    "record_norms",
    "scaling",
    "tensor_norms",
    "zero_sums",
]

#: (model, batch of n records) -> one loss per record, (n,)
Losses: TypeAlias = Callable[[nn.Module, Batch], Tensor]

#: how many squares a float32 sum may add up before it loses what is small beside it
RUN = 4096


@dataclass(frozen=True, kw_only=True)
class Clipped:
    """What a batch of n records contributes.

    gradients: sum over records of the clipped gradient, at least float32. norms: (n,) before clipping, contributions:
    (n,) after it; both None when nothing was clipped (C = infinity needs no norms). losses: (n,).
    """

    gradients: Gradients
    norms: Tensor | None
    losses: Tensor
    contributions: Tensor | None = None


class ClippedSum(Protocol):
    """An engine: computes a batch's clipped gradient sum over the parameters that require_grad."""

    def __call__(
        self, model: nn.Module, losses: Losses, batch: Batch, clip: float, rule: ClippingRule = ...
    ) -> Clipped:
        """Return the clipped sum of a batch of n >= 1 records; neither parameters, buffers nor .grad change.

        rule: flat where none is given.
        """


@dataclass(frozen=True)
class Flat:
    """Abadi et al.: a record's whole gradient is multiplied by min(1, C / norm)."""

    name: ClassVar[str] = "flat"

    def groups(self, names: Sequence[str]) -> tuple[int, ...]:
        """Return the group of each tensor: one for all."""
        return (0,) * len(names)

    def factors(self, norms: Tensor, clip: float) -> Tensor:
        """Return the factor of every record and group, (n, 1), from its norms, (n, 1)."""
        return clip_factors(norms, clip)

    def sensitivity(self, clip: float) -> float:
        """Return the largest norm of a clipped gradient: C."""
        return clip


@dataclass(frozen=True)
class AutoS:
    """Bu et al., AUTO-S: a record's whole gradient is multiplied by C / (norm + stability), whatever its norm.

    Short gradients are lengthened, so C only sets the scale, together with the learning rate.
    """

    name: ClassVar[str] = "auto-s"

    stability: float = 0.01

    def groups(self, names: Sequence[str]) -> tuple[int, ...]:
        """Return the group of each tensor: one for all."""
        return (0,) * len(names)

    def factors(self, norms: Tensor, clip: float) -> Tensor:
        """Return the factor of every record and group, (n, 1), from its norms, (n, 1)."""
        if not 0 < clip < math.inf:
            raise InputError("clip norm", clip, "a finite number above 0: AUTO-S scales every gradient to it")
        return clip / (norms.to(accumulator_dtype(norms.dtype)) + self.stability)

    def sensitivity(self, clip: float) -> float:
        """Return the least upper bound of a clipped gradient's norm: C."""
        return clip


@dataclass(frozen=True)
class PerLayer:
    """McMahan et al.: each of the L modules that own a trained tensor is clipped by itself, to C / sqrt(L).

    A shared tensor belongs to the module that the model names first.
    """

    name: ClassVar[str] = "per-layer"

    def groups(self, names: Sequence[str]) -> tuple[int, ...]:
        """Return the group of each tensor: its owning module, in the order of first appearance.

        >>> PerLayer().groups(["a.weight", "a.bias", "token", "b.weight"])
        (0, 0, 1, 2)
        """
        owners = [name.rpartition(".")[0] for name in names]
        order = {owner: index for index, owner in enumerate(dict.fromkeys(owners))}
        return tuple(order[owner] for owner in owners)

    def factors(self, norms: Tensor, clip: float) -> Tensor:
        """Return the factor of every record and group, (n, L), from its norms, (n, L)."""
        return clip_factors(norms, clip / math.sqrt(norms.shape[1]))

    def sensitivity(self, clip: float) -> float:
        """Return the largest norm of a clipped gradient: C, reached when every layer is clipped."""
        return clip


#: the closed set of rules
ClippingRule: TypeAlias = Flat | AutoS | PerLayer

#: name -> rule
RULES: dict[str, ClippingRule] = {rule.name: rule for rule in (Flat(), AutoS(), PerLayer())}


def clipping_rule(name: str) -> ClippingRule:
    """Return the rule of this name.

    >>> clipping_rule("normalised")
    Traceback (most recent call last):
    ...
    dpaudit.errors.InputError: clipping = 'normalised': expected one of flat, auto-s, per-layer
    """
    if name not in RULES:
        raise InputError("clipping", name, f"one of {', '.join(RULES)}")
    return RULES[name]


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """What clipping does to a batch of n records.

    factors: tensor name -> factor of every record's gradient, (n,). norms: (n,) before, contributions: (n,) after.
    """

    factors: dict[str, Tensor]
    norms: Tensor
    contributions: Tensor


def scaling(rule: ClippingRule, norms: Mapping[str, Tensor], clip: float) -> Scaling:
    """Return how a rule scales n gradients, given each tensor's norms, name -> (n,).

    Raises DpauditError when a norm is NaN or infinite, and names tensor and record: skipping the record would depend
    on private data, and keeping it would break the sensitivity.

    >>> scaling(Flat(), {"a": torch.tensor([3.0, 0.3]), "b": torch.tensor([4.0, 0.4])}, 1.0).factors["a"]
    tensor([0.2000, 1.0000])
    """
    groups = rule.groups(list(norms))
    stacked = torch.stack(list(norms.values()), dim=1)
    _name_the_infinite(list(norms), stacked)
    members = [[at for at, group in enumerate(groups) if group == each] for each in range(max(groups) + 1)]
    by_group = torch.stack([torch.linalg.vector_norm(stacked[:, at], dim=1) for at in members], dim=1)
    factors = rule.factors(by_group, clip)
    columns = factors.unbind(1)
    return Scaling(
        factors={name: columns[group] for name, group in zip(norms, groups, strict=True)},
        norms=torch.linalg.vector_norm(by_group, dim=1),
        contributions=torch.linalg.vector_norm(by_group * factors, dim=1),
    )


def clip_factors(norms: Tensor, clip: float) -> Tensor:
    """Return min(1, clip / norm), in the shape of the norms, at least float32; ones when clip is infinite.

    Raises DpauditError when a norm is NaN or infinite: skipping the record would depend on private data, and keeping
    it would break the sensitivity.

    >>> clip_factors(torch.tensor([0.0, 1.0, 4.0]), 2.0)
    tensor([1.0000, 1.0000, 0.5000])
    """
    if not clip > 0:
        raise InputError("clip norm", clip, "a number above 0, or infinity")
    _check_finite(norms)
    return torch.clamp(clip / norms.to(accumulator_dtype(norms.dtype)), max=1.0)


def record_norms(gradients: Iterable[Tensor]) -> Tensor:
    """Return each record's L2 norm over all tensors together, (n,); the tensors are (n, ...).

    In float32 or better, added up in short runs: one long float32 sum loses what is small beside it, which on a tensor
    of 4e7 numbers makes the norm 0.2 % too small and the clipped gradient as much too long.
    """
    norms: Tensor = torch.linalg.vector_norm(torch.stack([tensor_norms(part) for part in gradients]), dim=0)
    return norms


def accumulator_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the type in which norms and sums of such numbers are formed: float32 or better."""
    return torch.promote_types(dtype, torch.float32)


def zero_sums(model: nn.Module) -> Gradients:
    """Return name -> zeros of every trained parameter's shape, contiguous, at least float32: where gradients add up."""
    return {
        name: torch.zeros(parameter.shape, dtype=accumulator_dtype(parameter.dtype), device=parameter.device)
        for name, parameter in trainable(model).items()
    }


def tensor_norms(gradient: Tensor) -> Tensor:
    """Return each record's L2 norm of one tensor, (n,), as `record_norms` does; the tensor is (n, ...)."""
    flat = gradient.reshape(len(gradient), gradient.numel() // len(gradient))
    flat = flat.to(accumulator_dtype(flat.dtype))
    runs = flat.shape[1] // RUN
    if runs == 0:
        return _vector_norm(flat)
    body = flat[:, : runs * RUN].reshape(len(flat), runs, RUN)
    rest = flat[:, runs * RUN :].unsqueeze(1)
    return _vector_norm(torch.cat([torch.linalg.vector_norm(part, dim=2) for part in (body, rest)], dim=1))


def _vector_norm(rows: Tensor) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(rows, dim=1)
    return norms


def _name_the_infinite(names: Sequence[str], norms: Tensor) -> None:
    """Raise when a norm, (n, tensors), is not finite. Of several tensors the last is nearest to the loss."""
    bad = ~torch.isfinite(norms)
    if bad.any():
        worst = int(bad.any(0).nonzero()[-1])
        record = int(bad[:, worst].nonzero()[0])
        raise DpauditError(
            f"the gradient of {names[worst]} is not finite for {int(bad[:, worst].sum())} of {len(norms)} records "
            f"(norm {float(norms[record, worst])} at record {record} of its micro-batch; {int(bad.any(0).sum())} of "
            f"{len(names)} tensors are affected); lower the learning rate or look for a division by zero"
        )


def _check_finite(norms: Tensor) -> None:
    bad = ~torch.isfinite(norms)
    if bad.any():
        first = int(bad.nonzero()[0, 0])
        raise DpauditError(
            f"{int(bad.sum())} of {len(norms)} gradient norms are not finite (record {first} of its micro-batch: "
            f"{float(norms[first])}); lower the learning rate or look for a division by zero in the loss"
        )
