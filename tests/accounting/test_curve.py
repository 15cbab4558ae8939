"""The accountant's curve: pessimistic, accurate, consistent with the epsilon, exact where a closed form exists."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from dp_accounting.pld import privacy_loss_distribution

from dpaudit.accounting import curve as module
from dpaudit.accounting.curve import epsilon_at, has_curve, least_epsilon_at, privacy_profile, profile_at
from dpaudit.accounting.gaussian import gaussian_deltas, gaussian_epsilon
from dpaudit.accounting.parts import GaussianPart, Parts
from dpaudit.accounting.pld import composed_distribution
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


#: Gaussians of two kinds, which are composed on a grid although their epsilon has a closed form
TWO_KINDS: list[tuple[tuple[float, int], tuple[float, int]]] = [
    ((3.0, 4), (5.0, 9)),
    ((300.0, 4), (500.0, 9)),
    ((0.3, 4), (0.5, 9)),
    ((30.0, 4000), (50.0, 9000)),
    ((1.0, 1), (80.0, 2000)),
]


@pytest.mark.parametrize("adjacency", ["add-remove", "replace-one"])
@pytest.mark.parametrize("kinds", TWO_KINDS, ids=str)
def test_both_epsilons_are_on_their_side_of_a_closed_form(
    make_mechanism: Callable[..., Mechanism],
    monkeypatch: pytest.MonkeyPatch,
    kinds: tuple[tuple[float, int], ...],
    adjacency: str,
) -> None:
    parts = tuple(GaussianPart(1.0, noise, count) for noise, count in kinds)
    monkeypatch.setattr(module, "_question", lambda *_: (parts, adjacency))
    mu = math.sqrt(sum(count / noise**2 for noise, count in kinds)) * (2 if adjacency == "replace-one" else 1)
    for delta in (0.3, 1e-2, 1e-5, 1e-10):
        exact, given = gaussian_epsilon(mu, delta), (make_mechanism(), 1.0, delta)
        assert least_epsilon_at(*given) <= exact <= epsilon_at(*given)
        assert least_epsilon_at(*given) >= 0.99 * exact - 1e-4


@pytest.mark.parametrize("noise", [0.4, 1.0, 5.0])
@pytest.mark.parametrize("rate", [0.01, 0.5])
def test_both_epsilons_are_on_their_side_of_one_sampled_step(
    make_mechanism: Callable[..., Mechanism], rate: float, noise: float
) -> None:
    # delta of one step when a record is removed: rate times the Gaussian's at ln(1 + (e^eps - 1) / rate)
    mechanism = make_mechanism(rate, noise, 1)
    for delta in (1e-2, 1e-5, 1e-9):
        exact = math.log1p(rate * math.expm1(gaussian_epsilon(1 / noise, delta / rate))) if delta < rate else 0.0
        assert least_epsilon_at(mechanism, noise, delta) <= exact <= epsilon_at(mechanism, noise, delta)
        assert least_epsilon_at(mechanism, noise, delta) >= 0.99 * exact - 1e-4


def proved_from_below(parts: Parts, delta: float, interval: float) -> float:
    """Return a lower bound on the exact epsilon at delta under add-remove, with a proof.

    dp-accounting splits each loss onto the two grid points beside it, so that the masses of P and of Q are kept
    (Doroshenko et al. 2022). Given all losses the splits are independent numbers D, each in an interval of length h
    with E exp(-D) = 1, so with E D <= h^2 / 8 (Hoeffding's lemma). Their sum exceeds n h^2 / 8 + t with chance at most
    exp(-2 t^2 / (n h^2)) (Hoeffding 1963, Theorem 2). As delta(e) = E[(1 - exp(e - loss))+] is at most 1 and falls,
    delta_grid(e) <= delta(e - shift) + tail with shift = n h^2 / 8 + h sqrt(n ln(1 / tail) / 2).
    """
    steps, tail = sum(part.count for part in parts), 1e-3 * delta
    shift = steps * interval**2 / 8 + interval * math.sqrt(steps * math.log(1 / tail) / 2)
    return composed_distribution(parts, "add-remove", interval).epsilon(delta + tail + 1e-12) - shift


@pytest.mark.parametrize(("rate", "noise", "steps", "interval"), [(0.2, 2.0, 100, 1e-4), (0.3, 20.0, 30, 2e-5)])
def test_the_least_epsilon_is_below_a_bound_with_a_proof(
    make_mechanism: Callable[..., Mechanism], rate: float, noise: float, steps: int, interval: float
) -> None:
    mechanism = make_mechanism(rate, noise, steps)
    for delta in (1e-3, 1e-6):
        proved = proved_from_below((GaussianPart(rate, noise, steps),), delta, interval)
        assert 0.99 * proved < least_epsilon_at(mechanism, noise, delta) <= proved < epsilon_at(mechanism, noise, delta)


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
    assert least_epsilon_at(mechanism, mechanism.noise_multiplier, 1e-5) == epsilon


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
