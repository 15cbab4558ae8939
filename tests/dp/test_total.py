"""A logical batch has one sum: whatever the order and the sharing of its micro-batches, the same bits."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dpaudit.dp.clipping import Clipped
from dpaudit.dp.processes import Alone
from dpaudit.dp.total import ExactSum, Total
from dpaudit.errors import DpauditError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from dpaudit.dp.tensors import Gradients
    from dpaudit.mechanism import Mechanism

    MechanismOf: TypeAlias = "Callable[..., Mechanism]"

PARTS = 12


def micro_batches(model: nn.Module, scale: float = 1.0, seed: int = 0) -> list[Gradients]:
    generator = np.random.default_rng(seed)
    return [
        {
            name: torch.from_numpy((scale * generator.standard_normal(tuple(p.shape))).astype(np.float32))
            for name, p in model.named_parameters()
        }
        for _ in range(PARTS)
    ]


class Pair:
    """Two processes in one: what each adds is summed when the second one asks."""

    size = 2

    def __init__(self, rank: int, shelf: list[list[Tensor]]) -> None:
        self.rank, self.shelf = rank, shelf

    def add(self, tensors: Iterable[Tensor]) -> None:
        if self.rank == 0:
            self.shelf.append(list(tensors))
            return
        for mine, other in zip(tensors, self.shelf.pop(0), strict=True):
            mine.add_(other)

    check = Alone.check
    together = Alone.together
    stay = Alone.stay


def bits(gradients: Gradients) -> dict[str, bytes]:
    return {name: tensor.numpy().tobytes() for name, tensor in gradients.items()}


def summed(model: nn.Module, mechanism: Mechanism, parts: list[Gradients]) -> Gradients:
    total = ExactSum(model, mechanism, len(parts))
    for part in parts:
        total.add(part)
    return total.over(Alone())


def test_the_sum_has_the_same_bits_in_any_order_and_a_float_sum_has_not(
    network: nn.Module, mechanism_of: MechanismOf
) -> None:
    parts, mechanism = micro_batches(network), mechanism_of(clip_norm=3.7)
    first = bits(summed(network, mechanism, parts))
    naive = set()
    for seed in range(20):
        order = np.random.default_rng(seed).permutation(PARTS)
        shuffled = [parts[at] for at in order]
        assert bits(summed(network, mechanism, shuffled)) == first
        naive.add(sum((part["0.weight"] for part in shuffled), torch.zeros(7, 5)).numpy().tobytes())
    assert len(naive) > 1


def test_the_sum_is_right_to_float32s_own_rounding(network: nn.Module, mechanism_of: MechanismOf) -> None:
    for clip, scale, records in ((1.0, 1.0, 40), (1e-6, 1e-6, 40), (1e5, 1e5, 40), (1.0, 1.0, 300_000_000)):
        mechanism = mechanism_of(clip_norm=clip, dataset_size=records)
        parts = micro_batches(network, scale)
        for name, tensor in summed(network, mechanism, parts).items():
            exact = torch.stack([part[name].double() for part in parts]).sum(0)
            assert tensor.dtype == torch.float32
            unit = 2.0**-33 if records > 40 else 2.0**-47
            torch.testing.assert_close(tensor.double(), exact, rtol=2**-24, atol=PARTS * clip * unit)


def test_the_largest_sum_there_can_be_does_not_overflow(network: nn.Module, mechanism_of: MechanismOf) -> None:
    records = (1 << 24) - 1
    mechanism = mechanism_of(clip_norm=1.0, dataset_size=records)
    half = {name: torch.full(p.shape, records / 2) for name, p in network.named_parameters()}
    for tensor in summed(network, mechanism, [half, half]).values():
        assert tensor.tolist() == torch.full(tensor.shape, float(records)).tolist()


def test_one_part_is_kept_as_it_is_and_none_is_zero(network: nn.Module, mechanism_of: MechanismOf) -> None:
    part = micro_batches(network, 1e-12)[0]
    assert bits(summed(network, mechanism_of(clip_norm=1.0), [part])) == bits(part)
    assert all(not tensor.any() for tensor in summed(network, mechanism_of(), []).values())


def test_without_a_clip_norm_parts_are_added_in_float64(network: nn.Module, mechanism_of: MechanismOf) -> None:
    huge = micro_batches(network, 1e30)
    mechanism = mechanism_of(clip_norm=math.inf, noise_multiplier=0)
    for name, tensor in summed(network, mechanism, huge).items():
        exact = torch.stack([part[name].double() for part in huge]).sum(0)
        torch.testing.assert_close(tensor, exact.float())


@pytest.mark.parametrize("clip", [0.8, math.inf])
def test_two_processes_measure_and_sum_as_one_does(clip: float, network: nn.Module, mechanism_of: MechanismOf) -> None:
    mechanism = mechanism_of(clip_norm=clip, noise_multiplier=0)
    generator = torch.Generator().manual_seed(1)
    parts = []
    for gradients in micro_batches(network):
        norms = torch.rand(3, generator=generator)
        clipped = math.isfinite(clip)
        parts.append(
            Clipped(
                gradients=gradients,
                norms=norms if clipped else None,
                losses=torch.rand(3, generator=generator),
                contributions=norms.clamp(max=clip) if clipped else None,
            )
        )

    def share(rank: int, size: int) -> Total:
        total = Total(network, mechanism, 5, PARTS)
        for at in range(rank, PARTS, size):
            total.add(at, parts[at])
        return total

    alone, measured = share(0, 1).over(Alone())
    first, second, shelf = share(0, 2), share(1, 2), list[list[Tensor]]()
    shelf.append([first._table])
    shelf.append(list(first._sum._sums.values()))
    together, same = second.over(Pair(1, shelf))
    for name, tensor in alone.items():
        torch.testing.assert_close(together[name], tensor)
    assert bits(together) == bits(alone) or math.isinf(clip)
    assert same == measured
    assert measured.records == 3 * PARTS
    assert measured.loss == pytest.approx(float(torch.cat([part.losses for part in parts]).mean()))
    if math.isfinite(clip):
        norms = torch.cat([part.norms for part in parts if part.norms is not None])
        assert measured.clipped == int((norms > clip).sum()) > 0
        assert measured.largest == pytest.approx(clip)
    else:
        assert (measured.clipped, measured.largest) == (0, None)


def test_what_is_added_is_left_as_it_was(network: nn.Module, mechanism_of: MechanismOf) -> None:
    network.double()
    parts = [{name: tensor.double() for name, tensor in part.items()} for part in micro_batches(network)]
    before = [bits(part) for part in parts]
    for name, tensor in summed(network, mechanism_of(clip_norm=1.0), parts).items():
        torch.testing.assert_close(tensor, torch.stack([part[name] for part in parts]).sum(0), rtol=0, atol=1e-12)
    assert [bits(part) for part in parts] == before


def test_a_tensor_of_many_blocks_is_added_whole(mechanism_of: MechanismOf) -> None:
    network = nn.Linear(700, 700)
    parts = micro_batches(network)[:2]
    for name, tensor in summed(network, mechanism_of(clip_norm=1.0), parts).items():
        torch.testing.assert_close(tensor, parts[0][name] + parts[1][name])


def test_a_loss_that_is_no_number_names_the_step(network: nn.Module, mechanism_of: MechanismOf) -> None:
    total = Total(network, mechanism_of(), 5, 1)
    part = Clipped(gradients=micro_batches(network)[0], norms=None, losses=torch.tensor([1.0, math.nan]))
    with pytest.raises(DpauditError, match="step 5: the loss is nan"):
        total.add(0, part)
