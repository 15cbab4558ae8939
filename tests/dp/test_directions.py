"""Block canaries that share coordinates or spread over many: norm C exactly, one coin each, read back, null."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from scipy import stats

from dpaudit.dp.audit_block import (
    BLOCK,
    Directions,
    GradientCanaries,
    block_placement,
    hadamard_placement,
    sparse_sign_placement,
)
from dpaudit.dp.noise import gaussian_like
from dpaudit.errors import InputError
from dpaudit.rng import Rng

if TYPE_CHECKING:
    from collections.abc import Callable

    from dpaudit.dp.audit_block import Placement

ROOT, COUNT, CLIP = Rng.from_seed(12), 200, 0.75
PLACED: dict[str, Callable[[], Placement]] = {
    "dirac": lambda: block_placement(COUNT),
    "shared": lambda: block_placement(COUNT, 8),
    "hadamard": lambda: hadamard_placement(COUNT, 16),
    "sparse-sign": lambda: sparse_sign_placement(COUNT, 16, ROOT, 4),
}
COINS = ROOT.child("coins").numpy().random(COUNT) < 0.5


def contribution(placement: Placement, mask: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> torch.Tensor:
    """Return what these records add to the block, if their coins let them. A raw norm of 8 C is clipped exactly."""
    sums = {"weight": torch.zeros(3)}
    GradientCanaries(placement, COINS, raw_norm=8.0).contribute(sums, mask, CLIP)
    assert torch.equal(sums["weight"], torch.zeros(3))
    return sums[BLOCK]


@pytest.mark.parametrize("name", PLACED)
def test_a_member_alone_contributes_exactly_c_and_another_nothing(name: str) -> None:
    placement = PLACED[name]()
    assert placement.ids.tolist() == [f"block:{number}" for number in range(COUNT)]
    for number in range(0, COUNT, 7):
        added = contribution(placement, np.arange(COUNT) == number)
        norm = CLIP if COINS[number] else 0.0
        assert float(added.double().norm()) == norm
        assert placement.read({BLOCK: added})[number] == np.float32(norm)


@pytest.mark.parametrize("name", PLACED)
def test_a_sum_is_that_of_its_records(name: str) -> None:
    placement, everyone = PLACED[name](), np.ones(COUNT, dtype=np.bool_)
    alone = sum(contribution(placement, np.arange(COUNT) == number) for number in range(COUNT))
    torch.testing.assert_close(contribution(placement, everyone), alone)


@pytest.mark.parametrize("name", ["dirac", "hadamard"])
def test_orthogonal_directions_read_back_their_coins_and_independent_noise(name: str) -> None:
    placement, everyone = PLACED[name](), np.ones(COUNT, dtype=np.bool_)
    block = contribution(placement, everyone)
    np.testing.assert_array_equal(placement.read({BLOCK: block}), np.where(COINS, np.float32(CLIP), np.float32(0)))
    noise = [placement.read({BLOCK: gaussian_like(block, 2.0, ROOT.child("noise", step))}) for step in range(50)]
    assert stats.kstest(np.concatenate(noise) / 2, "norm").pvalue > 1e-3
    correlation = np.asarray(np.corrcoef(np.stack(noise).T))
    assert np.abs(correlation[~np.eye(COUNT, dtype=bool)]).mean() < 1.2 * np.sqrt(2 / np.pi / 50)


@pytest.mark.parametrize("name", ["shared", "sparse-sign"])
def test_directions_that_meet_still_tell_members_from_others(name: str) -> None:
    placement = PLACED[name]()
    values = placement.read({BLOCK: contribution(placement, np.ones(COUNT, dtype=np.bool_))})
    assert values[COINS].mean() > values[~COINS].mean() + 0.5 * CLIP


def test_shared_coordinates_are_as_many_as_asked() -> None:
    placement = PLACED["shared"]()
    assert isinstance(placement, Directions)
    assert placement.size == 25
    assert np.bincount(placement.at[:, 0]).tolist() == [8] * 25


def test_hadamard_sees_noise_that_coordinates_share_and_dirac_does_not() -> None:
    """One draw for 16 coordinates: each alone has the right law, their sum has 16 times the variance."""
    shared = np.repeat(ROOT.child("shared").numpy().normal(size=2000), 16)
    block = {BLOCK: torch.from_numpy(shared.astype(np.float32))}
    dirac, spread = block_placement(32_000).read(block), hadamard_placement(32_000, 16).read(block)
    assert stats.kstest(dirac[::16], "norm").pvalue > 1e-3
    assert stats.kstest(spread, "norm").pvalue < 1e-9


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: block_placement(0), "canaries.block"),
        (lambda: block_placement(4, 0), "canaries.per_coordinate"),
        (lambda: hadamard_placement(4, 8), "canaries.spread"),
        (lambda: sparse_sign_placement(4, 3, ROOT), "canaries.spread"),
    ],
)
def test_what_cannot_be_is_refused(make: Callable[[], Placement], field: str) -> None:
    with pytest.raises(InputError) as caught:
        make()
    assert caught.value.field == field
