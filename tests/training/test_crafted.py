"""Canaries with large gradients: longer than what they started from, the same every time, refused where none can be."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dpaudit.data.input_canaries import make_canaries
from dpaudit.data.scenes.source import Scenes
from dpaudit.discovery import configure
from dpaudit.errors import InputError
from dpaudit.plugins import PerExampleTrainer
from dpaudit.recipes.recipe import PlugInEntry
from dpaudit.rng import Rng
from dpaudit.training.crafted import gradient_norms, with_large_gradients

RNG = Rng.from_seed(3)
ENTRIES = (
    PlugInEntry(name="supervised", model="cnn", image_size=16, width=8, classes=8),
    PlugInEntry(name="vip", image_size=16),
)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_every_gradient_grows_and_the_same_records_come_again(entry: PlugInEntry) -> None:
    trainer = configure("trainers", entry)
    assert isinstance(trainer, PerExampleTrainer)
    source = Scenes(size=100, image_size=16)
    start = make_canaries("gradient_max", 3, source, source.ids()[:50], RNG)
    threads = torch.get_num_threads()
    made = with_large_gradients(trainer, start, RNG)
    assert torch.get_num_threads() == threads
    assert made.images.dtype == np.uint8
    assert made.ids.tolist() == ["gradient_max/0", "gradient_max/1", "gradient_max/2"]
    assert made.captions == start.captions
    before, after = gradient_norms(trainer, start, RNG), gradient_norms(trainer, made, RNG)
    assert (after > 1.05 * before).all()
    np.testing.assert_array_equal(with_large_gradients(trainer, start, RNG).images, made.images)
    one = with_large_gradients(trainer, start.take(slice(1, 2)), RNG)
    np.testing.assert_array_equal(one.images[0], made.images[1])


def test_a_trainer_of_whole_batches_is_refused() -> None:
    trainer = configure("trainers", PlugInEntry(name="logit-dp", image_size=16, smallest_crop=0.5))
    source = Scenes(size=100, image_size=16)
    start = make_canaries("gradient_max", 1, source, source.ids()[:5], RNG)
    with pytest.raises(InputError, match="this trainer has no loss per record"):
        with_large_gradients(trainer, start, RNG)
