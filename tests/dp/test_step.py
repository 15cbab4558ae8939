"""One step as a whole: what is released, divided, noised and written down."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from dpaudit.dp.audit_block import GradientCanaries, block_placement, coordinate_placement
from dpaudit.dp.engines import ENGINES, engine
from dpaudit.dp.loop import loop_sum
from dpaudit.dp.step import DpStep, Load, assign
from dpaudit.dp.tensors import Gradients, trainable
from dpaudit.errors import DpauditError, InputError
from dpaudit.rng import Rng

if TYPE_CHECKING:
    from collections.abc import Callable

    from dpaudit.dp.clipping import Losses
    from dpaudit.dp.step import Release
    from dpaudit.mechanism import Mechanism

ROOT = Rng.from_seed(32)
MEMBERS = ROOT.child("coins").numpy().random(40) < 0.5
MechanismOf: TypeAlias = "Callable[..., Mechanism]"


def step_of(mechanism: Mechanism, losses: Losses, **changes: Any) -> DpStep:
    values: dict[str, Any] = {
        "members": MEMBERS,
        "sampling": ROOT.child("sampling"),
        "noise": ROOT.child("noise"),
    } | changes
    return DpStep(mechanism=mechanism, losses=losses, **values)


def with_canaries(model: nn.Module) -> tuple[GradientCanaries, ...]:
    placements = (block_placement(9), coordinate_placement(model, 2, ROOT))
    return tuple(GradientCanaries(placement, np.arange(len(placement)) % 2 == 0) for placement in placements)


def same(a: Release, b: Release) -> bool:
    tensors = all(torch.equal(a.gradients[name], b.gradients[name]) for name in a.gradients)
    canaries = all(np.array_equal(a.canaries[family], b.canaries[family]) for family in a.canaries)
    return tensors and canaries and a.row == b.row


def divides_by(divisor: float, gradients: Gradients, sums: Gradients) -> bool:
    """Return whether the released gradients are the clipped sums over this divisor."""
    return all(torch.allclose(gradients[name] * divisor, sums[name], rtol=1e-4, atol=1e-6) for name in sums)


@pytest.mark.parametrize("name", list(ENGINES))
def test_without_noise_the_clipped_sum_over_the_expected_size_is_released(
    name: str, mechanism_of: MechanismOf, network: nn.Module, squared_error: Losses, load: Load
) -> None:
    step = step_of(mechanism_of(noise_multiplier=0), squared_error, engine=engine(name))
    sizes = set()
    for number in range(12):
        drawn = step.drawn(number)
        sizes.add(len(drawn))
        release = step(number, network, load)
        expected = loop_sum(network, squared_error, load(drawn), 0.5).gradients
        assert divides_by(10, release.gradients, expected)
        if len(drawn) not in (0, 10):
            assert not divides_by(len(drawn), release.gradients, expected)
    assert len(sizes) > 3


def test_dividing_by_the_drawn_size_is_caught(
    mechanism_of: MechanismOf, network: nn.Module, squared_error: Losses, load: Load
) -> None:
    step = step_of(mechanism_of(noise_multiplier=0), squared_error)
    drawn = step.drawn(0)
    wrong = {name: tensor * 10 / len(drawn) for name, tensor in step(0, network, load).gradients.items()}
    assert len(drawn) != 10
    assert not divides_by(10, wrong, loop_sum(network, squared_error, load(drawn), 0.5).gradients)


def test_only_members_are_drawn_and_by_the_sampler_alone(mechanism_of: MechanismOf, squared_error: Losses) -> None:
    step = step_of(mechanism_of(), squared_error)
    everyone = step_of(mechanism_of(), squared_error, members=np.ones(40, dtype=bool))
    for number in range(40):
        assert set(step.drawn(number)) == set(everyone.drawn(number)) & set(np.flatnonzero(MEMBERS))


def test_a_stream_goes_by_places_in_storage_whoever_is_in(mechanism_of: MechanismOf, squared_error: Losses) -> None:
    places, everyone = ROOT.child("places").numpy().permutation(40), np.ones(40, dtype=bool)
    stored = step_of(mechanism_of(sampling="shuffle", shuffle_buffer=1), squared_error, members=everyone, places=places)
    for number in range(8):
        first = 10 * (number % 4)
        assert sorted(places[stored.drawn(number)]) == list(range(first, first + 10))
    mixed = mechanism_of(sampling="shuffle", shuffle_buffer=7)
    whole = step_of(mixed, squared_error, members=everyone, places=places)
    some = step_of(mixed, squared_error, places=places)
    for number in range(8):
        assert set(some.drawn(number)) == set(whole.drawn(number)) & set(np.flatnonzero(MEMBERS))


@pytest.mark.parametrize("micro_batch", [1, 3, 1000])
def test_micro_batches_change_nothing_but_rounding(
    micro_batch: int, mechanism_of: MechanismOf, network: nn.Module, squared_error: Losses, load: Load
) -> None:
    canaries = with_canaries(network)
    whole = step_of(mechanism_of(), squared_error, canaries=canaries)(3, network, load)
    parts = step_of(mechanism_of(), squared_error, canaries=canaries, micro_batch=micro_batch)(3, network, load)
    for name, tensor in whole.gradients.items():
        torch.testing.assert_close(parts.gradients[name], tensor, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(parts.canaries["block"], whole.canaries["block"])
    assert parts.row.loss == pytest.approx(whole.row.loss)
    assert parts.row.drawn == whole.row.drawn


def test_an_empty_batch_is_a_step_like_any_other(
    mechanism_of: MechanismOf, network: nn.Module, squared_error: Losses
) -> None:
    def load_nothing(at: np.ndarray[tuple[int], np.dtype[np.int64]]) -> dict[str, Tensor]:
        raise AssertionError(at)

    nobody = np.zeros(40, dtype=bool)
    step = step_of(mechanism_of(steps=300), squared_error, members=nobody)
    rows, gradients = [], []
    for number in range(300):
        release = step(number, network, load_nothing)
        rows.append(release.row)
        gradients.append(torch.cat([tensor.reshape(-1) for tensor in release.gradients.values()]))
    assert {(row.drawn, row.loss, row.max_clipped_norm, row.clipped_fraction) for row in rows} == {(0, None, None, 0.0)}
    scaled = torch.cat(gradients).numpy() * 10 / (0.8 * 0.5)
    assert stats.kstest(scaled, "norm").pvalue > 1e-3


def test_ledger_measures_the_noise_of_all_tensors(
    mechanism_of: MechanismOf, network: nn.Module, squared_error: Losses, load: Load
) -> None:
    step = step_of(mechanism_of(), squared_error, canaries=with_canaries(network))
    rows = [step(number, network, load).row for number in range(40)]
    parameters = sum(parameter.numel() for parameter in network.parameters())
    assert {row.noise_count for row in rows} == {parameters + 9}
    assert {row.noise_std for row in rows} == {0.8 * 0.5}
    squares, count = sum(row.noise_sum_of_squares for row in rows), sum(row.noise_count for row in rows)
    for scale, accepted in ((1.0, True), (2 / 3, False), (3 / 2, False)):
        tail = float(stats.chi2(count).cdf(squares / (scale * 0.4) ** 2))
        assert (min(tail, 1 - tail) > 5e-4) is accepted


def test_ledger_says_what_was_executed(
    mechanism_of: MechanismOf, network: nn.Module, squared_error: Losses, load: Load
) -> None:
    drawn = step_of(mechanism_of(), squared_error).drawn(5)
    alone = loop_sum(network, squared_error, load(drawn), math.inf)
    assert alone.norms is not None
    clip = float(alone.norms.median())  # some are above, some are not
    row = step_of(mechanism_of(clip_norm=clip), squared_error, micro_batch=2)(5, network, load).row
    assert (row.step, row.drawn, row.divisor, row.clip_norm, row.sampling_rate) == (5, len(drawn), 10, clip, 0.25)
    assert row.loss == pytest.approx(float(alone.losses.mean()))
    assert row.clipped_fraction is not None
    assert 0 < row.clipped_fraction < 1
    assert row.clipped_fraction == pytest.approx(float((alone.norms > clip).float().mean()))
    assert row.max_clipped_norm == pytest.approx(clip, rel=1e-6)
    loose = step_of(mechanism_of(clip_norm=1e6), squared_error, micro_batch=1)(5, network, load).row
    assert loose.max_clipped_norm == pytest.approx(float(alone.norms.max()), rel=1e-6)


@pytest.mark.parametrize("secure", [False, True])
def test_steps_can_be_taken_in_any_order_and_again(
    secure: bool, mechanism_of: MechanismOf, network: nn.Module, squared_error: Losses, load: Load
) -> None:
    step = step_of(mechanism_of(), squared_error, canaries=with_canaries(network), secure=secure)
    forwards = [step(number, network, load) for number in range(6)]
    fresh = step_of(mechanism_of(), squared_error, canaries=with_canaries(network), secure=secure)
    other = step_of(mechanism_of(), squared_error, canaries=with_canaries(network), secure=not secure)
    assert not same(forwards[3], other(3, network, load))
    assert all(same(forwards[number], fresh(number, network, load)) for number in (5, 0, 3, 3, 1))
    assert not same(forwards[0], forwards[1])


def test_training_that_was_stopped_goes_on_bit_for_bit(
    mechanism_of: MechanismOf, network: nn.Module, squared_error: Losses, load: Load
) -> None:
    def train(model: nn.Module, first: int, last: int) -> list[Release]:
        step = step_of(mechanism_of(), squared_error, canaries=with_canaries(model))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        releases = []
        for number in range(first, last):
            releases.append(step(number, model, load))
            assign(model, releases[-1].gradients)
            optimizer.step()
        return releases

    start = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    whole = train(network, 0, 8)
    finished = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    network.load_state_dict(start)
    before = train(network, 0, 3)
    after = train(network, 3, 8)
    assert all(same(a, b) for a, b in zip(whole, before + after, strict=True))
    assert all(torch.equal(finished[name], tensor) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize("micro_batch", [3, 64])
def test_epsilon_infinity_is_the_ordinary_gradient(
    micro_batch: int, mechanism_of: MechanismOf, network: nn.Module, squared_error: Losses, load: Load
) -> None:
    mechanism = mechanism_of(clip_norm=math.inf, noise_multiplier=0)
    step = step_of(mechanism, squared_error, micro_batch=micro_batch)
    release = step(2, network, load)
    loss = squared_error(network, load(step.drawn(2))).sum() / 10
    for gradient, expected in zip(
        release.gradients.values(), torch.autograd.grad(loss, list(network.parameters())), strict=True
    ):
        torch.testing.assert_close(gradient, expected)
    assert (release.row.noise_std, release.row.max_clipped_norm, release.row.clipped_fraction) == (0.0, None, 0.0)
    assert release.row.noise_sum_of_squares == 0.0


@pytest.mark.parametrize("sampling", ["fixed", "shuffle", "full"])
def test_other_samplers_run(
    sampling: str, mechanism_of: MechanismOf, network: nn.Module, squared_error: Losses, load: Load
) -> None:
    step = step_of(mechanism_of(sampling=sampling), squared_error, members=np.ones(40, dtype=bool))
    assert step(1, network, load).row.drawn == (40 if sampling == "full" else 10)


@pytest.mark.parametrize("clip_norm", [0.5, math.inf])
def test_a_loss_that_is_no_number_stops_the_run(
    clip_norm: float, mechanism_of: MechanismOf, network: nn.Module, squared_error: Losses, load: Load
) -> None:
    mechanism = mechanism_of(clip_norm=clip_norm, noise_multiplier=0)
    with pytest.raises(DpauditError, match="step 0: the loss is inf"):
        step_of(mechanism, lambda m, b: squared_error(m, b) + math.inf)(0, network, load)
    with pytest.raises(DpauditError, match="gradient"):
        step_of(mechanism, lambda m, b: squared_error(m, b) * math.inf)(0, network, load)


def test_a_loader_that_drops_records_stops_the_run(
    mechanism_of: MechanismOf, network: nn.Module, squared_error: Losses, load: Load
) -> None:
    step = step_of(mechanism_of(), squared_error)
    with pytest.raises(DpauditError, match="records were loaded"):
        step(0, network, lambda at: load(at[:-1]))


@pytest.mark.parametrize("number", [-1, 40])
def test_no_step_beyond_those_accounted_for(number: int, mechanism_of: MechanismOf, squared_error: Losses) -> None:
    with pytest.raises(InputError, match="step"):
        step_of(mechanism_of(), squared_error).drawn(number)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"members": np.ones(39, dtype=bool)}, "members"),
        ({"places": np.arange(39)}, "places"),
        ({"places": np.zeros(40, dtype=np.int64)}, "places"),
        ({"members": np.ones(40)}, "members"),
        ({"micro_batch": 0}, "micro_batch"),
    ],
)
def test_wrong_settings_are_named(
    changes: dict[str, Any], field: str, mechanism_of: MechanismOf, squared_error: Losses
) -> None:
    with pytest.raises(InputError, match=field):
        step_of(mechanism_of(), squared_error, **changes)


def test_infinite_clip_norm_admits_neither_noise_nor_canaries(mechanism_of: MechanismOf, squared_error: Losses) -> None:
    with pytest.raises(InputError, match="clip_norm"):
        step_of(mechanism_of(clip_norm=math.inf), squared_error)
    canary = GradientCanaries(block_placement(1), np.ones(1, dtype=bool))
    with pytest.raises(InputError, match="clip_norm"):
        step_of(mechanism_of(clip_norm=math.inf, noise_multiplier=0), squared_error, canaries=(canary,))


def test_assign_sets_the_gradient_of_trained_parameters_in_their_type() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2).requires_grad_(False)).bfloat16()
    assign(model, {name: torch.ones(parameter.shape) for name, parameter in trainable(model).items()})
    assert model.get_parameter("0.weight").grad is not None
    assert {parameter.grad.dtype for parameter in model.parameters() if parameter.grad is not None} == {torch.bfloat16}
    assert model.get_parameter("1.weight").grad is None
