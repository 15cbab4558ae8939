"""The smallest level at which a test rejects."""

from __future__ import annotations

import math

import pytest

from dpaudit.bounds.significance import check_confidence, smallest_level
from dpaudit.errors import InputError


@pytest.mark.parametrize("edge", [1.0, 0.5, 1e-3, 1e-40, 1e-250])
def test_it_is_rounded_up_and_close(edge: float) -> None:
    found = smallest_level(lambda level: level >= edge)
    assert edge <= found <= edge * (1 + 2e-6)


def test_the_ends() -> None:
    assert smallest_level(lambda _: False) == 1.0
    assert smallest_level(lambda _: True) == pytest.approx(math.exp(-690))


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0, -0.1, math.nan])
def test_impossible_confidences_are_refused(confidence: float) -> None:
    with pytest.raises(InputError, match="confidence"):
        check_confidence(confidence)
