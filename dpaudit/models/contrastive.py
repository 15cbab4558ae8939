"""Symmetric InfoNCE (Oord et al. 2018; Radford et al. 2021), and its gradient in parts of a batch.

The loss couples all pairs, but only through their vectors: vectors are computed part by part without a graph, the
loss gives the gradient at each of them, and each part is run again to carry it on (Gao et al. 2021, arXiv 2101.06983).
The result is the gradient of the whole batch, the memory is that of a part and of n vectors.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypeAlias, cast

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn

__all__ = [
    "LARGEST_LOGIT_SCALE",
    "ContrastiveModel",
    "Encode",
    "Loss",
    "clamped",
    "contrastive",
    "in_parts",
    "info_nce",
    "loss_gradients",
    "pair_losses",
    "vectors_of",
]

#: pairs -> image vectors and text vectors, each (n, d)
Encode: TypeAlias = Callable[[dict[str, Tensor]], tuple[Tensor, Tensor]]
#: image vectors and text vectors -> a scalar
Loss: TypeAlias = Callable[[Tensor, Tensor], Tensor]

#: open_clip clamps the parameter to [0, ln 100] after every optimizer step
LARGEST_LOGIT_SCALE = math.log(100)


class ContrastiveModel(Protocol):
    """What open_clip's models and ours have in common. logit_scale: the logarithm of 1 / temperature, one number."""

    @property
    def logit_scale(self) -> Tensor:
        """Return the parameter."""

    def encode_image(self, images: Tensor, /) -> Tensor:
        """Return image vectors of any length, (n, d), of normalised images (n, 3, S, S)."""

    def encode_text(self, tokens: Tensor, /) -> Tensor:
        """Return text vectors of any length, (n, d), of tokens (n, context)."""


def contrastive(model: nn.Module) -> ContrastiveModel:
    """Return the model as what a contrastive trainer builds."""
    return cast("ContrastiveModel", model)


def vectors_of(model: ContrastiveModel) -> Encode:
    """Return a function from a batch (images, tokens) to unit vectors of images and of texts, each (n, d)."""
    return lambda batch: (
        normalize(model.encode_image(batch["images"]), dim=-1),
        normalize(model.encode_text(batch["tokens"]), dim=-1),
    )


def info_nce(images: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
    """Return the mean over n >= 1 pairs of the cross-entropy of finding each other, both ways, in nats; a scalar.

    images, texts: unit vectors (n, d), row i of one belongs to row i of the other. scale: 1 / temperature.

    >>> round(float(info_nce(torch.eye(2), torch.eye(2), torch.tensor(1.0))), 4)
    0.3133
    """
    return pair_losses(images, texts, scale).mean()


def pair_losses(images: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
    """Return what each pair adds to InfoNCE, (n,): the mean of both ways, in nats; it depends on all pairs."""
    logits = scale * images @ texts.T
    target = torch.arange(len(logits), device=logits.device)
    ways = [cross_entropy(way, target, reduction="none") for way in (logits, logits.T)]
    return (ways[0] + ways[1]) / 2


def clamped(logit_scale: Tensor) -> Tensor:
    """Return 1 / temperature, between 1 and 100, of its logarithm; a scalar.

    open_clip sets the parameter back after every step. Here the parameter stays and is read as if it had been set back;
    the gradient passes unhindered, so a parameter that noise has driven out can return.

    >>> parameter = torch.tensor(9.0, requires_grad=True)
    >>> scale = clamped(parameter)
    >>> gradient = torch.autograd.grad(scale, parameter)[0]
    >>> round(scale.item(), 3), round(gradient.item(), 3)
    (100.0, 100.0)
    """
    flat = logit_scale.reshape(())
    return (flat + (flat.clamp(0, LARGEST_LOGIT_SCALE) - flat).detach()).exp()


def loss_gradients(
    encode: Encode, loss: Loss, parameters: Mapping[str, Tensor], batch: dict[str, Tensor], size: int
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the loss of a whole batch of n >= 1 pairs and its gradients; `size` pairs are in memory at a time.

    parameters: what the loss depends on, through the vectors or directly; zeros for one that it does not.
    """
    parts = in_parts(batch, size)
    if len(parts) == 1:
        value = loss(*encode(batch))
        return value.detach(), _summed(parameters, _grad(value, parameters))
    with torch.no_grad():
        found = [encode(part) for part in parts]
    images, texts = (torch.cat(vectors).requires_grad_() for vectors in zip(*found, strict=True))
    value = loss(images, texts)
    at_images, at_texts, *direct = _grad(value, {"images": images, "texts": texts, **parameters})
    total = _summed(parameters, direct)
    for part, *arrived in zip(parts, _at(at_images, images, size), _at(at_texts, texts, size), strict=True):
        vectors = encode(part)
        carried = sum((vector * gradient).sum() for vector, gradient in zip(vectors, arrived, strict=True))
        _add(total, parameters, _grad(torch.as_tensor(carried), parameters))
    return value.detach(), total


def in_parts(batch: dict[str, Tensor], size: int) -> list[dict[str, Tensor]]:
    """Return a batch in parts of at most `size` records, in order."""
    count = len(next(iter(batch.values())))
    return [{name: rows[at : at + size] for name, rows in batch.items()} for at in range(0, count, size)]


def _grad(value: Tensor, inputs: Mapping[str, Tensor]) -> list[Tensor | None]:
    return list(torch.autograd.grad(value, list(inputs.values()), allow_unused=True))


def _at(gradient: Tensor | None, vectors: Tensor, size: int) -> tuple[Tensor, ...]:
    return torch.split(torch.zeros_like(vectors) if gradient is None else gradient, size)


def _summed(parameters: Mapping[str, Tensor], first: list[Tensor | None]) -> dict[str, Tensor]:
    total = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
    _add(total, parameters, first)
    return total


def _add(total: dict[str, Tensor], parameters: Mapping[str, Tensor], gradients: list[Tensor | None]) -> None:
    for name, gradient in zip(parameters, gradients, strict=True):
        if gradient is not None:
            total[name] += gradient
