"""Augmentation multiplicity: the mean of K gradients, clipped once, in every engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dpaudit.data.examples import Examples
from dpaudit.dp.clipping import clip_factors
from dpaudit.dp.engines import ENGINES, engine
from dpaudit.dp.tensors import trainable
from dpaudit.dp.views import Views, viewed, viewed_batch, views_of
from dpaudit.errors import DpauditError, InputError
from dpaudit.rng import Rng
from dpaudit.trainers.vip import ViP

if TYPE_CHECKING:
    from dpaudit.dp.clipping import Losses
    from dpaudit.dp.tensors import Batch, Gradients

RNG = Rng.from_seed(3)
VIEWS = 3


def jittered(rng: Rng) -> Batch:
    """Return five records, each with noise of its own."""
    x = torch.arange(25.0).reshape(5, 5) / 10 + torch.from_numpy(rng.numpy().normal(size=(5, 5))).float()
    return {"x": x, "y": torch.arange(15.0).reshape(5, 3) / 7}


def by_hand(model: nn.Module, losses: Losses, views: list[Batch], clip: float) -> tuple[Gradients, Tensor]:
    """Return the clipped sum and the norms, (n,): a backward pass for every record and view, then mean, then clip."""
    parameters = trainable(model)
    total = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
    norms = []
    for row in range(len(next(iter(views[0].values())))):
        mean = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
        for view in views:
            value = losses(model, {name: tensor[row : row + 1] for name, tensor in view.items()})
            found = torch.autograd.grad(value.sum(), list(parameters.values()))
            mean = {name: mean[name] + part / len(views) for name, part in zip(parameters, found, strict=True)}
        norms.append(torch.sqrt(torch.stack([part.square().sum() for part in mean.values()]).sum()))
        factor = clip_factors(norms[-1].reshape(1), clip)
        total = {name: total[name] + factor * mean[name] for name in total}
    return total, torch.stack(norms)


def close(found: Gradients, wanted: Gradients) -> bool:
    largest = max(float(tensor.abs().max()) for tensor in wanted.values())
    return all(float((found[name] - wanted[name]).abs().max()) <= 1e-5 * largest for name in wanted)


@pytest.mark.parametrize("name", list(ENGINES))
def test_the_gradient_is_the_mean_of_the_views_clipped_once(
    name: str, network: nn.Module, squared_error: Losses
) -> None:
    views = [jittered(RNG.child("view", index)) for index in range(VIEWS)]
    _, norms = by_hand(network, squared_error, views, 1.0)
    clip = float(norms.median())
    wanted, _ = by_hand(network, squared_error, views, clip)
    found = engine(name)(network, viewed(squared_error, VIEWS), viewed_batch(jittered, VIEWS, RNG), clip)
    assert close(found.gradients, wanted)
    assert found.norms is not None
    assert torch.allclose(found.norms, norms, rtol=1e-5)
    assert torch.allclose(found.losses, torch.stack([squared_error(network, view) for view in views]).mean(0))


def test_clipping_every_view_by_itself_is_something_else(network: nn.Module, squared_error: Losses) -> None:
    views = [jittered(RNG.child("view", index)) for index in range(VIEWS)]
    wanted, _ = by_hand(network, squared_error, views, 0.5)
    each = [engine("loop")(network, squared_error, view, 0.5).gradients for view in views]
    assert not close({name: sum(part[name] for part in each) / VIEWS for name in wanted}, wanted)  # type: ignore[misc]  # a sum of tensors


@pytest.mark.parametrize("name", list(ENGINES))
def test_masks_are_views_of_vip(name: str) -> None:
    trainer = ViP()
    images = np.random.default_rng(1).integers(0, 256, size=(3, 3, 16, 16), dtype=np.uint8)
    records = Examples(ids=np.array(["a", "b", "c"]), images=images)
    model = trainer.build(RNG)
    batch = viewed_batch(lambda rng: trainer.collate(records, rng), 2, RNG)
    assert not torch.equal(batch["masked"][:, 0], batch["masked"][:, 1])
    views = [{key: tensor[:, index] for key, tensor in batch.items()} for index in range(2)]
    wanted, norms = by_hand(model, trainer.losses, views, 0.1)
    found = engine(name)(model, viewed(trainer.losses, 2), batch, 0.1)
    assert close(found.gradients, wanted)
    assert found.norms is not None
    assert torch.allclose(found.norms, norms, rtol=1e-4)


def test_one_view_changes_nothing(squared_error: Losses) -> None:
    assert viewed(squared_error, 1) is squared_error
    assert all(torch.equal(tensor, jittered(RNG)[name]) for name, tensor in viewed_batch(jittered, 1, RNG).items())
    assert (views_of(squared_error), views_of(viewed(squared_error, 4))) == (1, 4)


def test_a_batch_of_views_has_them_side_by_side() -> None:
    batch = viewed_batch(jittered, VIEWS, RNG)
    assert (batch["x"].shape, batch["y"].shape) == ((5, VIEWS, 5), (5, VIEWS, 3))
    assert torch.equal(batch["x"][:, 1], jittered(RNG.child("view", 1))["x"])


def test_losses_that_are_not_one_per_view_are_refused(network: nn.Module) -> None:
    mean = Views(lambda _, batch: batch["x"].mean().reshape(1), VIEWS)
    with pytest.raises(DpauditError, match=r"losses of 5 records in 3 views have shape \(1,\), expected \(15,\)"):
        mean(network, viewed_batch(jittered, VIEWS, RNG))


def test_no_view_at_all_is_refused(squared_error: Losses) -> None:
    with pytest.raises(InputError, match="augmentations"):
        Views(squared_error, 0)
