"""What stands where in a scene, drawn from a key and the scene's id alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dpaudit.rng import Rng

__all__ = ["COLOURS", "MOST_OBJECTS", "RADII", "SHAPES", "Layouts", "draw_layouts"]

SHAPES = ("circle", "square", "triangle", "diamond", "cross", "ring", "star", "crescent")
#: name -> RGB; backgrounds are grey, so that each stands out
COLOURS = {
    "red": (214, 36, 36),
    "green": (30, 158, 60),
    "blue": (38, 70, 214),
    "yellow": (240, 216, 40),
    "pink": (240, 96, 190),
    "turquoise": (48, 208, 208),
    "white": (246, 246, 246),
    "black": (16, 16, 16),
}
MOST_OBJECTS = 3
#: (smallest, largest) radius as a fraction of the image's side: of the first object, and of the others
RADII = ((0.16, 0.21), (0.08, 0.12))
_JITTER = 0.03
#: how many uniforms each part of a scene takes
_WIDTHS = {
    "count": 1,
    "shape": 3,
    "radius": 3,
    "jitter": 6,
    "tint": 9,
    "ground": 9,
    "choice": 4,
    "colour": 8,
    "cell": 4,
}


@dataclass(frozen=True, kw_only=True)
class Layouts:
    """n scenes of one to three objects in different quarters of the image; the first object alone is large.

    count: (n,) objects; shapes, colours, radii: (n, 3), indices into SHAPES and COLOURS and fractions of the side;
    cells: (n, 3), the quarter 2 * row + column; centres: (n, 3, 2), x to the right and y down, fractions of the side;
    tints: (n, 3, 3) in [-1, 1], an object's deviation from its colour; grounds: (n, 9), of the background, in [0, 1];
    choices: (n, 4), for questions, in [0, 1]. Within a scene no colour comes twice.
    """

    count: NDArray[np.int64]
    shapes: NDArray[np.int64]
    colours: NDArray[np.int64]
    radii: NDArray[np.float64]
    cells: NDArray[np.int64]
    centres: NDArray[np.float64]
    tints: NDArray[np.float64]
    grounds: NDArray[np.float64]
    choices: NDArray[np.float64]


def draw_layouts(rng: Rng, ids: NDArray[np.str_]) -> Layouts:
    """Return the scenes with these ids; every one is the same whoever else is asked for."""
    uniform = rng.uniform(ids, sum(_WIDTHS.values()))
    drawn = dict(zip(_WIDTHS, np.split(uniform, np.cumsum(list(_WIDTHS.values()))[:-1], axis=1), strict=True))
    cells = np.argsort(drawn["cell"], axis=1)[:, :MOST_OBJECTS]
    corner = np.stack([cells % 2, cells // 2], axis=2) / 2 + 0.25
    low, high = (np.array([RADII[0][end], RADII[1][end], RADII[1][end]]) for end in (0, 1))
    return Layouts(
        count=1 + (drawn["count"][:, 0] * MOST_OBJECTS).astype(np.int64),
        shapes=(drawn["shape"] * len(SHAPES)).astype(np.int64),
        colours=np.argsort(drawn["colour"], axis=1)[:, :MOST_OBJECTS],
        radii=low + (high - low) * drawn["radius"],
        cells=cells,
        centres=corner + _JITTER * (2 * drawn["jitter"].reshape(-1, MOST_OBJECTS, 2) - 1),
        tints=2 * drawn["tint"].reshape(-1, MOST_OBJECTS, 3) - 1,
        grounds=drawn["ground"],
        choices=drawn["choice"],
    )
