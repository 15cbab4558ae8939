"""Privacy loss: moments in closed form, floors below and errors above what is true."""

from __future__ import annotations

import numpy as np
import pytest

from dpaudit.accounting.gaussian import gaussian_epsilon
from dpaudit.accounting.parts import GaussianPart
from dpaudit.accounting.pld import Discretisation, composed_distribution, discretisation
from dpaudit.accounting.privacy_loss import Direction, composed_loss


@pytest.mark.parametrize("noise", [1e-6, 0.3, 1.0, 50.0])
@pytest.mark.parametrize("direction", ["remove", "add"])
def test_moments_of_a_gaussian(noise: float, direction: Direction) -> None:
    loss = composed_loss((GaussianPart(1.0, noise, 4),), direction)
    assert loss.mean == pytest.approx(4 / (2 * noise**2), rel=1e-4)
    assert loss.std == pytest.approx(2 / noise, rel=1e-2)


@pytest.mark.parametrize(("rate", "noise"), [(0.2, 1.0), (0.01, 0.5), (1e-4, 0.3)])
def test_moments_of_a_sampled_gaussian_against_simulation(rate: float, noise: float) -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=2_000_000) * noise + (rng.random(2_000_000) < rate)
    losses = np.log1p(rate * np.expm1((2 * x - 1) / (2 * noise**2)))
    loss = composed_loss((GaussianPart(rate, noise, 1),), "remove")
    assert loss.mean == pytest.approx(losses.mean(), abs=5 * losses.std() / len(losses) ** 0.5)
    assert loss.std == pytest.approx(losses.std(), rel=0.05)


@pytest.mark.parametrize("steps", [1, 100, 10_000, 1_000_000])
@pytest.mark.parametrize("delta", [1e-5, 1e-9])
def test_composition_is_pessimistic_and_within_its_stated_error(steps: int, delta: float) -> None:
    parts = (GaussianPart(1.0, steps**0.5, steps),)  # composed step by step, though it equals one Gaussian of noise 1
    grid = discretisation(parts, "add-remove", 1e-3)
    assert isinstance(grid, Discretisation)
    found = composed_distribution(parts, "add-remove", grid.interval).epsilon(delta)
    exact = gaussian_epsilon(1.0, delta)
    assert exact < found < exact + 2 * grid.error
    assert grid.error < 0.01 * exact


@pytest.mark.parametrize(
    ("rate", "noise", "steps"), [(0.2, 1.0, 100), (0.01, 0.6, 1000), (1e-4, 0.3, 1000), (0.5, 30.0, 10_000)]
)
def test_stated_error_bounds_the_difference_to_a_finer_grid(rate: float, noise: float, steps: int) -> None:
    parts = (GaussianPart(rate, noise, steps),)
    coarse = discretisation(parts, "add-remove", 5e-3)
    assert isinstance(coarse, Discretisation)
    epsilons = [composed_distribution(parts, "add-remove", coarse.interval / split).epsilon(1e-6) for split in (1, 6)]
    assert 0 < epsilons[0] - epsilons[1] < 1.5 * coarse.error


def test_floor_is_below_the_true_epsilon() -> None:
    loss = composed_loss((GaussianPart(1.0, 0.1, 1),), "remove")
    assert 0.5 * gaussian_epsilon(10.0, 0.44) < loss.epsilon_floor < gaussian_epsilon(10.0, 0.44)
