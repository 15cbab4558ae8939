"""The blind control finds a broken split and nothing else; random scores find nothing."""

from __future__ import annotations

from typing import cast

import numpy as np
import pytest

from dpaudit.attacks.blind import Blind
from dpaudit.attacks.random_scores import RandomScores
from dpaudit.data.examples import Examples
from dpaudit.metrics import coin_blindness
from dpaudit.plugins import AttackView, Candidates, Target
from dpaudit.rng import Rng

ROOT = Rng.from_seed(12)
CANDIDATES, STRANGERS = 400, 200


class Nothing:
    """A model that fails whatever it is asked."""

    def __getattr__(self, name: str) -> object:
        raise AssertionError(name)


def pictures(seed: int, count: int, *, brighter: float = 0.0, caption: str = "a cat") -> Examples:
    pixels = np.random.default_rng(seed).normal(120 + brighter, 30, size=(count, 3, 8, 8))
    return Examples(
        ids=np.array([f"{seed}/{row}" for row in range(count)]),
        images=pixels.clip(0, 255).astype(np.uint8),
        captions=(caption,) * count,
    )


def view(records: Examples, strangers: Examples) -> AttackView:
    candidates = Candidates(family="pool", ids=records.ids, examples=records)
    return AttackView(target=cast("Target", Nothing()), candidates=candidates, population=strangers, rng=ROOT)


def mixed(members: Examples, others: Examples) -> tuple[Examples, np.ndarray[tuple[int], np.dtype[np.bool_]]]:
    order = np.random.default_rng(3).permutation(len(members) + len(others))
    inside = (np.arange(len(order)) < len(members))[order]
    records = Examples(
        ids=np.concatenate([members.ids, others.ids])[order],
        images=np.concatenate([members.images, others.images])[order],
        captions=tuple(((members.captions or ()) + (others.captions or ()))[row] for row in order.tolist()),
    )
    return records, inside


@pytest.mark.parametrize("other", [{"brighter": 8.0}, {"caption": "a photo of a cat"}])
def test_members_from_another_source_are_found_without_a_model(other: dict[str, float]) -> None:
    half = CANDIDATES // 2
    records, inside = mixed(pictures(1, half, **other), pictures(2, half))  # type: ignore[arg-type]  # two kinds of options
    scores = Blind().score(view(records, pictures(4, STRANGERS)))
    assert coin_blindness(scores, inside) < 1e-5
    assert scores[inside].mean() > scores[~inside].mean()


def test_it_is_chance_where_coins_are_fair_even_if_strangers_differ() -> None:
    p_values = []
    for seed in range(20):
        records = pictures(100 + seed, CANDIDATES)
        inside = np.random.default_rng(seed).random(CANDIDATES) < 0.5
        p_values.append(coin_blindness(Blind().score(view(records, pictures(4, STRANGERS, brighter=8.0))), inside))
    assert min(p_values) > 1e-3
    assert 0.2 < np.mean(np.array(p_values) < 0.5) < 0.8


def test_random_scores_follow_the_ids_alone() -> None:
    records = pictures(1, 10)
    scores = RandomScores().score(view(records, pictures(4, 1)))
    np.testing.assert_array_equal(RandomScores().score(view(records.take(slice(3, 5)), pictures(4, 1))), scores[3:5])
    assert len(set(scores.tolist())) == 10
