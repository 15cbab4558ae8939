"""Epsilon by step: it grows, ends at what the accountant promises, and is not made up where there is no number."""

from __future__ import annotations

import pytest

from dpaudit.accounting.accountant import headline
from dpaudit.accounting.executed import executed_event, executed_guarantees
from dpaudit.accounting.spent import spent_series
from dpaudit.mechanism import Mechanism

MECHANISM = Mechanism(
    sampling="poisson",
    adjacency="add-remove",
    noise_multiplier=1.0,
    sampling_rate=0.05,
    steps=120,
    clip_norm=2.0,
    batch_size=50,
    dataset_size=1000,
)
UNIT = 2.0


def test_it_grows_and_ends_at_the_promise() -> None:
    steps = [(0.05, UNIT)] * 120
    series = spent_series(steps, UNIT, MECHANISM, 1e-5)
    assert series is not None
    assert (series.x[0], series.x[-1]) == (1.0, 120.0)
    assert len(series.x) <= 24
    assert list(series.y) == sorted(series.y)
    promised = headline(executed_guarantees(executed_event(steps, UNIT, MECHANISM), MECHANISM, 1e-5))
    assert series.y[-1] == promised.epsilon


@pytest.mark.parametrize("place", [0, -1])
def test_every_point_is_the_account_of_a_shorter_run(place: int) -> None:
    steps = [(0.05, 2 * UNIT)] * 30 + [(0.05, UNIT)] * 30
    series = spent_series(steps, UNIT, MECHANISM, 1e-5)
    assert series is not None
    until = int(series.x[place])
    alone = executed_guarantees(executed_event(steps[:until], UNIT, MECHANISM), MECHANISM, 1e-5)
    assert series.y[place] == headline(alone).epsilon


def test_noise_that_always_changes_has_few_points() -> None:
    series = spent_series([(0.05, UNIT + step / 100) for step in range(40)], UNIT, MECHANISM, 1e-5)
    assert series is not None
    assert len(series.x) == 4


def test_where_there_is_no_number_there_is_no_curve() -> None:
    assert spent_series([(0.05, UNIT)] * 5 + [(0.05, 0.0)], UNIT, MECHANISM, 1e-5) is None
    assert spent_series([], UNIT, MECHANISM, 1e-5) is None
    shuffled = MECHANISM.model_copy(update={"sampling": "shuffle"})
    assert spent_series([(0.05, UNIT)] * 40, UNIT, shuffled, 1e-5) is None
