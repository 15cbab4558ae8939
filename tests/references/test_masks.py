"""Masks: balanced, stable, and blind to every coin."""

from __future__ import annotations

import numpy as np
import pytest

from dpaudit.references.masks import reference_mask, reference_masks
from dpaudit.rng import Rng

IDS = np.array([f"record/{index}" for index in range(2000)])
KEY = Rng.from_seed(3)


@pytest.mark.parametrize("count", [2, 4, 7, 16])
def test_each_candidate_is_in_half_of_the_references(count: int) -> None:
    inside = reference_masks(IDS, count, KEY).sum(axis=0)
    assert inside.min() >= count // 2
    assert inside.max() <= -(-count // 2)


def test_a_mask_is_fair_and_pairs_are_independent() -> None:
    masks = reference_masks(IDS, 8, KEY)
    shares = masks[::2].mean(axis=1)
    assert (abs(shares - 0.5) < 4 * 0.5 / np.sqrt(len(IDS))).all()
    agree = [(masks[2 * a] == masks[2 * b]).mean() for a in range(4) for b in range(a)]
    assert (abs(np.array(agree) - 0.5) < 4 * 0.5 / np.sqrt(len(IDS))).all()


def test_more_references_or_candidates_change_no_mask() -> None:
    np.testing.assert_array_equal(reference_masks(IDS, 8, KEY)[:3], reference_masks(IDS, 3, KEY))
    some = np.array([7, 1999, 3])
    np.testing.assert_array_equal(reference_mask(IDS[some], 5, KEY), reference_mask(IDS, 5, KEY)[some])
    assert not np.array_equal(reference_mask(IDS, 0, KEY), reference_mask(IDS, 0, Rng.from_seed(4)))
