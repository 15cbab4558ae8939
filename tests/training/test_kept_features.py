"""Features that are kept: computed once, and again whenever model or images are others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from dpaudit.data.examples import Examples
from dpaudit.errors import DamagedRunError
from dpaudit.training.kept_features import KeptFeatures, model_digest

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def records(value: int, n: int = 3) -> Examples:
    ids = np.array([f"r/{i}" for i in range(n)], dtype=np.str_)
    return Examples(ids=ids, images=np.full((n, 3, 2, 2), value, dtype=np.uint8))


class Counted:
    """Features that count how often they were computed."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self, examples: Examples, /) -> NDArray[np.float32]:
        self.times += 1
        return examples.images.reshape(len(examples), -1).astype(np.float32)


def test_they_are_computed_once_for_each_model_and_images(tmp_path: Path) -> None:
    counted = Counted()
    kept = KeptFeatures(counted, tmp_path / "features", "one")
    first = kept(records(1))
    again = KeptFeatures(counted, tmp_path / "features", "one")(records(1))
    assert counted.times == 1
    assert (first == again).all()
    assert again.dtype == np.float32
    kept(records(2))
    kept(records(1, n=4))
    KeptFeatures(counted, tmp_path / "features", "another")(records(1))
    assert counted.times == 4
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "features").iterdir()}
    assert modes == {0o600}


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    kept = KeptFeatures(Counted(), tmp_path, "one")
    kept(records(1))
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(DamagedRunError, match=path.name):
        kept(records(1))


def test_a_model_is_known_by_its_weights_and_buffers() -> None:
    models = [torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2)) for _ in range(3)]
    models[1].load_state_dict(models[0].state_dict())
    assert model_digest(models[0]) == model_digest(models[1])
    assert model_digest(models[0]) != model_digest(models[2])
    running_mean = models[1].state_dict()["1.running_mean"]
    running_mean += 1
    assert model_digest(models[0]) != model_digest(models[1])
