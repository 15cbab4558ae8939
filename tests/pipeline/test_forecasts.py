"""A dry run: the published numbers of a recipe on any machine, without data, and estimates that say what they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

import dpaudit
from dpaudit.dp.tensors import trainable
from dpaudit.errors import InputError
from dpaudit.results import Guarantee
from dpaudit.rng import Rng
from dpaudit.trainers.vip import ViP
from dpaudit.training.footprint import activation_bytes, model_bytes, optimizer_bytes, shapes_only

if TYPE_CHECKING:
    from pathlib import Path

#: millions of parameters without position tables (reference table of ViP's sizes)
PUBLISHED = {"nano": 18.6, "tiny": 34.8, "small": 61.6, "base": 99.1, "large": 316.6}


@pytest.mark.parametrize("size", PUBLISHED)
def test_sizes_of_vip_are_the_published_ones(size: str) -> None:
    model = shapes_only(ViP(size=size, train_positions=False))
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}
    assert sum(each.numel() for each in trainable(model).values()) / 1e6 == pytest.approx(PUBLISHED[size], abs=0.06)


def test_bytes_are_those_of_a_real_step() -> None:
    trainer = ViP()
    real, shapes = trainer.build(Rng.from_seed(0)), shapes_only(trainer)
    assert model_bytes(shapes) == sum(4 * tensor.numel() for tensor in real.state_dict().values())
    parameters = list(trainable(real).values())
    optimizer = trainer.optimizer(parameters, 10)
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    state = sum(each.numel() * each.element_size() for kept in optimizer.state.values() for each in kept.values())
    assert optimizer_bytes(trainer.optimizer(list(trainable(shapes).values()), 10)) == state
    kept = 4 * trainer.architecture.tokens * 3 * trainer.patch_size**2  # the least: the error of every patch
    assert kept < activation_bytes(trainer, shapes) < 1000 * kept


def test_activations_grow_with_the_model() -> None:
    small, large = (ViP(image_size=side) for side in (16, 32))
    assert activation_bytes(large, shapes_only(large)) > 3 * activation_bytes(small, shapes_only(small))


@pytest.fixture
def quick_accountants(monkeypatch: pytest.MonkeyPatch) -> None:
    def guarantees(_: object, delta: float) -> tuple[Guarantee, ...]:
        return (Guarantee(accountant="PLD", epsilon=1.0, delta=delta, adjacency="add-remove"),)

    monkeypatch.setattr("dpaudit.pipeline.forecasts.guarantees", guarantees)


def test_the_published_vip_has_its_published_epsilon() -> None:
    found = dpaudit.forecast("vip-paper")
    epsilons = {each.accountant: each.epsilon for each in found.guarantees}
    assert epsilons["RDP"] == pytest.approx(7.99, abs=0.005)
    assert epsilons["PLD"] == pytest.approx(6.83, abs=0.005)
    assert found.promise.delta == 1 / (2 * 233_804_767)
    assert found.mechanism.sampling_rate == 98_304 / 233_804_767
    assert (found.mechanism.noise_multiplier, found.mechanism.steps, found.mechanism.clip_norm) == (0.48, 6000, 0.1)
    assert found.parameters / 1e6 == pytest.approx(99.1 + 0.25, abs=0.06)
    assert [(stage.steps, stage.hours) for stage in found.stages] == [(102_500, None), (6000, None)]


@pytest.mark.usefixtures("quick_accountants")
def test_memory_follows_the_recipe(tiny: tuple[str, ...]) -> None:
    plain = dpaudit.forecast("quickstart", overrides=tiny).stages[0].memory
    kept, trained = plain.per_record, plain.weights
    assert kept is not None
    assert plain.total == plain.weights + plain.optimizer + plain.gradients + 32 * kept
    half = dpaudit.forecast("quickstart", overrides=[*tiny, "privacy.physical_batch_size=16"]).stages[0].memory
    assert (half.records, half.gradients - plain.gradients) == (16, trained)
    functional = dpaudit.forecast("quickstart", overrides=[*tiny, "privacy.engine=functional"]).stages[0].memory
    assert functional.per_record == kept // 2 + trained
    averaged = dpaudit.forecast("quickstart", overrides=[*tiny, "weights.ema_decay=0.9"])
    assert averaged.stages[0].memory.average == trained


@pytest.mark.usefixtures("quick_accountants")
def test_a_simulation_is_said_to_promise_nothing() -> None:
    found = dpaudit.forecast("quickstart", simulate_batch=16)
    assert (found.recipe, found.promise.kind, found.guarantees) == ("quickstart-simulated", "none", ())


def test_without_data_the_recipe_must_say_how_many_there_are(tmp_path: Path) -> None:
    recipe = tmp_path / "far.yaml"
    recipe.write_text(
        "name: far\ndata: {name: folder, path: nowhere}\ntrainer: vip\n"
        "privacy: {noise_multiplier: 1, clip_norm: 1, batch_size: 10, steps: 5}\n"
    )
    with pytest.raises(InputError, match=r"data\.path.* = 'nowhere': .*or give data\.expected_size"):
        dpaudit.forecast(recipe)
    found = dpaudit.forecast(recipe, overrides=["data.expected_size=1000", "data.split.probe_test=100"])
    assert found.mechanism.dataset_size == 900


@pytest.mark.usefixtures("quick_accountants")
def test_measured_hours_are_of_both_stages(tiny: tuple[str, ...]) -> None:
    start = "start={pretrain: {data: {name: procedural, size: 40}, batch_size: 8, steps: 300}}"
    found = dpaudit.forecast("quickstart", overrides=[*tiny, start, "references.count=1"], measure=True)
    public, private = found.stages
    assert (public.times, private.times) == (1, 2)
    assert public.source.startswith("measured: 4 steps of ")
    assert public.hours is not None
    assert private.hours is not None


@pytest.mark.usefixtures("quick_accountants")
def test_a_model_that_reads_its_numbers_cannot_be_built_without_them(
    tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    build = ViP.build
    with monkeypatch.context() as patch:
        patch.setattr(ViP, "losses", lambda *given: torch.ones(2) * float(given[2]["images"].sum()))
        memory = dpaudit.forecast("quickstart", overrides=tiny).stages[0].memory
        assert (memory.per_record, memory.total) == (None, None)
        assert memory.weights > 0
    monkeypatch.setattr(ViP, "build", lambda self, rng: [build(self, rng), torch.ones(1).item()][0])
    with pytest.raises(InputError, match=r"trainer.name = 'vip': expected a trainer that builds its model without"):
        dpaudit.forecast("quickstart", overrides=tiny)
