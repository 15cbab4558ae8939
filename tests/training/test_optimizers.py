"""Optimizers against torch's own and against a few lines of numpy; the average against its definition."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import dpaudit
from dpaudit.errors import InputError
from dpaudit.optimisation import AdamW, Constant, Cosine, Lars, Sgd
from dpaudit.pipeline.order import open_run
from dpaudit.recipes.recipe import load_recipe
from dpaudit.rng import Rng
from dpaudit.trainers.vip import ViP
from dpaudit.training.attach import released_model
from dpaudit.training.checkpoint import load_model
from dpaudit.training.learner import Learner
from dpaudit.training.optimizers import Average, make_optimizer
from dpaudit.training.optimizers import Lars as LarsOptimizer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from torch.optim import Optimizer

    from dpaudit.optimisation import Optimizer as Settings

STEPS = 7


def start() -> list[nn.Parameter]:
    generator = np.random.default_rng(3)
    return [nn.Parameter(torch.from_numpy(generator.standard_normal(shape))) for shape in ((4, 3), (3,), (2, 2, 2))]


def gradients() -> list[list[Tensor]]:
    generator = np.random.default_rng(4)
    return [[torch.from_numpy(generator.standard_normal(tuple(p.shape))) for p in start()] for _ in range(STEPS)]


def walked(make: Callable[[Sequence[nn.Parameter]], Optimizer], rates: Sequence[float]) -> list[NDArray[np.float64]]:
    """Return the parameters after STEPS steps of an optimizer at these rates."""
    parameters = start()
    optimizer = make(parameters)
    for rate, step in zip(rates, gradients(), strict=True):
        for parameter, gradient in zip(parameters, step, strict=True):
            parameter.grad = gradient.clone()
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
    return [parameter.detach().numpy().copy() for parameter in parameters]


RATES = [0.1, 0.2, 0.2, 0.15, 0.1, 0.05, 0.01]
TORCH: list[tuple[Settings, Callable[..., Optimizer], dict[str, Any]]] = [
    (Sgd(learning_rate=1), torch.optim.SGD, {}),
    (Sgd(learning_rate=1, momentum=0.9, weight_decay=0.1), torch.optim.SGD, {"momentum": 0.9, "weight_decay": 0.1}),
    (AdamW(learning_rate=1), torch.optim.AdamW, {"betas": (0.9, 0.95), "weight_decay": 0.005}),
    (
        AdamW(learning_rate=1, betas=(0.8, 0.99), stability=1e-3, weight_decay=0.3),
        torch.optim.AdamW,
        {"betas": (0.8, 0.99), "eps": 1e-3, "weight_decay": 0.3},
    ),
]


@pytest.mark.parametrize(("settings", "kind", "options"), TORCH)
def test_sgd_and_adamw_are_torchs_own(
    settings: Settings, kind: Callable[..., Optimizer], options: dict[str, Any]
) -> None:
    ours = walked(lambda parameters: make_optimizer(settings, parameters), RATES)
    theirs = walked(lambda parameters: kind(parameters, lr=1.0, **options), RATES)
    other = walked(lambda parameters: torch.optim.SGD(parameters, lr=1.0, momentum=0.5), RATES)
    for mine, torchs, wrong in zip(ours, theirs, other, strict=True):
        np.testing.assert_array_equal(mine, torchs)
        assert not np.allclose(mine, wrong)


def lars_by_hand(rates: Sequence[float], momentum: float, decay: float, trust: float) -> list[NDArray[np.float64]]:
    """Return what algorithm 1 of You et al. gives, loop by loop; vectors are moved as by plain momentum."""
    weights = [parameter.detach().numpy().copy() for parameter in start()]
    velocities = [np.zeros_like(weight) for weight in weights]
    for rate, step in zip(rates, gradients(), strict=True):
        for at, gradient in enumerate(tensor.numpy() for tensor in step):
            weight, local, shrink = weights[at], 1.0, 0.0
            if weight.ndim > 1:
                shrink = decay
                local = (
                    trust
                    * np.sqrt((weight**2).sum())
                    / (np.sqrt((gradient**2).sum()) + decay * np.sqrt((weight**2).sum()))
                )
            velocities[at] = momentum * velocities[at] + rate * local * (gradient + shrink * weight)
            weights[at] = weight - velocities[at]
    return weights


@pytest.mark.parametrize(("momentum", "decay"), [(0.9, 0.0), (0.0, 0.1), (0.9, 0.1)])
def test_lars_is_the_papers_algorithm(momentum: float, decay: float) -> None:
    settings = Lars(learning_rate=1, momentum=momentum, weight_decay=decay, trust=0.02)
    ours = walked(lambda parameters: make_optimizer(settings, parameters), RATES)
    for mine, expected in zip(ours, lars_by_hand(RATES, momentum, decay, 0.02), strict=True):
        np.testing.assert_allclose(mine, expected, rtol=1e-12)


def test_lars_moves_a_matrix_by_a_share_of_its_norm_whatever_the_gradients_length() -> None:
    for length in (1e-6, 1.0, 1e6):
        weight = nn.Parameter(torch.full((5, 5), 3.0))
        weight.grad = torch.eye(5) * length
        LarsOptimizer([weight], lr=2.0, trust=0.01).step()
        moved = torch.linalg.vector_norm(weight.detach() - 3.0) / 15.0
        assert float(moved) == pytest.approx(2.0 * 0.01, rel=1e-4)


def test_lars_leaves_zero_matrices_and_vectors_to_plain_momentum() -> None:
    for weight in (nn.Parameter(torch.zeros(2, 2)), nn.Parameter(torch.ones(3))):
        before = weight.detach().clone()
        weight.grad = torch.ones_like(weight)
        LarsOptimizer([weight], lr=0.5, trust=0.01, weight_decay=0.1 if weight.ndim > 1 else 7.0).step()
        torch.testing.assert_close(weight.detach(), before - 0.5)
    still = nn.Parameter(torch.ones(2, 2))
    still.grad = torch.zeros(2, 2)
    LarsOptimizer([still], lr=0.5).step()
    assert torch.equal(still.detach(), torch.ones(2, 2))


def test_the_average_is_its_definition() -> None:
    model = nn.Linear(1, 1, bias=False)
    model.register_buffer("count", torch.tensor(0))
    average = Average(model, decay=0.3)
    expected = float(model.weight.detach())
    for step in range(6):
        with torch.no_grad():
            model.weight.fill_(step * 1.5)
            model.get_buffer("count").fill_(step)
        average.update(step, model)
        decay = min(0.3, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step * 1.5
        assert float(average.state["weight"]) == pytest.approx(expected, rel=1e-6)
        assert int(average.state["count"]) == step
    assert float(model.weight.detach()) == 7.5


def test_a_learner_follows_the_recipe_and_else_the_trainer() -> None:
    trainer = ViP(peak_learning_rate=2.0, warmup=0)
    setting = "optimizer={name: sgd, learning_rate: 0.4, momentum: 0.5, schedule: {name: cosine, warmup: 2}}"
    model = trainer.build(Rng.from_seed(1))
    own = Learner.of(load_recipe("quickstart").recipe, trainer, 10, model)
    assert isinstance(own.optimizer, torch.optim.AdamW)
    assert own.learning_rate(5) == pytest.approx(1.0)
    assert own.average is None
    named = Learner.of(load_recipe("quickstart", [setting]).recipe, trainer, 10, model)
    assert isinstance(named.optimizer, torch.optim.SGD)
    schedule = Cosine(warmup=2)
    assert [named.learning_rate(t) for t in range(10)] == [0.4 * schedule.factor(t, 10) for t in range(10)]
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    named.learn(0, {name: torch.ones_like(parameter) for name, parameter in model.named_parameters()})
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.detach(), before[name] - 0.4 * Constant(warmup=2).factor(0, 10))


def test_options_of_the_trainers_own_optimizer_are_refused_beside_another(
    tmp_path: Path, tiny: tuple[str, ...]
) -> None:
    overrides = [*tiny, "optimizer={name: sgd, learning_rate: 1}", "trainer.warmup=3"]
    with pytest.raises(InputError, match=r"trainer.warmup = 3: expected not given"):
        dpaudit.train("quickstart", out=tmp_path / "run", overrides=overrides)
    assert not (tmp_path / "run").exists()


def test_an_average_beside_the_training_changes_nothing_in_it() -> None:
    generator = torch.Generator().manual_seed(2)
    models = []
    for setting in ("null", "0.9"):
        generator.manual_seed(2)
        model = ViP().build(Rng.from_seed(1))
        learner = Learner.of(load_recipe("quickstart", [f"weights.ema_decay={setting}"]).recipe, ViP(), 3, model)
        for step in range(3):
            drawn = {name: torch.randn(p.shape, generator=generator) for name, p in model.named_parameters()}
            learner.learn(step, drawn)
        models.append(model)
    for name, tensor in models[0].state_dict().items():
        assert torch.equal(tensor, models[1].state_dict()[name])


def test_the_average_is_kept_and_looked_at_when_asked(tmp_path: Path, tiny: tuple[str, ...]) -> None:
    settings = [*tiny, "privacy.steps=3", "canaries.block=50", "weights.ema_decay=0.9", "weights.evaluate=ema"]
    folder = dpaudit.train("quickstart", out=tmp_path / "run", overrides=settings)
    last, mean = (ViP().build(Rng.from_seed(0)) for _ in range(2))
    load_model(folder / "target-00" / "model.safetensors", last)
    load_model(folder / "target-00" / "ema.safetensors", mean)
    looked_at = released_model(open_run(folder).job("target-00")).state_dict()
    assert all(torch.equal(tensor, looked_at[name]) for name, tensor in mean.state_dict().items())
    assert any(not torch.equal(tensor, looked_at[name]) for name, tensor in last.state_dict().items())
