"""The nearest-neighbour probe beside a slow twin; ties, chance on noise, and what it refuses."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from dpaudit.data.examples import Examples
from dpaudit.errors import DpauditError, InputError
from dpaudit.plugins import Probe, ProbeData
from dpaudit.probes.knn import NearestNeighbours
from dpaudit.rng import Rng

KEY = Rng.from_seed(0)


def records(features: Any, labels: Any) -> Examples:
    """Return records whose pixels carry their features: (n, 3, d, 1)."""
    images = np.asarray(features, dtype=np.uint8)[:, None, :, None].repeat(3, axis=1)
    ids = np.array([f"r/{row}" for row in range(len(images))], dtype=np.str_)
    return Examples(ids=ids, images=images, labels=None if labels is None else np.asarray(labels, dtype=np.int64))


def seen(examples: Examples, /) -> Any:
    return examples.images[:, 0, :, 0].astype(np.float32) - 100


def measured(train: Examples, test: Examples, k: int = 3) -> Any:
    data = ProbeData(train=train, test=test, classes=("a", "b", "c"))
    return NearestNeighbours(k=k).measure({"trained": seen}, data, KEY)


def test_it_is_a_probe_with_checked_options() -> None:
    assert isinstance(NearestNeighbours(), Probe)
    with pytest.raises(InputError, match="at least 1 neighbour"):
        NearestNeighbours(k=0)
    with pytest.raises(InputError, match="between 0 and 1"):
        NearestNeighbours(confidence=1.0)


@pytest.mark.parametrize("k", [1, 3, 7])
def test_it_agrees_with_a_slow_twin(k: int) -> None:
    draw = np.random.default_rng(1)
    train = records(draw.integers(0, 200, (90, 5)), draw.integers(0, 3, 90))
    test = records(draw.integers(0, 200, (40, 5)), draw.integers(0, 3, 40))
    right, agreeing = 0, 0
    assert train.labels is not None
    assert test.labels is not None
    for x, label in zip(seen(test).astype(np.float64), test.labels, strict=True):
        cosines = [x @ y / (np.linalg.norm(x) * np.linalg.norm(y)) for y in seen(train).astype(np.float64)]
        near = [int(train.labels[at]) for at in np.argsort(-np.array(cosines), kind="stable")[:k]]
        most = max(Counter(near).values())
        chosen = next(each for each in near if Counter(near)[each] == most)
        right += chosen == label
        agreeing += sum(each == label for each in near)
    found = measured(train, test, k)
    assert found.measurements[0].score.value == right / 40
    assert found.detail["neighbours of the same label (trained)"] == pytest.approx(agreeing / (40 * k))
    assert (found.probe, found.metric, found.train_size, found.test_size) == ("knn", "accuracy", 90, 40)


def test_of_equally_frequent_labels_the_nearest_wins() -> None:
    train = records([[200, 100], [190, 130], [100, 200]], [0, 1, 2])
    assert measured(train, records([[199, 101]], [0])).measurements[0].score.value == 1
    assert measured(train, records([[199, 101]], [2])).measurements[0].score.value == 0


def test_on_labels_that_mean_nothing_it_is_at_chance() -> None:
    draw = np.random.default_rng(2)
    train = records(draw.integers(0, 200, (300, 4)), draw.integers(0, 3, 300))
    test = records(draw.integers(0, 200, (900, 4)), draw.integers(0, 3, 900))
    assert abs(measured(train, test).measurements[0].score.value - 1 / 3) < 5 * (2 / 9 / 900) ** 0.5


def test_on_features_that_are_the_label_it_is_right() -> None:
    labels = np.arange(60) % 3
    examples = records(100 + 100 * np.eye(3)[labels], labels)
    assert measured(examples, examples).measurements[0].score.value == 1


def test_records_of_zeros_are_no_error() -> None:
    train = records(np.full((5, 3), 100), [0, 0, 1, 1, 2])
    assert measured(train, train).test_size == 5


def test_what_cannot_be_probed_is_refused() -> None:
    few, many = records([[1, 2]], [0]), records([[1, 2], [3, 4], [5, 6]], [0, 1, 2])
    with pytest.raises(InputError, match="3 labelled records or more"):
        measured(few, many)
    with pytest.raises(InputError, match="1 labelled records or more"):
        measured(many, records([[1, 2]], None))

    def broken(examples: Examples, /) -> Any:
        return np.full((len(examples), 2), np.nan, dtype=np.float32)

    with pytest.raises(DpauditError, match="features \\(trained\\) are not finite"):
        NearestNeighbours().measure({"trained": broken}, ProbeData(train=many, test=many, classes=("a",)), KEY)
