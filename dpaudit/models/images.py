"""Images between 8-bit pixels and what a network reads: normalised pixels, random crops and flips."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from dpaudit.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dpaudit.data.examples import Examples
    from dpaudit.rng import Rng

__all__ = [
    "CLIP",
    "IMAGENET",
    "NORMALISATIONS",
    "Crops",
    "Statistics",
    "cropped",
    "draw_crops",
    "normalised",
    "pixels",
    "pixels_of",
]


class Statistics(NamedTuple):
    """Mean and standard deviation of each channel of some public images, pixels in [0, 1]."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


IMAGENET = Statistics((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
#: of the images that OpenAI's CLIP was trained on, and open_clip's default
CLIP = Statistics((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
#: what open_clip's weights were trained with: CLIPA's ImageNet's, SigLIP's and PE's a half, MobileCLIP's none
NORMALISATIONS = {
    "clip": CLIP,
    "imagenet": IMAGENET,
    "half": Statistics((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "none": Statistics((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}
_ATTEMPTS = 10
_MOST_STRETCHED = 4 / 3


def pixels_of(examples: Examples, side: int) -> Tensor:
    """Return a copy of the images, uint8 (n, 3, side, side); InputError when they are of another size."""
    if examples.images.shape[1:] != (3, side, side):
        raise InputError("images", examples.images.shape, f"shape (n, 3, {side}, {side})")
    return torch.tensor(examples.images)  # copies: a view of a read-only array would warn


def normalised(images: Tensor, statistics: Statistics = IMAGENET) -> Tensor:
    """Return uint8 (n, 3, S, S) as float32; images with these statistics get mean 0 and deviation 1 per channel.

    >>> normalised(torch.zeros(1, 3, 2, 2, dtype=torch.uint8))[0, :, 0, 0]
    tensor([-2.1179, -2.0357, -1.8044])
    """
    mean, std = _tensors(statistics, images.device)
    return (images.float() / 255 - mean) / std


def pixels(images: Tensor) -> Tensor:
    """Return images that ImageNet's statistics normalised as uint8, clipped to the range of a pixel."""
    mean, std = _tensors(IMAGENET, images.device)
    return ((images * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)


@dataclass(frozen=True, kw_only=True)
class Crops:
    """A part of each of n images: centres, extents (n, 2) in fractions of its side, x first, y down; mirrored (n,)."""

    centres: NDArray[np.float64]
    extents: NDArray[np.float64]
    mirrored: NDArray[np.bool_]


def draw_crops(rng: Rng, ids: NDArray[np.str_], *, smallest: float, mirror: bool) -> Crops:
    """Return the crop of each record, keyed by (rng, id); who else is in the batch does not matter.

    The area is uniform from `smallest` to 1, the aspect log-uniform from 3/4 to 4/3, the place uniform (Szegedy et al.
    2015); of ten such draws the first that fits is taken, else the whole image. mirror: left and right are swapped by
    a fair coin.
    """
    drawn = rng.uniform(ids, 2 * _ATTEMPTS + 3)
    area = smallest + (1 - smallest) * drawn[:, :_ATTEMPTS]
    stretch = np.exp(np.log(_MOST_STRETCHED) * (drawn[:, _ATTEMPTS : 2 * _ATTEMPTS] - 0.5))  # root of the aspect
    extents = np.sqrt(area)[:, :, None] * np.stack([stretch, 1 / stretch], axis=2)
    fits = (extents <= 1).all(axis=2)
    chosen = extents[np.arange(len(ids)), fits.argmax(axis=1)]
    chosen = np.where(fits.any(axis=1)[:, None], chosen, 1.0)
    place = drawn[:, 2 * _ATTEMPTS : 2 * _ATTEMPTS + 2]
    return Crops(
        centres=chosen / 2 + (1 - chosen) * place,
        extents=chosen,
        mirrored=mirror & (drawn[:, -1] < 0.5),
    )


def cropped(images: Tensor, crops: Crops) -> Tensor:
    """Return the crops of float images (n, 3, S, S), each enlarged to (3, S, S) by bicubic interpolation."""
    if len(images) == 0:
        return images
    flips = np.where(crops.mirrored, -1.0, 1.0)
    maps = np.zeros((len(flips), 2, 3))
    maps[:, 0, 0], maps[:, 1, 1] = crops.extents[:, 0] * flips, crops.extents[:, 1]
    maps[:, :, 2] = 2 * crops.centres - 1
    grid = affine_grid(torch.from_numpy(maps).to(images), list(images.shape), align_corners=False)
    return grid_sample(images, grid, mode="bicubic", padding_mode="border", align_corners=False)


def _tensors(statistics: Statistics, device: torch.device) -> tuple[Tensor, Tensor]:
    shape = (3, 1, 1)
    mean, std = statistics
    return torch.tensor(mean, device=device).reshape(shape), torch.tensor(std, device=device).reshape(shape)
