"""Fields of numbers -> colours."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["palette", "stretched"]


def stretched(field: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the field moved and scaled to fill [0, 1]; a constant one becomes 0."""
    low, high = field.min(), field.max()
    result: NDArray[np.float32] = (field - low) / max(high - low, np.float32(1e-6))
    return result


def palette(draw: np.random.Generator, field: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a field (side, side) in colours that go round with its values, (3, side, side) in [0, 1]."""
    centre, swing, turns, start = (part[:, None, None] for part in draw.uniform(size=(4, 3)).astype(np.float32))
    waves = np.cos(2 * np.pi * ((0.3 + 1.2 * turns) * field + start), dtype=np.float32)
    colours: NDArray[np.float32] = np.clip(0.3 + 0.4 * centre + (0.2 + 0.4 * swing) * waves, 0, 1, dtype=np.float32)
    return colours
