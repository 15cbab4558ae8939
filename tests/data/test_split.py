"""The split is disjoint, exact, repeatable, stratified where it says so, and truly random."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpaudit.data.annotations import Annotations
from dpaudit.data.digits import Digits
from dpaudit.data.split import Split, split
from dpaudit.errors import InputError
from dpaudit.rng import Rng

if TYPE_CHECKING:
    from dpaudit.data.examples import Examples


@dataclass(frozen=True)
class Labels:
    """A data set whose images may not be looked at: a split needs none."""

    labels: tuple[int, ...] | None
    size: int

    @property
    def classes(self) -> tuple[str, ...] | None:
        return None if self.labels is None else tuple(map(str, range(max(self.labels, default=0) + 1)))

    def __len__(self) -> int:
        return self.size

    def ids(self) -> np.ndarray[tuple[int], np.dtype[np.str_]]:
        return np.array([f"id/{row}" for row in range(self.size)])

    def __getitem__(self, ids: object) -> Examples:
        raise AssertionError(ids)

    def annotations(self, ids: np.ndarray[tuple[int], np.dtype[np.str_]]) -> Annotations:
        rows = [int(identity[3:]) for identity in ids.tolist()]
        labels = None if self.labels is None else np.array([self.labels[row] for row in rows], dtype=np.int64)
        return Annotations(captions=None, labels=labels)

    def fingerprint(self) -> str:
        return "labels"


def parts(made: Split) -> list[list[str]]:
    return [part.tolist() for part in (made.train, made.pool, made.probe_train, made.probe_test)]


@given(
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=80).map(tuple),
    cuts=st.lists(st.floats(0, 1), min_size=4, max_size=4).map(sorted),
    labelled=st.booleans(),
    rest=st.booleans(),
    seed=st.integers(0, 99),
)
def test_parts_are_disjoint_exact_repeatable_and_stratified(
    labels: tuple[int, ...], cuts: list[float], labelled: bool, rest: bool, seed: int
) -> None:
    size = len(labels)
    train, pool, probe_train, probe_test = np.diff([0, *(int(cut * size) for cut in cuts)]).tolist()
    data = Labels(labels if labelled else None, size)
    sizes = {"pool": pool, "probe_train": probe_train, "probe_test": probe_test}
    made = split(data, Rng.from_seed(seed), train=None if rest else train, **sizes)
    left = size - pool - probe_train - probe_test if rest else train
    assert [len(part) for part in parts(made)] == [left, pool, probe_train, probe_test]
    everything = [identity for part in parts(made) for identity in part]
    assert len(set(everything)) == len(everything)
    assert set(everything) <= set(data.ids().tolist())
    assert parts(split(data, Rng.from_seed(seed), train=None if rest else train, **sizes)) == parts(made)
    if labelled:
        for part, bound in ((made.probe_test, 1), (made.probe_train, 2)):
            for label in set(labels):
                found = sum(labels[int(identity[3:])] == label for identity in part.tolist())
                assert abs(found - len(part) * labels.count(label) / size) < bound


def test_every_record_is_equally_likely_to_play_every_part() -> None:
    """Over 400 keys a record's count in a part of share p is binomial(400, p): five standard deviations."""
    data = Labels(tuple([0] * 30 + [1] * 10), 40)
    counts = np.zeros((4, 40))
    for seed in range(400):
        made = split(data, Rng.from_seed(seed), train=8, pool=12, probe_train=8, probe_test=4)
        for row, part in enumerate(parts(made)):
            counts[row, [int(identity[3:]) for identity in part]] += 1
    for row, share in enumerate((8 / 40, 12 / 40, 8 / 40, 4 / 40)):
        spread = 5 * np.sqrt(400 * share * (1 - share))
        assert np.abs(counts[row] - 400 * share).max() < spread


def test_a_slice_of_a_part_is_a_random_sample() -> None:
    data = Labels(tuple([0] * 500 + [1] * 500), 1000)
    made = split(data, Rng.from_seed(0), train=None, pool=400, probe_train=100, probe_test=100)
    for part in (made.train, made.pool, made.probe_train, made.probe_test):
        first = [int(identity[3:]) < 500 for identity in part[: len(part) // 2].tolist()]
        assert abs(np.mean(first) - 0.5) < 5 * 0.5 / np.sqrt(len(first))


def test_another_key_gives_another_split() -> None:
    data = Labels(None, 100)
    made = [split(data, Rng.from_seed(seed), train=25, pool=25, probe_train=25, probe_test=25) for seed in range(3)]
    assert len({tuple(part.pool.tolist()) for part in made}) == 3


def test_all_records_can_go_to_one_part() -> None:
    digits = Digits()
    empty = {"train": 0, "pool": 0, "probe_train": 0, "probe_test": 0}
    for name in empty:
        made = split(digits, Rng.from_seed(1), **{**empty, name: 1797})
        assert sorted(getattr(made, name).tolist()) == sorted(digits.ids().tolist())


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"train": 5, "pool": 3, "probe_train": 2, "probe_test": 1}, "at most 10 records in all, found 11"),
        ({"train": None, "pool": 11, "probe_train": 0, "probe_test": 0}, "at most 10 records in all, found 11"),
        ({"train": -1, "pool": 0, "probe_train": 0, "probe_test": 0}, "split train = -1"),
        ({"train": None, "pool": 0, "probe_train": 0, "probe_test": -2}, "split probe_test = -2"),
    ],
)
def test_sizes_that_cannot_be_are_refused(sizes: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        split(Labels(None, 10), Rng.from_seed(0), **sizes)
