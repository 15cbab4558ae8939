"""Which candidates each reference is trained on: fixed by the recipe's seed, public, and blind to every coin."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dpaudit.rng import Rng

__all__ = ["reference_mask", "reference_masks"]


def reference_mask(ids: NDArray[np.str_], index: int, rng: Rng) -> NDArray[np.bool_]:
    """Return whom of the candidates (n,) reference 0, 1, ... is trained on, (n,).

    References come in pairs: the second of a pair holds whom the first leaves out, by a fair coin per candidate. So
    each candidate is in exactly half of an even number of references, and more references never change earlier ones.

    >>> from dpaudit.rng import Rng
    >>> ids = np.array(["a", "b", "c"])
    >>> first, second = (reference_mask(ids, index, Rng.from_seed(1)) for index in (0, 1))
    >>> bool((first ^ second).all())
    True
    """
    pair, second = divmod(index, 2)
    coins = rng.child("pair", pair).words(ids, 1)[:, 0] >> np.uint64(63) == 1
    return np.asarray(coins ^ bool(second), dtype=np.bool_)


def reference_masks(ids: NDArray[np.str_], count: int, rng: Rng) -> NDArray[np.bool_]:
    """Return the mask of every reference, (count, n)."""
    return np.array([reference_mask(ids, index, rng) for index in range(count)], dtype=np.bool_).reshape(
        count, len(ids)
    )
