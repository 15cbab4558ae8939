"""Virtual records go through exactly what real ones go through."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from dpaudit.dp.audit_block import BLOCK, GradientCanaries, Placement, block_placement, coordinate_placement
from dpaudit.dp.step import DpStep, Load
from dpaudit.errors import InputError
from dpaudit.rng import Rng

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from dpaudit.dp.clipping import Losses
    from dpaudit.dp.tensors import Batch
    from dpaudit.mechanism import Mechanism

ROOT = Rng.from_seed(41)
NOBODY = np.zeros(40, dtype=bool)


class Table(nn.Module):
    """A model whose record j has gradient 10 C at entry j: a gradient canary made of flesh."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.entries = nn.Parameter(torch.zeros(size))


def entry_losses(model: nn.Module, batch: Batch) -> Tensor:
    assert isinstance(model, Table)
    return 10 * 0.5 * (batch["one_hot"] * model.entries).sum(1)


def nothing(at: NDArray[np.int64]) -> Batch:
    raise AssertionError(at)


def coins(count: int) -> NDArray[np.bool_]:
    return ROOT.child("coins").numpy().random(count) < 0.5


def step_of(mechanism: Mechanism, losses: Losses, *canaries: GradientCanaries, seed: int = 41) -> DpStep:
    root = Rng.from_seed(seed)
    return DpStep(
        mechanism=mechanism,
        losses=losses,
        members=NOBODY,
        sampling=root.child("sampling"),
        noise=root.child("noise"),
        canaries=canaries,
    )


@pytest.mark.parametrize("sampling", ["full", "poisson", "shuffle", "fixed"])
def test_a_virtual_record_gives_what_a_real_one_gives(sampling: str, mechanism_of: Callable[..., Mechanism]) -> None:
    """40 real records with gradients 10 C e_j and 40 virtual ones: same draws in, same sums out."""
    mechanism, members = mechanism_of(sampling=sampling, noise_multiplier=0), coins(40)
    virtual = step_of(mechanism, entry_losses, GradientCanaries(block_placement(40), members))
    real = DpStep(
        mechanism=mechanism,
        losses=entry_losses,
        members=members,
        sampling=ROOT.child("sampling"),
        noise=ROOT.child("noise"),
    )
    for number in range(5):
        block = virtual(number, Table(40), nothing).canaries["block"]
        entries = real(number, Table(40), lambda at: {"one_hot": torch.eye(40)[at]}).gradients["entries"].numpy()
        assert set(np.round(block, 7)) | set(np.round(entries, 7)) <= {np.float32(0), np.float32(0.05)}
        assert not block[~members].any()
        assert not entries[~members].any()
        if sampling == "full":
            np.testing.assert_allclose(block, entries, rtol=1e-6)


def test_the_block_has_the_noise_of_the_parameters(mechanism_of: Callable[..., Mechanism]) -> None:
    canaries = GradientCanaries(block_placement(500), np.zeros(500, dtype=bool))
    step = step_of(mechanism_of(), entry_losses, canaries)
    releases = [step(number, Table(500), nothing) for number in range(40)]
    block = np.stack([release.canaries["block"] for release in releases]) * 10 / 0.4
    entries = np.stack([release.gradients["entries"].numpy() for release in releases]) * 10 / 0.4
    assert stats.kstest(block.ravel(), "norm").pvalue > 1e-3
    assert stats.kstest(entries.ravel(), "norm").pvalue > 1e-3
    assert abs(np.corrcoef(block.ravel(), entries.ravel())[0, 1]) < 5 / np.sqrt(block.size)


def test_members_are_drawn_at_the_sampling_rate_of_records(mechanism_of: Callable[..., Mechanism]) -> None:
    members = coins(1000)
    step = step_of(mechanism_of(noise_multiplier=0), entry_losses, GradientCanaries(block_placement(1000), members))
    drawn = np.stack([step(number, Table(1), nothing).canaries["block"] > 0 for number in range(40)])
    assert not drawn[:, ~members].any()
    found = int(drawn.sum())
    assert stats.binomtest(found, 40 * int(members.sum()), 0.25).pvalue > 1e-3


def test_the_block_does_not_touch_the_model(
    mechanism_of: Callable[..., Mechanism], network: nn.Module, squared_error: Losses, load: Load
) -> None:
    canaries = GradientCanaries(block_placement(9), np.ones(9, dtype=bool))
    plain, with_block = (step_of(mechanism_of(), squared_error, *extra) for extra in ((), (canaries,)))
    a, b = plain(0, network, load), with_block(0, network, load)
    assert a.gradients.keys() == b.gradients.keys()
    assert all(torch.equal(a.gradients[name], b.gradients[name]) for name in a.gradients)
    assert (a.row.drawn, a.row.divisor, a.row.loss) == (b.row.drawn, b.row.divisor, b.row.loss)


def test_coordinates_are_added_to_the_real_gradient(
    mechanism_of: Callable[..., Mechanism], network: nn.Module, squared_error: Losses, load: Load
) -> None:
    placement = coordinate_placement(network, 4, ROOT)
    members = coins(len(placement))
    mechanism = mechanism_of(sampling="full")
    plain = step_of(mechanism, squared_error)(0, network, load)
    touched = step_of(mechanism, squared_error, GradientCanaries(placement, members))(0, network, load)
    added = {name: touched.gradients[name] - plain.gradients[name] for name in plain.gradients}
    np.testing.assert_allclose(placement.read(added), 0.05 * members, atol=1e-6)
    assert sum(int((tensor.abs() > 1e-6).sum()) for tensor in added.values()) == members.sum()
    np.testing.assert_array_equal(touched.canaries["coordinates"], placement.read(touched.gradients))


def test_coordinates_are_distinct_fixed_and_on_every_trained_tensor(network: nn.Module) -> None:
    network.get_parameter("2.weight").requires_grad_(False)
    placement = coordinate_placement(network, 4, ROOT)
    assert {name: len(at) for name, at in placement.positions.items()} == {"0.weight": 4, "0.bias": 4, "2.bias": 3}
    assert all(len(set(at)) == len(at) for at in placement.positions.values())
    again = coordinate_placement(network, 4, ROOT)
    assert placement.ids.tolist() == again.ids.tolist()
    assert placement.ids.tolist() != coordinate_placement(network, 4, Rng.from_seed(42)).ids.tolist()


def test_ids_name_the_family_the_tensor_and_the_place() -> None:
    placement = Placement(family="coordinates", positions={"a.weight": np.array([3, 7]), "b": np.array([0])})
    assert placement.ids.tolist() == ["coordinates:a.weight:3", "coordinates:a.weight:7", "coordinates:b:0"]
    assert len(placement) == 3


def test_insert_and_read_follow_the_order_of_ids() -> None:
    placement = Placement(family="coordinates", positions={"b": np.array([3, 1]), "a": np.array([0])})
    sums = {"a": torch.zeros(2), "b": torch.zeros(2, 2)}
    placement.insert(sums, torch.tensor([1.0, 2.0, 3.0]))
    assert sums["b"].tolist() == [[0, 2], [0, 1]]
    assert sums["a"].tolist() == [3, 0]
    assert placement.read(sums).tolist() == [1, 2, 3]


def test_two_families_at_once(mechanism_of: Callable[..., Mechanism], network: nn.Module, load: Load) -> None:
    def losses(model: nn.Module, batch: Batch) -> Tensor:
        values: Tensor = model(batch["x"]).sum(1)
        return values

    placements = (block_placement(6), coordinate_placement(network, 1, ROOT))
    canaries = [GradientCanaries(placement, np.ones(len(placement), dtype=bool)) for placement in placements]
    release = step_of(mechanism_of(), losses, *canaries)(0, network, load)
    assert {family: values.shape for family, values in release.canaries.items()} == {"block": (6,), "coordinates": (4,)}
    assert BLOCK not in release.gradients


@pytest.mark.parametrize("members", [np.ones(4, dtype=bool), np.ones(5)])
def test_coins_must_fit_the_candidates(members: NDArray[np.bool_]) -> None:
    with pytest.raises(InputError, match=r"coins of family block = .*: expected 5 booleans"):
        GradientCanaries(block_placement(5), members)


def test_a_family_has_at_least_one_candidate(network: nn.Module) -> None:
    with pytest.raises(InputError, match=r"canaries\.block"):
        block_placement(0)
    with pytest.raises(InputError, match=r"canaries\.coordinates"):
        coordinate_placement(network, 0, ROOT)
