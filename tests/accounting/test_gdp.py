"""The central limit: exact where it must be, close for many small steps, and honest that it is no bound."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy.stats import norm

from dpaudit.accounting.accountant import tight_guarantee
from dpaudit.accounting.events import mechanism_event
from dpaudit.accounting.gdp import gdp_estimate
from dpaudit.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from dpaudit.mechanism import Adjacency, Mechanism

DELTA = 1e-5


@pytest.mark.parametrize("adjacency", ["add-remove", "replace-one"])
def test_full_batches_are_exact(make_mechanism: Callable[..., Mechanism], adjacency: Adjacency) -> None:
    event = mechanism_event(make_mechanism(1.0, 20.0, 100, sampling="full", adjacency=adjacency))
    estimate = gdp_estimate(event, adjacency, DELTA)
    assert estimate is not None
    assert estimate.mu == pytest.approx(1.0 if adjacency == "replace-one" else 0.5)
    assert estimate.epsilon == pytest.approx(tight_guarantee(event, adjacency, DELTA).epsilon)


@pytest.mark.parametrize("adjacency", ["add-remove", "replace-one"])
def test_mu_is_the_chi_square_distance_of_a_step(
    make_mechanism: Callable[..., Mechanism], adjacency: Adjacency
) -> None:
    x, width = np.linspace(-12, 12, 100_001, retstep=True)
    here, there, away = (norm.pdf(x, centre, 1.5) for centre in (0, 1, -1))
    difference = there - (away if adjacency == "replace-one" else here)
    distance = (0.1**2 * difference**2 / here).sum() * width
    estimate = gdp_estimate(mechanism_event(make_mechanism(0.1, 1.5, 7, adjacency=adjacency)), adjacency, DELTA)
    assert estimate is not None
    assert estimate.mu == pytest.approx(math.sqrt(7 * distance), rel=1e-6)


def test_many_small_steps_are_close(make_mechanism: Callable[..., Mechanism]) -> None:
    event = mechanism_event(make_mechanism(0.01, 4.0, 20_000))
    estimate = gdp_estimate(event, "add-remove", DELTA)
    assert estimate is not None
    assert estimate.epsilon == pytest.approx(tight_guarantee(event, "add-remove", DELTA).epsilon, rel=0.02)
    assert estimate.guarantee == "estimate"
    assert "neither an upper nor a lower bound" in estimate.note


@pytest.mark.parametrize("changed", [{"sampling": "fixed"}, {"sampling": "shuffle"}, {"noise": 0.0}, {"noise": 0.01}])
def test_none_where_there_is_no_limit(make_mechanism: Callable[..., Mechanism], changed: dict[str, Any]) -> None:
    assert gdp_estimate(mechanism_event(make_mechanism(**changed)), "add-remove", DELTA) is None


def test_nothing_released_is_zero(make_mechanism: Callable[..., Mechanism]) -> None:
    estimate = gdp_estimate(mechanism_event(make_mechanism(steps=0)), "add-remove", DELTA)
    assert estimate is not None
    assert (estimate.mu, estimate.epsilon) == (0.0, 0.0)


def test_delta_is_checked(make_mechanism: Callable[..., Mechanism]) -> None:
    with pytest.raises(InputError, match="delta = 0"):
        gdp_estimate(mechanism_event(make_mechanism()), "add-remove", 0.0)
