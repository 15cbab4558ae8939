"""Exposure against published numbers, and its extrapolation against the exact one."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from dpaudit.attacks.exposure import Exposure, exposure, extrapolated_exposure
from dpaudit.errors import InputError


@pytest.mark.parametrize(
    ("perplexity", "bits"), [(0.1, 4.0), (20.0, 4 - np.log2(17)), (3.5, 2.0)]
)  # tensorflow/privacy, secret_sharer/exposures_test.py: the space is 1, ..., 16
def test_exposure_is_that_of_tensorflow_privacy(perplexity: float, bits: float) -> None:
    assert exposure(perplexity, np.arange(1.0, 17.0)) == pytest.approx(bits)


def test_extrapolation_agrees_with_ranks_where_the_space_is_normal() -> None:
    space = np.random.default_rng(0).normal(3.0, 2.0, size=100_000)
    asked = np.array([-1.0, 2.0, 3.0, 5.0])
    exact = [exposure(value, space) for value in asked]
    np.testing.assert_allclose(extrapolated_exposure(asked, np.tile(space, (4, 1))), exact, rtol=0.05)
    np.testing.assert_allclose(exact, -np.log2(stats.norm.cdf((asked - 3) / 2)), rtol=0.05)


def test_it_goes_on_where_ranks_end() -> None:
    space = np.array([[4.0, 5.0, 6.0, 5.0]])
    assert extrapolated_exposure(np.array([0.0]), space)[0] > exposure(0.0, space[0]) == 2.0


def test_a_space_needs_two_captions() -> None:
    with pytest.raises(InputError, match="others = 1: expected at least 2"):
        Exposure(others=1)
