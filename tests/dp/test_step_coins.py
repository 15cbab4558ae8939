"""A trainer of whole batches in a step, and the record that each step's own coin puts in."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from dpaudit.bounds.guesses import Guesses
from dpaudit.bounds.one_run_fdp import FdpRecursion
from dpaudit.bounds.tradeoff import Gaussian
from dpaudit.dp.loop import loop_sum
from dpaudit.dp.step import DpStep
from dpaudit.dp.step_coins import StepCoins, seen, step_ids
from dpaudit.dp.whole_batch import WholeBatch
from dpaudit.errors import DpauditError, InputError
from dpaudit.mechanism import Mechanism
from dpaudit.rng import Rng

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dpaudit.dp.tensors import Batch, Gradients

ROOT = Rng.from_seed(71)
RECORDS = torch.from_numpy(np.random.default_rng(2).normal(size=(12, 3))).float()
CLIP = 0.5


def mechanism(steps: int, noise: float = 1.0, clip: float = CLIP) -> Mechanism:
    return Mechanism(
        sampling="poisson",
        adjacency="add-remove",
        noise_multiplier=noise,
        sampling_rate=0.25,
        steps=steps,
        clip_norm=clip,
        batch_size=3,
        dataset_size=12,
    )


def model() -> nn.Module:
    made = nn.Linear(3, 2, bias=False)
    with torch.no_grad():
        made.weight.copy_(torch.tensor([[1.0, 2.0, -1.0], [0.5, 0.0, 1.0]]))
    return made


def load(positions: NDArray[np.int64]) -> Batch:
    return {"x": RECORDS[positions]}


def apart(net: nn.Module, batch: Batch) -> Tensor:
    values: Tensor = net(batch["x"]).square().sum(1)
    return values - values.mean() / 2


def whole_sum(net: nn.Module, batch: Batch, clip: float) -> Gradients:
    gradient = torch.autograd.grad(apart(net, batch).sum(), [net.get_parameter("weight")])[0]
    return {"weight": gradient * min(1.0, clip / float(gradient.norm()))}


def turned(_step: int, _model: nn.Module, _batch: Batch | None, _base: Gradients | None) -> tuple[Gradients, Gradients]:
    """Return the sums of two batches that point in opposite directions, 2 C apart."""
    low = torch.zeros(2, 3)
    low[0, 1] = CLIP
    return {"weight": low}, {"weight": -low}


def step_of(steps: int, *, unit: float | None = None, coins: NDArray[np.bool_] | None = None, **changes: Any) -> DpStep:
    inserted = None if coins is None else StepCoins(family="steps", members=coins, neighbours=turned)
    return DpStep(
        mechanism=changes.pop("mechanism", None) or mechanism(steps),
        members=np.ones(12, dtype=np.bool_),
        sampling=changes.pop("sampling", ROOT.child("sampling")),
        noise=changes.pop("noise", ROOT.child("noise")),
        whole=changes.pop("whole", WholeBatch(bounded_sum=whole_sum)),
        noise_unit=unit,
        inserted=inserted,
        **changes,
    )


def fair(count: int, rng: Rng) -> NDArray[np.bool_]:
    return np.asarray(rng.numpy().random(count) < 0.5)


@pytest.mark.parametrize("unit", [None, 0.25, 2.0])
def test_noise_has_the_scale_of_the_unit(unit: float | None) -> None:
    steps, net = 300, model()
    step = step_of(steps, unit=unit)
    rows = [step(index, net, load).row for index in range(steps)]
    assert {row.noise_std for row in rows} == {CLIP if unit is None else unit}
    total, count = sum(row.noise_sum_of_squares for row in rows), sum(row.noise_count for row in rows)
    p_value = 2 * min(
        stats.chi2.cdf(total / rows[0].noise_std ** 2, count), stats.chi2.sf(total / rows[0].noise_std ** 2, count)
    )
    assert p_value > 1e-3
    assert {(row.clipped_fraction, row.max_clipped_norm) for row in rows} == {(None, None)}


def test_a_step_releases_the_bounded_sum_of_its_whole_batch_over_the_public_divisor() -> None:
    quiet = step_of(40, mechanism=mechanism(40, noise=0.0), micro_batch=1)
    net, sizes = model(), set()
    for index in range(40):
        drawn = quiet.drawn(index)
        release = quiet(index, net, load)
        sizes.add(len(drawn))
        expected = whole_sum(net, load(drawn), CLIP)["weight"] / 3 if len(drawn) else torch.zeros(2, 3)
        assert torch.allclose(release.gradients["weight"], expected)
        assert release.row.drawn == len(drawn)
    assert {0, 1} <= sizes


def test_without_a_clip_norm_it_is_the_plain_gradient() -> None:
    free, net = step_of(3, mechanism=mechanism(3, noise=0.0, clip=math.inf)), model()
    index = next(index for index in range(3) if len(free.drawn(index)) > 1)
    batch = load(free.drawn(index))
    gradient = torch.autograd.grad(apart(net, batch).sum(), [net.get_parameter("weight")])[0]
    assert float(gradient.norm()) > 1
    assert torch.allclose(free(index, net, load).gradients["weight"], gradient / 3)


def test_the_loss_of_the_ledger_is_the_mean_of_the_records() -> None:
    step, net = step_of(1, whole=WholeBatch(bounded_sum=whole_sum, record_losses=apart)), model()
    with torch.no_grad():
        expected = float(apart(net, load(step.drawn(0))).double().mean())
    assert step(0, net, load).row.loss == pytest.approx(expected)


@pytest.mark.parametrize(
    ("sums", "words"),
    [
        (lambda *_: {}, "differ in: weight"),
        (lambda *_: {"weight": torch.zeros(3, 2)}, "has shape"),
        (lambda *_: {"weight": torch.full((2, 3), torch.nan)}, "not finite"),
    ],
)
def test_a_sum_that_is_none_is_refused_with_the_step(sums: Any, words: str) -> None:
    step = step_of(1, whole=WholeBatch(bounded_sum=sums))
    with pytest.raises(DpauditError, match=f"step 0: .*{words}"):
        step(0, model(), load)


def test_the_coin_of_a_step_chooses_between_its_neighbours_and_nothing_else() -> None:
    coins = np.array([False, True, True, False])
    quiet = step_of(4, mechanism=mechanism(4, noise=0.0), coins=coins)
    for index, coin in enumerate(coins):
        release = quiet(index, model(), load)
        chosen = turned(index, model(), None, None)[int(coin)]["weight"]
        assert torch.allclose(release.gradients["weight"] * 3, chosen)
        assert release.canaries["steps"].tolist() == pytest.approx([2 * CLIP * coin, 2 * CLIP], abs=1e-6)
    with pytest.raises(InputError, match="4, one per step"):
        step_of(4, mechanism=mechanism(4), coins=coins[:2])


def test_what_is_seen_is_the_place_on_the_line_between_the_two_sums() -> None:
    first, second = (
        {"a": torch.tensor([1.0, 0.0]), "b": torch.tensor([2.0])},
        {
            "a": torch.tensor([1.0, 3.0]),
            "b": torch.tensor([6.0]),
        },
    )
    released = {"a": torch.tensor([7.0, 1.5]), "b": torch.tensor([1.0])}
    along, distance = seen((first, second), released, 2).tolist()
    assert distance == pytest.approx(5.0)
    assert along == pytest.approx((3.0 * 3 + (2.0 - 2) * 4) / 5)
    assert seen((first, first), released, 2).tolist() == [0.0, 0.0]


def test_what_is_seen_has_the_law_that_scores_rely_on() -> None:
    steps = 400
    coins, net = fair(steps, ROOT.child("law")), model()
    step = step_of(steps, unit=2 * CLIP, coins=coins)
    along, distance = np.stack([step(index, net, load).canaries["steps"] for index in range(steps)]).T
    assert np.allclose(distance, 2 * CLIP)
    standard = (along - coins * distance) / (2 * CLIP)
    assert stats.kstest(standard, "norm").pvalue > 1e-3
    assert abs(np.corrcoef(standard, coins)[0, 1]) < 0.2


def test_a_picture_adds_its_clipped_gradient_to_a_sum_of_records() -> None:
    row = {"x": torch.tensor([[30.0, -20.0, 10.0]])}

    def losses(net: nn.Module, batch: Batch) -> Tensor:
        values: Tensor = net(batch["x"]).square().sum(1)
        return values

    def with_row(_: int, net: nn.Module, __: Batch | None, base: Gradients | None) -> tuple[Gradients, Gradients]:
        assert base is not None
        record = loop_sum(net, losses, row, CLIP).gradients
        return base, {name: tensor + record[name] for name, tensor in base.items()}

    coins = StepCoins(family="step_records", members=np.array([True]), neighbours=with_row)
    parts: dict[str, Any] = {"mechanism": mechanism(1, noise=0.0), "losses": losses, "whole": None, "engine": loop_sum}
    plain, inserted = step_of(1, **parts), step_of(1, **parts)
    inserted = DpStep(**{**inserted.__dict__, "inserted": coins})
    difference = inserted(0, model(), load).gradients["weight"] - plain(0, model(), load).gradients["weight"]
    assert float(difference.norm()) * 3 == pytest.approx(CLIP, rel=1e-5)


def p_value(steps: int, unit: float, repetition: int, guesses: int) -> float:
    """Return the p-value of one run for the one-step curve of noise multiplier 1; the truth is |difference| = 2 C."""
    root = ROOT.child("repetition", repetition)
    coins, net = fair(steps, root.child("coins")), model()
    step = step_of(steps, unit=unit, coins=coins, sampling=root.child("sampling"), noise=root.child("noise"))
    scores = np.empty(steps)
    for index in range(steps):
        release = step(index, net, load)
        with torch.no_grad():  # later steps see what was released
            net.get_parameter("weight").sub_(0.01 * release.gradients["weight"])
        along, distance = release.canaries["steps"].astype(np.float64)
        scores[index] = distance * (along - distance / 2)
    order, half = np.argsort(scores), guesses // 2
    correct = int((~coins[order[:half]]).sum() + coins[order[steps - half :]].sum())
    return FdpRecursion().p_value(Gaussian(1.0), Guesses(canaries=steps, guesses=2 * half, correct=correct))


def test_the_truth_is_seldom_refuted_and_half_of_it_always() -> None:
    sound = [p_value(300, 2 * CLIP, each, 40) for each in range(8)]
    assert sum(value <= 0.05 for value in sound) <= 2  # 3 or more of 8 have chance 0.006
    assert p_value(1000, CLIP, 1, 200) <= 0.05  # 193 right guesses are needed, 197.9 expected


@pytest.mark.slow
def test_the_truth_is_refuted_as_often_as_is_allowed_at_most() -> None:
    runs = 400
    refuted = sum(p_value(300, 2 * CLIP, each, 40) <= 0.05 for each in range(runs))
    assert stats.binomtest(refuted, runs, 0.05, alternative="greater").pvalue > 1e-3


def test_candidates_are_named_by_their_step() -> None:
    assert step_ids("step_records", 3).tolist() == ["step_records:0", "step_records:1", "step_records:2"]
