"""The two shapes of data that a step moves."""

from __future__ import annotations

from typing import TypeAlias

from torch import Tensor

__all__ = ["Batch", "Gradients"]

#: name -> tensor whose first dimension is the record
Batch: TypeAlias = dict[str, Tensor]
#: parameter name -> tensor of the parameter's shape
Gradients: TypeAlias = dict[str, Tensor]
