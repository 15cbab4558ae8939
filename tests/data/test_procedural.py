"""Procedural pictures: repeatable, varied, and with the statistics that their kind promises."""

from __future__ import annotations

import numpy as np
import pytest

from dpaudit.data.procedural.leaves import dead_leaves
from dpaudit.data.procedural.source import Procedural
from dpaudit.data.procedural.spectra import spectrum
from dpaudit.errors import InputError


def test_a_picture_depends_on_its_id_and_the_seed_alone() -> None:
    data = Procedural(size=50, image_size=24)
    ids = data.ids()
    together = data[ids]
    assert together.captions is None
    assert together.labels is None
    assert together.images.shape == (50, 3, 24, 24)
    assert np.array_equal(data[ids[9:10]].images[0], together.images[9])
    assert np.array_equal(Procedural(size=99, image_size=24)[ids].images, together.images)
    assert not np.array_equal(Procedural(size=50, image_size=24, seed=1)[ids].images, together.images)
    assert len(data[ids[:0]].images) == 0


def test_no_two_are_alike_and_hardly_one_is_flat() -> None:
    data = Procedural(size=200, image_size=32)
    images = data[data.ids()].images
    assert len({image.tobytes() for image in images}) == 200
    spread = images.reshape(200, -1).astype(float).std(1)
    assert (spread < 5).sum() <= 4
    assert 90 < images.mean() < 165


def test_noise_falls_off_as_a_power_of_frequency() -> None:
    slopes = []
    for seed in range(30):
        grey = spectrum(np.random.default_rng(seed), 64).mean(0)
        amplitude = np.abs(np.fft.fft2(grey - grey.mean()))
        frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(64, 1 / 64), np.fft.fftfreq(64, 1 / 64)))
        inside = (frequency >= 2) & (frequency < 24)
        slopes.append(np.polyfit(np.log(frequency[inside]), np.log(amplitude[inside]), 1)[0])
    assert -2.2 < min(slopes) < max(slopes) < -0.4
    assert -1.6 < np.mean(slopes) < -1.0


def test_leaves_have_edges_and_flat_insides() -> None:
    steps = [np.abs(np.diff(dead_leaves(np.random.default_rng(seed), 64), axis=2)) for seed in range(20)]
    small = np.mean([np.median(step) for step in steps])
    large = np.mean([np.quantile(step, 0.97) for step in steps])
    assert large > 5 * small


def test_bad_options_and_ids_are_named() -> None:
    with pytest.raises(InputError, match="data size = 0"):
        Procedural(size=0)
    with pytest.raises(InputError, match=r"procedural/0 to procedural/4"):
        Procedural(size=5)[np.array(["procedural/5"])]
