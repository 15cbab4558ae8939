"""A mechanism, a model and records small enough to compute by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dpaudit.mechanism import Mechanism

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from dpaudit.dp.tensors import Batch


@pytest.fixture
def mechanism_of() -> Callable[..., Mechanism]:
    def build(**changes: Any) -> Mechanism:
        values = {
            "sampling": "poisson",
            "adjacency": "add-remove",
            "noise_multiplier": 0.8,
            "sampling_rate": 0.25,
            "steps": 40,
            "clip_norm": 0.5,
            "batch_size": 10,
            "dataset_size": 40,
        }
        return Mechanism.model_validate(values | changes)

    return build


@pytest.fixture
def network() -> nn.Module:
    generator = torch.Generator().manual_seed(3)
    model = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))
    for parameter in model.parameters():
        parameter.data.normal_(generator=generator)
    return model


@pytest.fixture
def squared_error() -> Callable[[nn.Module, Batch], Tensor]:
    def losses(model: nn.Module, batch: Batch) -> Tensor:
        error: Tensor = model(batch["x"]) - batch["y"]
        return error.square().sum(1)

    return losses


@pytest.fixture
def load() -> Callable[[NDArray[np.int64]], Batch]:
    """Return the loader of 40 fixed records."""
    generator = np.random.default_rng(5)
    x = generator.standard_normal((40, 5)).astype(np.float32)
    y = generator.standard_normal((40, 3)).astype(np.float32)

    def take(at: NDArray[np.int64]) -> Batch:
        return {"x": torch.from_numpy(x[at]), "y": torch.from_numpy(y[at])}

    return take
