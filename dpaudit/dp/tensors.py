"""The two shapes of data that a step moves, and the parameters that it trains."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Batch", "Gradients", "beside", "home", "in_float64", "moved", "trainable"]

#: name -> tensor whose first dimension is the record
Batch: TypeAlias = dict[str, Tensor]
#: parameter name -> tensor of the parameter's shape
Gradients: TypeAlias = dict[str, Tensor]


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return name -> parameter of all that is trained, in the model's order; a shared parameter appears once."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def home(model: nn.Module) -> torch.device:
    """Return the device that a model computes on: that of its first tensor, the CPU for a model without any."""
    first = next(itertools.chain(model.parameters(), model.buffers()), None)
    return torch.device("cpu") if first is None else first.device


def moved(batch: Batch, device: torch.device) -> Batch:
    """Return the batch on this device."""
    return {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}


def beside(model: nn.Module, batch: Batch) -> Batch:
    """Return the batch on the device of the model."""
    return moved(batch, home(model))


def in_float64(tensor: Tensor) -> Tensor:
    """Return the tensor in float64, on the CPU where its device has no such numbers (Apple's)."""
    return (tensor.cpu() if tensor.device.type == "mps" else tensor).double()
