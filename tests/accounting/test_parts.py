"""Parts: merging, order-freeness, exact addition of unsampled Gaussians, refusal by name."""

from __future__ import annotations

import math
from typing import Any

import dp_accounting as dp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpaudit.accounting.parts import GaussianPart, gaussian_parts
from dpaudit.errors import InputError

STEP = dp.PoissonSampledDpEvent(0.1, dp.GaussianDpEvent(1.0))
OTHER = dp.PoissonSampledDpEvent(0.2, dp.GaussianDpEvent(1.0))


def test_equal_steps_are_merged_however_they_are_nested() -> None:
    nested = dp.ComposedDpEvent([dp.SelfComposedDpEvent(dp.ComposedDpEvent([STEP, OTHER]), 3), STEP])
    assert gaussian_parts(nested) == (GaussianPart(0.1, 1.0, 4), GaussianPart(0.2, 1.0, 3))


@settings(max_examples=30, deadline=None)
@given(st.permutations([(STEP, 2), (OTHER, 3), (dp.GaussianDpEvent(3.0), 1), (dp.GaussianDpEvent(4.0), 5)]))
def test_order_of_composition_cannot_matter(order: list[tuple[Any, int]]) -> None:
    event = dp.ComposedDpEvent([dp.SelfComposedDpEvent(step, count) for step, count in order])
    expected = dp.ComposedDpEvent(
        [STEP, STEP, OTHER, OTHER, OTHER, dp.GaussianDpEvent(3.0), *[dp.GaussianDpEvent(4.0)] * 5]
    )
    assert gaussian_parts(event) == gaussian_parts(expected)


def test_unsampled_gaussians_add_their_precisions() -> None:
    parts = gaussian_parts(dp.ComposedDpEvent([dp.GaussianDpEvent(3.0), dp.GaussianDpEvent(4.0)]))
    assert parts == (GaussianPart(1.0, 1 / math.sqrt(1 / 9 + 1 / 16), 1),)


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (dp.NoOpDpEvent(), ()),
        (dp.PoissonSampledDpEvent(0.0, dp.GaussianDpEvent(0.0)), ()),
        (dp.ComposedDpEvent([STEP, dp.NonPrivateDpEvent()]), "not private"),
        (dp.GaussianDpEvent(0.0), "not private"),
        (dp.ComposedDpEvent([dp.NonPrivateDpEvent(), dp.UnsupportedDpEvent()]), "not supported"),
        (dp.SampledWithoutReplacementDpEvent(10, 10, dp.GaussianDpEvent(2.0)), (GaussianPart(1.0, 2.0, 1),)),
        (dp.SampledWithoutReplacementDpEvent(10, 5, dp.GaussianDpEvent(2.0)), (GaussianPart(0.5, 2.0, 1, True),)),
    ],
)
def test_special_events(event: Any, expected: Any) -> None:
    assert gaussian_parts(event) == expected


@pytest.mark.parametrize("event", [dp.LaplaceDpEvent(1.0), dp.PoissonSampledDpEvent(0.1, dp.LaplaceDpEvent(1.0))])
def test_unknown_events_are_refused_by_name(event: Any) -> None:
    with pytest.raises(InputError, match=type(event).__name__):
        gaussian_parts(dp.ComposedDpEvent([STEP, event]))
