"""The search that spares evaluations, against plain bisection."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpaudit.bounds.crossing import last_below
from dpaudit.bounds.family import Family, accountant_family
from dpaudit.bounds.gdp import gdp_epsilon
from dpaudit.bounds.guesses import Guesses
from dpaudit.bounds.max_p import PlannedTest, max_p_bound
from dpaudit.bounds.one_run_fdp import FdpRecursion
from dpaudit.bounds.tradeoff import Gaussian

TOLERANCE = 1e-3


@settings(deadline=None)
@given(
    truth=st.floats(0.02, 60),
    start=st.floats(0.06, 30),
    steepness=st.floats(0.05, 500),
    bend=st.floats(0.3, 3),
    flat=st.booleans(),
    turned=st.booleans(),
)
def test_the_crossing_of_any_function_that_grows_is_found(
    truth: float, start: float, steepness: float, bend: float, flat: bool, turned: bool
) -> None:
    tried: list[float] = []

    def height(x: float) -> float:
        rise = x**bend - truth**bend if turned else x**-bend - truth**-bend
        return math.inf if flat and rise > 0 else math.copysign(abs(steepness * rise) ** 1.5, rise)

    def counted(x: float) -> float:
        tried.append(x)
        return height(x)

    ends = (0.05, 32.0) if turned else (32.0, 0.05)
    found = last_below(counted, start=start, ends=ends, tolerance=TOLERANCE)
    assert len(tried) < 50
    if found is None:
        assert height(ends[0]) > 0
        return
    assert found in tried
    assert height(found) <= 0
    assert min(ends) <= found <= max(ends)
    further = found + TOLERANCE if turned else found - TOLERANCE
    assert height(further) > -1e-9 or abs(further - ends[1]) < TOLERANCE
    assert ends[1] not in tried


def family(tried: list[float], start: float | None) -> Family[Gaussian]:
    def curve(noise: float) -> Gaussian:
        tried.append(noise)
        return Gaussian(1 / noise)

    return accountant_family(
        curve, lambda noise: gdp_epsilon(1 / noise, 1e-5), delta=1e-5, noise_multipliers=(1 / 16, 32.0), start=start
    )


@pytest.mark.parametrize("runs", [1, 3])
@pytest.mark.parametrize("correct", [57, 75, 90, 99, 100])
def test_a_bound_is_that_of_bisection_for_half_of_the_curves(correct: int, runs: int) -> None:
    shown = [Guesses(canaries=1000, guesses=100, correct=correct)] * runs
    counts: dict[float | None, list[float]] = {None: [], 1.0: []}
    found = {
        start: max_p_bound(
            PlannedTest(test=FdpRecursion(), family=family(tried, start), confidence=0.95), shown, strategy="fixed"
        )
        for start, tried in counts.items()
    }
    slow, fast = found[None].parameter, found[1.0].parameter
    if slow is None:
        assert fast is None
        return
    assert fast == pytest.approx(slow, abs=TOLERANCE)
    assert FdpRecursion().refutes(Gaussian(1 / (fast or 1.0)), shown[0], 0.05 ** (1 / runs))
    assert len(counts[1.0]) <= 0.75 * len(counts[None])


def test_where_nothing_is_refuted_the_most_noise_is_the_last_that_is_tried() -> None:
    tried: list[float] = []
    noisy = family(tried, 1.0).largest_below(lambda _: 0.5, 0.05)
    assert (noisy.parameter, noisy.epsilon) == (None, 0.0)
    assert tried[-1] == 32.0


def test_where_all_is_refuted_the_search_ends_beside_the_least_noise() -> None:
    tried: list[float] = []
    answer = family(tried, 1.0).largest_below(lambda _: 0.01, 0.05)
    assert answer.parameter == pytest.approx(1 / 16, abs=TOLERANCE)
    assert min(tried) > 1 / 16
