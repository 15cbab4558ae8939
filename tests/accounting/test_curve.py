"""The accountant's curve: pessimistic, accurate, consistent with the epsilon, exact where a closed form exists."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from dp_accounting.pld import privacy_loss_distribution

from dpaudit.accounting.curve import epsilon_at, has_curve, privacy_profile, profile_at
from dpaudit.accounting.gaussian import gaussian_deltas
from dpaudit.errors import DpauditError, InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from dpaudit.mechanism import Mechanism


@pytest.mark.parametrize(("rate", "noise", "steps"), [(0.2, 2.0, 100), (0.2, 6.0, 1000), (0.01, 0.8, 500)])
def test_curve_lies_just_above_a_fine_grid(
    make_mechanism: Callable[..., Mechanism], rate: float, noise: float, steps: int
) -> None:
    mechanism = make_mechanism(rate, noise, steps)
    fine = privacy_loss_distribution.from_gaussian_mechanism(
        noise, sampling_prob=rate, value_discretization_interval=5e-4
    ).self_compose(steps)
    epsilons, deltas = privacy_profile(mechanism)
    looked_at = slice(1, 400, 60)
    exact = fine.get_delta_for_epsilon(epsilons[looked_at])
    assert np.all(deltas[looked_at] >= exact - 1e-9)
    for delta in (1e-2, 1e-5, 1e-8):
        expected = fine.get_epsilon_for_delta(delta)
        assert expected <= epsilon_at(mechanism, noise, delta) <= 1.005 * expected + 1e-4


def test_curve_is_the_worse_direction(make_mechanism: Callable[..., Mechanism]) -> None:
    mechanism = make_mechanism(0.5, 0.7, 1)
    epsilons, deltas = privacy_profile(mechanism)
    single = privacy_loss_distribution.from_gaussian_mechanism(
        0.7, sampling_prob=0.5, value_discretization_interval=1e-3
    )
    assert deltas[50] == pytest.approx(single.get_delta_for_epsilon(float(epsilons[50])), rel=0.01)


@pytest.mark.parametrize("adjacency", ["add-remove", "replace-one"])
def test_curve_of_full_batches_is_exact(make_mechanism: Callable[..., Mechanism], adjacency: str) -> None:
    mechanism = make_mechanism(1.0, 8.0, 16, sampling="full", adjacency=adjacency)
    epsilons, deltas = privacy_profile(mechanism)
    mu = 1.0 if adjacency == "replace-one" else 0.5
    assert deltas == pytest.approx(gaussian_deltas(mu, epsilons), rel=1e-9)


@pytest.mark.parametrize("changed", [{}, {"noise": 0.3}, {"adjacency": "replace-one"}, {"noise": 60.0, "rate": 0.01}])
def test_shape_of_the_curve(make_mechanism: Callable[..., Mechanism], changed: dict[str, Any]) -> None:
    mechanism = make_mechanism(**changed)
    epsilons, deltas = privacy_profile(mechanism)
    assert epsilons.shape == deltas.shape
    assert epsilons[0] == 0
    assert np.all(np.diff(epsilons) > 0)
    assert np.all(np.diff(deltas) <= 0)
    assert 0 <= deltas[-1] <= deltas[0] <= 1
    assert np.all(np.diff(np.diff(deltas) / np.diff(np.exp(epsilons))) > -1e-9)  # convex in exp(epsilon)


def test_curve_passes_through_the_epsilon(make_mechanism: Callable[..., Mechanism]) -> None:
    mechanism = make_mechanism()
    epsilons, deltas = profile_at(mechanism, 1.7)
    crossing = np.interp(-math.log(1e-5), -np.log(deltas), epsilons)
    assert epsilon_at(mechanism, 1.7, 1e-5) == pytest.approx(crossing, rel=1e-3)


def test_more_noise_is_a_lower_curve(make_mechanism: Callable[..., Mechanism]) -> None:
    mechanism = make_mechanism()
    grid = np.linspace(0, 3, 20)
    curves = [np.interp(grid, *profile_at(mechanism, noise)) for noise in (1.0, 1.2, 1.5, 2.0, 4.0)]
    assert all(np.all(lower <= upper) for upper, lower in pairwise(curves))


@pytest.mark.parametrize(
    ("changed", "epsilon", "delta"),
    [({"noise": 0.0}, math.inf, 1.0), ({"clip_norm": math.inf}, math.inf, 1.0), ({"steps": 0}, 0.0, 0.0)],
)
def test_trivial_curves(
    make_mechanism: Callable[..., Mechanism], changed: dict[str, Any], epsilon: float, delta: float
) -> None:
    mechanism = make_mechanism(**changed)
    epsilons, deltas = privacy_profile(mechanism)
    assert (epsilons.tolist(), deltas.tolist()) == ([0.0], [delta])
    assert epsilon_at(mechanism, mechanism.noise_multiplier, 1e-5) == epsilon


def test_curve_cannot_be_changed_in_the_cache(make_mechanism: Callable[..., Mechanism]) -> None:
    epsilons, _ = privacy_profile(make_mechanism())
    with pytest.raises(ValueError, match="read-only"):
        epsilons[0] = 1.0


@pytest.mark.parametrize(("sampling", "adjacency"), [("fixed", "replace-one"), ("shuffle", "add-remove")])
def test_no_curve_without_a_sound_account(
    make_mechanism: Callable[..., Mechanism], sampling: str, adjacency: str
) -> None:
    mechanism = make_mechanism(sampling=sampling, adjacency=adjacency)
    assert not has_curve(mechanism)
    with pytest.raises(InputError, match="one that PLD can account for"):
        privacy_profile(mechanism)


def test_curve_that_does_not_fit_is_refused(make_mechanism: Callable[..., Mechanism]) -> None:
    with pytest.raises(DpauditError, match="does not fit in memory"):
        privacy_profile(make_mechanism(noise=1e-5))
