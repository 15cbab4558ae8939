"""The two shapes of data that a step moves, and the parameters that it trains."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from torch import Tensor

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Batch", "Gradients", "trainable"]

#: name -> tensor whose first dimension is the record
Batch: TypeAlias = dict[str, Tensor]
#: parameter name -> tensor of the parameter's shape
Gradients: TypeAlias = dict[str, Tensor]


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return name -> parameter of all that is trained, in the model's order; a shared parameter appears once."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
