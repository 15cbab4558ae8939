"""Readings and fitted distributions: against published vectors and slow obvious twins."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np
import pytest
from scipy import stats

from dpaudit.calibration import LOSS_LOGIT, Fitted, Readings, fitted, needs_of, read_signal
from dpaudit.data.examples import Examples
from dpaudit.errors import InputError
from dpaudit.plugins import SIGNALS, Target

if TYPE_CHECKING:
    from dpaudit.rng import Rng

# Vectors of TensorFlow Privacy's advanced_mia_test.py: values per candidate, and -log density of the target's.
LISTS: list[list[float]] = [[-1, 1], [0, 2], [0, 20], []]
TARGET = np.array([1.0, 0.0, 0.0, 0.0])
EACH = [1.41893853, 1.41893853, 3.72152363, 2.72537178]
FIXED = [2.69682468, 2.69682468, 4.15270703, 2.87983121]


class Told:
    """Says signal `name` of every record; it counts what it was asked."""

    def __init__(self, values: dict[str, np.ndarray]) -> None:
        self.values = values
        self.calls: list[tuple[str, bytes]] = []

    def signal(self, name: str, examples: Examples, rng: Rng) -> np.ndarray:
        assert len(examples) == len(self.values[name])
        self.calls.append((name, rng.key))
        return self.values[name]


def records(count: int) -> Examples:
    return Examples(ids=np.arange(count).astype(str), images=np.zeros((count, 3, 1, 1), dtype=np.uint8))


def as_table(lists: list[list[float]]) -> tuple[np.ndarray, np.ndarray]:
    longest = max(len(each) for each in lists)
    values, chosen = np.full((longest, len(lists)), 999.0), np.zeros((longest, len(lists)), dtype=np.bool_)
    for at, each in enumerate(lists):
        values[: len(each), at], chosen[: len(each), at] = each, True
    return values, chosen


def test_log_densities_are_the_published_ones() -> None:
    values, chosen = as_table(LISTS)
    np.testing.assert_allclose(-fitted(values, chosen, "each").log_density(TARGET), EACH, atol=1e-8)
    np.testing.assert_allclose(-fitted(values, chosen, "fixed").log_density(TARGET), FIXED, atol=1e-8)


def test_the_mean_over_augmentations_is_the_published_one() -> None:
    first, second = (fitted(*as_table([each]), "each") for each in ([-1.0, 1.0], [0.0, 20.0]))
    mean = (first.log_density(np.array([1.0])) + second.log_density(np.array([0.0]))) / 2
    np.testing.assert_allclose(-mean, [2.57023108], atol=1e-8)


@pytest.mark.parametrize("freedom", [None, 4.0, 30.0])
def test_densities_and_tails_are_scipys(freedom: float | None) -> None:
    fit = Fitted(
        centre=np.array([0.5, -2.0]),
        scale=np.array([0.7, 3.0]),
        freedom=None if freedom is None else np.full(2, freedom),
    )
    twin = stats.norm(fit.centre, fit.scale) if freedom is None else stats.t(freedom, fit.centre, fit.scale)
    for values in (np.array([0.1, 9.0]), np.array([-4.0, 2.0])):
        np.testing.assert_allclose(fit.log_density(values), twin.logpdf(values), rtol=1e-10)
        np.testing.assert_allclose(fit.surprise(values), -twin.logsf(values), rtol=1e-9)


def test_far_out_the_tail_still_ranks() -> None:
    fit = Fitted(centre=np.zeros(2), scale=np.ones(2))
    assert 1 - stats.norm.cdf(20.0) == 1 - stats.norm.cdf(30.0)  # what the published formula says there
    assert (np.diff(fit.surprise(np.array([20.0, 30.0]))) > 100).all()


def test_the_stabilised_prediction_is_its_slow_twin() -> None:
    generator = np.random.default_rng(0)
    values, chosen = generator.normal(size=(5, 40)) + 3 * generator.normal(size=40), generator.random((5, 40)) < 0.6
    chosen[:, 0], chosen[:, 1] = False, np.arange(5) == 2
    fit = fitted(values, chosen, "stabilised")
    lists = [values[chosen[:, at], at] for at in range(40)]
    known = [each for each in lists if len(each)]
    pooled = sum(((each - each.mean()) ** 2).sum() for each in known) / sum(len(each) - 1 for each in known)
    means = np.array([each.mean() for each in known])
    between = means.var() - pooled * np.mean([1 / len(each) for each in known])
    for at, each in enumerate(lists):
        count, prior = len(each), pooled / between
        mean = each.mean() if count else 0.0
        centre = (prior * means.mean() + count * mean) / (prior + count)
        spread = 4 * pooled + sum((each - mean) ** 2) + prior * count / (prior + count) * (mean - means.mean()) ** 2
        scale = np.sqrt(spread / (4 + count) * (1 + 1 / (prior + count)))
        twin = stats.t(4 + count, centre, scale)
        here = Fitted(centre=fit.centre[at : at + 1], scale=fit.scale[at : at + 1], freedom=(4.0 + np.array([count])))
        np.testing.assert_allclose(here.log_density(np.array([0.3])), twin.logpdf(0.3), rtol=1e-9)


def test_with_many_references_all_variances_agree() -> None:
    generator = np.random.default_rng(1)
    centre = generator.normal(size=30)
    values, chosen = centre + 0.5 * generator.normal(size=(4000, 30)), np.ones((4000, 30), dtype=np.bool_)
    for variance in ("each", "fixed", "stabilised"):
        fit = fitted(values, chosen, variance)
        np.testing.assert_allclose(fit.centre, centre, atol=0.05)
        np.testing.assert_allclose(fit.scale, 0.5, rtol=0.05)


def test_agreeing_references_leave_a_finite_score() -> None:
    values, chosen = np.array([[1.0, 2.0], [1.0, 4.0]]), np.ones((2, 2), dtype=np.bool_)
    for variance in ("each", "fixed", "stabilised"):
        assert np.isfinite(fitted(values, chosen, variance).log_density(np.array([3.0, 3.0]))).all()


def test_one_reference_on_a_side_is_refused() -> None:
    with pytest.raises(InputError, match="enough for two on the same side"):
        fitted(np.zeros((2, 3)), np.eye(2, 3, dtype=np.bool_), "fixed")


def test_a_loss_becomes_the_logit_of_its_confidence() -> None:
    loss = np.array([1e-9, 1e-6, 0.1, 0.7, 5.0, 60.0, 900.0])
    found = read_signal(cast("Target", Told({"loss": loss})), LOSS_LOGIT, records(7), 1)[0]
    p = np.exp(-loss[1:5])
    np.testing.assert_allclose(found[1:5], np.log(p / -np.expm1(-loss[1:5])), rtol=1e-9)
    np.testing.assert_allclose(found[5:], -loss[5:], rtol=1e-12)
    assert found[0] == pytest.approx(24 * np.log(2))  # as far as float32 can say


def test_signals_are_turned_so_that_higher_is_member() -> None:
    told = Told({"loss": np.array([1.0, 2.0]), "logit": np.array([1.0, 2.0])})
    np.testing.assert_array_equal(read_signal(cast("Target", told), "loss", records(2), 3), [[-1, -2]] * 3)
    np.testing.assert_array_equal(read_signal(cast("Target", told), "logit", records(2), 1), [[1, 2]])
    assert len({key for _, key in told.calls}) == 4  # each draw, and each signal, has a key of its own


def test_needs_follow_from_the_signal() -> None:
    assert needs_of("loss", references=2).capabilities == (SIGNALS["loss"].capability,)
    assert needs_of(LOSS_LOGIT, references=2).capabilities == (SIGNALS["logit"].capability,)
    assert needs_of("logit", references=2).reads == {"label"}
    with pytest.raises(InputError, match="signal = 'los': expected one of loss"):
        needs_of("los", references=2)


def test_a_candidate_without_a_reference_on_a_side_is_named() -> None:
    told = Readings(
        target=np.zeros((1, 2)), references=np.zeros((1, 2, 2)), inside=np.array([[1, 0], [1, 1]], dtype=bool)
    )
    with pytest.raises(InputError, match=r"candidate 0.*not trained on it"):
        told.mean(inside=False)
