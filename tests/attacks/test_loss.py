"""The loss attack: negated mean loss over fixed masks."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np
import pytest

from dpaudit.attacks.loss import Loss
from dpaudit.data.examples import Examples
from dpaudit.errors import InputError
from dpaudit.plugins import Attack, AttackView, Candidates
from dpaudit.rng import Rng

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dpaudit.mechanism import Mechanism
    from dpaudit.plugins import Target, Trace

KEY = Rng.from_seed(3)


def records(n: int) -> Examples:
    return Examples(
        ids=np.array([f"record/{i}" for i in range(n)]),
        images=np.arange(n, dtype=np.uint8).repeat(3).reshape(n, 3, 1, 1),
    )


class FixedLosses:
    """A target whose loss is the record's pixel plus noise keyed by (rng, id); it counts its calls."""

    def __init__(self, noise: float) -> None:
        self.noise = noise
        self.calls: list[tuple[str, Rng]] = []

    def signal(self, name: str, examples: Examples, rng: Rng) -> NDArray[np.float64]:
        self.calls.append((name, rng))
        noise = rng.uniform(examples.ids, 1)[:, 0]
        return examples.images[:, 0, 0, 0].astype(np.float64) + self.noise * (noise - 0.5)

    @property
    def mechanism(self) -> Mechanism:
        raise AssertionError

    def embed(self, examples: Examples) -> NDArray[np.float32]:
        raise AssertionError(examples)

    def trace(self, family: str) -> Trace:
        raise AssertionError(family)


def view(target: FixedLosses, examples: Examples | None) -> AttackView:
    ids = np.array(["block:0"]) if examples is None else examples.ids
    candidates = Candidates(family="block" if examples is None else "pool", ids=ids, examples=examples)
    return AttackView(target=cast("Target", target), candidates=candidates, population=records(1), rng=KEY)


def test_it_is_an_attack_on_outputs() -> None:
    assert isinstance(Loss(), Attack)
    assert (Loss().needs.access, Loss().needs.families, Loss().needs.references) == ("outputs", ("pool", "inputs"), 0)


def test_a_smaller_loss_is_a_higher_score() -> None:
    scores = Loss(masks=1).score(view(FixedLosses(noise=0.0), records(5)))
    np.testing.assert_array_equal(scores, [0, -1, -2, -3, -4])


def test_scores_average_over_fixed_masks() -> None:
    target, examples = FixedLosses(noise=1.0), records(4)
    scores = Loss(masks=3).score(view(target, examples))
    assert target.calls == [("loss", KEY.child("mask", k)) for k in range(3)]
    twin = [-np.mean([target.signal("loss", examples, KEY.child("mask", k))[i] for k in range(3)]) for i in range(4)]
    np.testing.assert_allclose(scores, twin, rtol=1e-12)


def test_more_masks_mean_less_noise() -> None:
    examples = records(200)
    exact = -examples.images[:, 0, 0, 0].astype(np.float64)
    few, many = (Loss(masks=m).score(view(FixedLosses(noise=1.0), examples)) - exact for m in (1, 16))
    # the standard deviation falls to a quarter; with 200 records it is known to about 5 %
    assert 0.2 < many.std() / few.std() < 0.31


def test_a_score_does_not_depend_on_the_other_candidates() -> None:
    target, examples = FixedLosses(noise=1.0), records(10)
    some = np.array([7, 2])
    whole = Loss().score(view(target, examples))
    np.testing.assert_array_equal(Loss().score(view(target, examples.take(some))), whole[some])


def test_bad_use_is_refused() -> None:
    with pytest.raises(InputError, match="masks = 0: expected a positive number"):
        Loss(masks=0)
    with pytest.raises(InputError, match="candidates = 'block'"):
        Loss().score(view(FixedLosses(noise=0.0), None))
