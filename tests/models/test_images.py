"""Pixels in and out of a network's range, and random crops keyed by record."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from dpaudit.data.examples import Examples
from dpaudit.errors import InputError
from dpaudit.models.images import Crops, cropped, draw_crops, normalised, pixels, pixels_of
from dpaudit.rng import Rng

KEY = Rng.from_seed(3)


def names(n: int) -> np.ndarray[tuple[int], np.dtype[np.str_]]:
    return np.array([f"record/{i}" for i in range(n)])


def test_every_pixel_comes_back() -> None:
    images = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16).repeat(2, 3, 1, 1)
    assert torch.equal(pixels(normalised(images)), images)
    assert (pixels(torch.full((1, 3, 1, 1), 99.0)) == 255).all()


def test_images_are_copied_and_of_the_right_size() -> None:
    records = Examples(ids=names(2), images=np.zeros((2, 3, 8, 8), dtype=np.uint8))
    records.images.setflags(write=False)
    pixels_of(records, 8).fill_(7)
    assert not records.images.any()
    with pytest.raises(InputError, match=r"images = \(2, 3, 8, 8\): expected shape \(n, 3, 9, 9\)"):
        pixels_of(records, 9)


def test_a_crop_depends_on_key_and_id_alone() -> None:
    whole, some = draw_crops(KEY, names(40), smallest=0.2, mirror=True), np.array([31, 4, 0])
    few = draw_crops(KEY, names(40)[some], smallest=0.2, mirror=True)
    for name in ("centres", "extents", "mirrored"):
        np.testing.assert_array_equal(getattr(few, name), getattr(whole, name)[some])
    again = draw_crops(KEY.child("next step"), names(40), smallest=0.2, mirror=True)
    assert (again.centres != whole.centres).all()


def test_crops_are_as_they_were_asked_for() -> None:
    crops = draw_crops(KEY, names(4000), smallest=0.2, mirror=True)
    area, aspect = crops.extents.prod(axis=1), crops.extents[:, 0] / crops.extents[:, 1]
    assert 0.2 <= area.min() < 0.21
    assert 0.97 < area.max() <= 1
    assert 3 / 4 - 1e-9 <= aspect.min() < 0.76
    assert 1.32 < aspect.max() <= 4 / 3 + 1e-9
    assert (crops.centres - crops.extents / 2).min() >= -1e-12
    assert (crops.centres + crops.extents / 2).max() <= 1 + 1e-12
    assert abs(crops.mirrored.mean() - 0.5) < 5 * 0.5 / 4000**0.5
    low = area < 0.5  # small crops nearly always fit: their area is uniform
    assert abs(area[low].mean() - 0.35) < 5 * 0.3 / 12**0.5 / low.sum() ** 0.5


def test_whole_images_without_a_crop() -> None:
    crops = draw_crops(KEY, names(50), smallest=1.0, mirror=False)
    assert (crops.extents == 1).all()
    assert not crops.mirrored.any()
    images = torch.rand(50, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(cropped(images, crops), images, atol=1e-6, rtol=1e-5)


def test_a_crop_is_that_part_enlarged() -> None:
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    crops = Crops(
        centres=np.array([[0.25, 0.75], [0.5, 0.5]]),
        extents=np.array([[0.5, 0.5], [1.0, 1.0]]),
        mirrored=np.array([False, True]),
    )
    found = cropped(images, crops)
    part = images[:1, :, 8:, :8]  # left and below
    expected = interpolate(part, size=(16, 16), mode="bicubic", align_corners=False)
    torch.testing.assert_close(found[0, :, 4:-4, 4:-4], expected[0, :, 4:-4, 4:-4], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found[1], images[1].flip(2), atol=1e-5, rtol=1e-5)


def test_no_image_is_no_crop() -> None:
    crops = draw_crops(KEY, names(0), smallest=0.2, mirror=True)
    assert cropped(torch.zeros(0, 3, 8, 8), crops).shape == (0, 3, 8, 8)
