"""Who plays which part: training only, audit pool, probe train, probe test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dpaudit.data.annotations import annotations_of
from dpaudit.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dpaudit.data.annotations import Source
    from dpaudit.rng import Rng

__all__ = ["Split", "split"]


@dataclass(frozen=True, kw_only=True)
class Split:
    """Disjoint ids, each part in random order: a slice of a part is itself a random sample.

    train: always trained on; pool: in or out by a coin; probe_train, probe_test: never trained on.
    """

    train: NDArray[np.str_]
    pool: NDArray[np.str_]
    probe_train: NDArray[np.str_]
    probe_test: NDArray[np.str_]


def split(source: Source, rng: Rng, *, train: int | None, pool: int, probe_train: int, probe_test: int) -> Split:
    """Return a random split with these many records per part; train None: all that the other parts leave.

    With labels the two probe parts hold every class in its share of the data, to within two records.

    >>> from dpaudit.data.digits import Digits
    >>> from dpaudit.rng import Rng
    >>> parts = split(Digits(), Rng.from_seed(1), train=1000, pool=200, probe_train=300, probe_test=200)
    >>> len(parts.train), len(parts.pool), len(parts.probe_train), len(parts.probe_test)
    (1000, 200, 300, 200)
    """
    _check_sizes(len(source), {"train": train, "pool": pool, "probe_train": probe_train, "probe_test": probe_test})
    ids = source.ids()
    order = rng.numpy().permutation(len(ids))
    labels = annotations_of(source, ids).labels if probe_train or probe_test else None
    groups = np.zeros(len(ids), dtype=np.int64) if labels is None else labels
    test, order = _draw(order, groups, probe_test)
    probe, order = _draw(order, groups, probe_train)
    last = len(order) if train is None else pool + train
    parts = {"pool": order[:pool], "train": order[pool:last], "probe_train": probe, "probe_test": test}
    return Split(**{name: ids[rows] for name, rows in parts.items()})


def _draw(
    order: NDArray[np.int64], groups: NDArray[np.int64], count: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return `count` rows, every group in its share of the rows in `order`, and the rows left, in their order."""
    _, mine = np.unique(groups[order], return_inverse=True)
    by_group = np.argsort(mine, kind="stable")
    sizes = np.bincount(mine)
    starts = np.cumsum(sizes) - sizes
    rank = np.empty(len(order), dtype=np.int64)
    rank[by_group] = np.arange(len(order)) - np.repeat(starts, sizes)
    chosen = rank < _shares(sizes, count)[mine]
    return order[chosen], order[~chosen]


def _shares(sizes: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return integers of sum `count`, proportional to sizes to within one (largest remainders, earlier group first)."""
    scaled = sizes * count
    shares: NDArray[np.int64] = scaled // sizes.sum()
    remainders = scaled % sizes.sum()
    missing = count - int(shares.sum())
    shares[np.argsort(-remainders, kind="stable")[:missing]] += 1
    return shares


def _check_sizes(available: int, sizes: dict[str, int | None]) -> None:
    for name, size in sizes.items():
        if size is not None and size < 0:
            raise InputError(f"split {name}", size, "a number of records of at least 0")
    asked = sum(size for size in sizes.values() if size is not None)
    if asked > available:
        parts = ", ".join(f"{name} {size}" for name, size in sizes.items() if size is not None)
        raise InputError("split sizes", parts, f"at most {available} records in all, found {asked}")
