"""Mechanisms of a thousand records, for accounting tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from dpaudit.mechanism import Mechanism

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture(scope="session")
def make_mechanism() -> Callable[..., Mechanism]:
    def make(rate: float = 0.2, noise: float = 2.0, steps: int = 100, **changed: Any) -> Mechanism:
        size = changed.pop("dataset_size", 1000)
        values = {"sampling": "poisson", "adjacency": "add-remove", "clip_norm": 1.0, **changed}
        return Mechanism.model_validate(
            {
                "noise_multiplier": noise,
                "sampling_rate": rate,
                "steps": steps,
                "batch_size": max(1, round(rate * size)),
                "dataset_size": size,
                **values,
            }
        )

    return make
