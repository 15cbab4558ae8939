"""Coloured noise with the power law of natural images."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from dpaudit.data.procedural.colour import stretched

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["spectrum"]


def spectrum(draw: np.random.Generator, side: int) -> NDArray[np.float32]:
    """Return noise whose amplitude falls as 1 / frequency^a, a from 0.6 to 2, (3, side, side) in [0, 1].

    Natural images have a near 1 (Field 1987). The noise is stretched along a random direction and its three fields are
    mixed into correlated colours.
    """
    down, across = _frequencies(side)
    angle, squeeze = draw.uniform(0, np.pi), np.exp(draw.uniform(-1, 1))
    turned = across * np.cos(angle) + down * np.sin(angle), down * np.cos(angle) - across * np.sin(angle)
    radius = np.hypot(turned[0] * squeeze, turned[1] / squeeze)
    radius[0, 0] = np.inf
    white = draw.standard_normal((3, *radius.shape, 2), dtype=np.float32).view(np.complex64)[..., 0]
    fields = np.fft.irfft2(white * radius ** -draw.uniform(0.6, 2), s=(side, side)).astype(np.float32)
    mixture = draw.normal(size=(3, 3)).astype(np.float32) + 1.5 * draw.normal(size=(3, 1)).astype(np.float32)
    return stretched(np.tensordot(mixture, fields, axes=1))


@lru_cache(maxsize=4)
def _frequencies(side: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the frequencies of a real transform, cycles per image, down (side, 1) and across (1, side // 2 + 1)."""
    down = np.fft.fftfreq(side, 1 / side).astype(np.float32)[:, None]
    return down, np.fft.rfftfreq(side, 1 / side).astype(np.float32)[None]
