"""Neighbouring batches, their differences, and noise that two streams share."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from dpaudit.dp import replay as replaying
from dpaudit.dp.replay import Difference, neighbours, replay, shared_noise, worst
from dpaudit.errors import DpauditError

if TYPE_CHECKING:
    from dpaudit.dp.tensors import Gradients
    from dpaudit.mechanism import Adjacency

IDS = ["a", "b", "c", "d", "e"]
PLACES = {name: index for index, name in enumerate(IDS)}


def summed(ids: tuple[str, ...]) -> Gradients:
    """Return a sum to which every record gives a coordinate of its own, record "c" one of length 3."""
    total = torch.zeros(5)
    for name in ids:
        total[PLACES[name]] = 3.0 if name == "c" else 1.0
    return {"w": total[:2], "v": total[2:]}


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_add_remove_neighbours_have_one_record_more(count: int) -> None:
    pairs = neighbours(IDS[:count], "add-remove")
    assert all(set(first) < set(second) and len(second) == len(first) + 1 for _, first, second in pairs)
    assert {len(second) for _, _, second in pairs} >= {1, count}
    assert ("add-remove", (), ("a",)) in pairs
    assert len(set(pairs)) == len(pairs)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_replace_one_neighbours_differ_in_one_record(count: int) -> None:
    pairs = neighbours(IDS[:count], "replace-one")
    for _, first, second in pairs:
        assert len(first) == len(second) >= 1
        assert len(set(first) - set(second)) == 1
    assert {name for _, *batches in pairs for batch in batches for name in batch} == set(IDS[:count])


def test_batches_are_in_the_order_of_the_records() -> None:
    for adjacency in ("add-remove", "replace-one"):
        for _, *batches in neighbours(IDS, adjacency):
            assert all(list(batch) == sorted(batch) for batch in batches)


@pytest.mark.parametrize(("adjacency", "largest"), [("add-remove", 3.0), ("replace-one", 10**0.5)])
def test_distances_are_those_of_all_tensors_together(adjacency: Adjacency, largest: float) -> None:
    found = replay(summed, neighbours(IDS, adjacency), lambda _: 2.0)
    assert worst(found).distance == pytest.approx(largest)
    assert "c" in worst(found).second + worst(found).first
    assert worst(found).violates
    assert not replay(summed, neighbours(["a", "b"], adjacency), lambda _: 2.0)[0].violates


def test_every_batch_is_computed_once_and_again_when_it_was_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: Counter[tuple[str, ...]] = Counter()

    def counted(ids: tuple[str, ...]) -> Gradients:
        calls[ids] += 1
        return summed(ids)

    pairs = neighbours(IDS, "add-remove")
    kept = replay(counted, pairs, lambda _: 1.0)
    assert set(calls.values()) == {1}
    monkeypatch.setattr(replaying, "_KEPT_BYTES", 0)
    assert replay(counted, pairs, lambda _: 1.0) == kept
    assert max(calls.values()) > 2


def test_what_is_a_violation() -> None:
    def at(distance: float) -> Difference:
        return Difference(adjacency="add-remove", first=(), second=("a",), distance=distance, declared=0.5)

    assert [at(distance).violates for distance in (0.4, 0.5, 0.50049, 0.50051, 5.0)] == [False] * 3 + [True] * 2
    text = str(at(5.0))
    assert "{} and {a} (add-remove)" in text
    assert "differ by 5, declared sensitivity 0.5" in text


def test_sums_that_cannot_be_compared_are_errors() -> None:
    pairs = neighbours(["a"], "add-remove")
    with pytest.raises(DpauditError, match="not finite"):
        replay(lambda _: {"w": torch.full((2,), float("nan"))}, pairs, lambda _: 1.0)
    with pytest.raises(DpauditError, match="v is in one"):
        replay(lambda ids: summed(ids) if ids else {"w": torch.zeros(2)}, pairs, lambda _: 1.0)


def test_shared_noise_is_named_whatever_its_scale_and_sign() -> None:
    numbers = np.random.default_rng(0)
    streams = {f"tensor {index}": numbers.normal(size=(4, 5)) for index in range(30)}
    assert shared_noise(streams) is None
    assert shared_noise(streams | {"copy": -0.3 * streams["tensor 7"]}) == ("tensor 7", "copy")
    assert shared_noise(streams | {"nearly": streams["tensor 7"] + 0.05}) is None


def test_tensors_too_short_to_tell_and_empty_noise_are_left_out() -> None:
    assert shared_noise({"one": np.ones(7), "other": np.ones(7), "silent": np.zeros(9), "still": np.zeros(9)}) is None
