"""Calibration inverts accounting and never promises more than was asked."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dpaudit.accounting.accountant import headline, tight_guarantee
from dpaudit.accounting.calibrate import calibrate_batch_size, calibrate_noise, calibrate_steps
from dpaudit.accounting.events import mechanism_event
from dpaudit.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from dpaudit.mechanism import Mechanism

DELTA = 1e-5


def _promised(mechanism: Mechanism, noise: float) -> float:
    changed = mechanism.model_copy(update={"noise_multiplier": noise})
    return headline([tight_guarantee(mechanism_event(changed), mechanism.adjacency, DELTA)]).epsilon or 0.0


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.floats(0.1, 50), st.floats(0.01, 1), st.integers(1, 500))
def test_calibration_inverts_accounting(
    make_mechanism: Callable[..., Mechanism], target: float, rate: float, steps: int
) -> None:
    mechanism = make_mechanism(rate, steps=steps)
    found = _promised(mechanism, calibrate_noise(target, DELTA, mechanism))
    assert 0.997 * target <= found <= target


@pytest.mark.parametrize(
    "changed",
    [
        {"adjacency": "replace-one"},
        {"sampling": "full", "rate": 1.0},
        {"sampling": "shuffle", "adjacency": "zero-out"},
        pytest.param({"sampling": "fixed", "adjacency": "replace-one", "steps": 20}, marks=pytest.mark.slow),
    ],
)
def test_every_sound_account_can_be_inverted(make_mechanism: Callable[..., Mechanism], changed: dict[str, Any]) -> None:
    mechanism = make_mechanism(**changed)
    noise = calibrate_noise(4.0, DELTA, mechanism)
    assert 0.997 * 4 <= _promised(mechanism, noise) <= 4
    assert _promised(mechanism, noise * 0.99) > 4


def test_noise_of_the_template_does_not_matter(make_mechanism: Callable[..., Mechanism]) -> None:
    assert calibrate_noise(2.0, DELTA, make_mechanism(noise=0.0)) == calibrate_noise(2.0, DELTA, make_mechanism())


@pytest.mark.parametrize(
    ("target", "delta", "changed", "message"),
    [
        (0.0, DELTA, {}, "target_epsilon = 0"),
        (math.inf, DELTA, {}, "target_epsilon = inf"),
        (math.nan, DELTA, {}, "target_epsilon = nan"),
        (1.0, 0.0, {}, "delta = 0"),
        (1.0, DELTA, {"clip_norm": math.inf}, "clip_norm = inf"),
        (1.0, DELTA, {"sampling": "fixed"}, "sampling = 'fixed, add-remove'"),
        (1e-9, 1e-9, {"sampling": "full", "rate": 1.0, "steps": 10**6}, "noise multiplier 1e\\+06 can promise"),
        (1.0, DELTA, {"rate": 1e-9, "steps": 1}, "a smaller one"),
    ],
)
def test_targets_out_of_reach_are_refused(
    make_mechanism: Callable[..., Mechanism], target: float, delta: float, changed: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        calibrate_noise(target, delta, make_mechanism(**changed))


@pytest.mark.parametrize(
    "changed", [{"rate": 0.01}, {"sampling": "full", "rate": 1.0, "noise": 30.0}, {"adjacency": "replace-one"}]
)
def test_steps_are_the_most_that_the_target_allows(
    make_mechanism: Callable[..., Mechanism], changed: dict[str, Any]
) -> None:
    mechanism = make_mechanism(**changed)
    steps = calibrate_steps(3.0, DELTA, mechanism)
    allowed = mechanism.model_copy(update={"steps": steps})
    more = mechanism.model_copy(update={"steps": math.ceil(1.005 * steps + 1)})
    assert _promised(allowed, mechanism.noise_multiplier) <= 3 < _promised(more, mechanism.noise_multiplier)


def test_batch_size_is_the_most_that_the_target_allows(make_mechanism: Callable[..., Mechanism]) -> None:
    mechanism = make_mechanism(noise=1.0, dataset_size=5_000)
    batch = calibrate_batch_size(3.0, DELTA, mechanism)
    allowed, more = (
        mechanism.model_copy(update={"batch_size": size, "sampling_rate": size / 5_000})
        for size in (batch, math.ceil(1.005 * batch + 1))
    )
    assert _promised(allowed, 1.0) <= 3 < _promised(more, 1.0)


def test_whole_data_set_may_be_one_batch(make_mechanism: Callable[..., Mechanism]) -> None:
    assert calibrate_batch_size(3.0, DELTA, make_mechanism(noise=100.0)) == 1000


@pytest.mark.parametrize("calibrate", [calibrate_steps, calibrate_batch_size])
def test_one_is_too_many_already(
    make_mechanism: Callable[..., Mechanism], calibrate: Callable[[float, float, Mechanism], int]
) -> None:
    with pytest.raises(InputError, match="= 1 can promise"):
        calibrate(0.1, DELTA, make_mechanism(0.5, 0.05, 1000))


def test_steps_without_limit_are_refused(make_mechanism: Callable[..., Mechanism]) -> None:
    with pytest.raises(InputError, match="steps = 100000000 does not promise"):
        calibrate_steps(3.0, DELTA, make_mechanism(1.0, 1e6, sampling="full"))
