"""The public stage: ordinary mini-batches, every record once an epoch, and the same bits after a stop."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from dpaudit.data.cached import Cached
from dpaudit.data.procedural.source import Procedural
from dpaudit.dp.tensors import trainable
from dpaudit.errors import DpauditError, InputError
from dpaudit.progress import Silent
from dpaudit.recipes.recipe import Pretrain, PublicData, load_recipe
from dpaudit.rng import Rng
from dpaudit.trainers.vip import ViP
from dpaudit.training.pretraining import Epochs, PublicStage, frozen, mean_gradients, pretrain

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

SETTINGS = ("runs.checkpoint_every=2", "privacy.physical_batch_size=5")


def stage(folder: Path, steps: int = 6, **options: Any) -> PublicStage:
    settings = {"optimizer": {"name": "adamw", "learning_rate": 1e-3}, **options}
    asked = {"data": PublicData(name="procedural"), "batch_size": 12, "steps": steps, **settings}
    return PublicStage(
        folder=folder,
        recipe=load_recipe("quickstart", SETTINGS).recipe,
        settings=Pretrain.model_validate(asked),
        trainer=ViP(),
        data=Cached(Procedural(size=30, image_size=16)),
        public=Rng.from_seed(3),
    )


def test_every_record_comes_once_before_any_comes_again() -> None:
    names = np.array([f"record/{number}" for number in range(10)])
    epochs = Epochs(names, Rng.from_seed(0))
    drawn = np.concatenate([epochs.batch(step, 4) for step in range(5)])
    first, second = drawn[:10].tolist(), drawn[10:].tolist()
    assert sorted(first) == sorted(second) == sorted(names.tolist())
    assert first != second
    assert Epochs(names, Rng.from_seed(0)).batch(3, 4).tolist() == drawn[12:16].tolist()


def test_the_gradient_is_that_of_the_mean_loss_whatever_the_micro_batch() -> None:
    trainer = ViP()
    model, data = trainer.build(Rng.from_seed(0)), Procedural(size=7, image_size=16)
    batch = trainer.collate(data[data.ids()], Rng.from_seed(1))
    loss = trainer.losses(model, batch).mean()
    wanted = torch.autograd.grad(loss, list(trainable(model).values()))
    for micro_batch in (2, 7, 100):
        total, found = mean_gradients(model, trainer, batch, micro_batch)
        assert total == pytest.approx(loss.item(), rel=1e-5)
        for gradient, right in zip(found.values(), wanted, strict=True):
            torch.testing.assert_close(gradient, right, rtol=1e-4, atol=1e-6)


def test_it_learns_and_a_stopped_stage_goes_on_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, cut = stage(tmp_path / "whole", 24), stage(tmp_path / "cut", 24)
    losses, _ = pretrain(whole, Silent())
    assert np.mean(losses[-4:]) < 0.9 * np.mean(losses[:4])

    calls, real = iter(range(11)), ViP.collate

    def collate(*given: Any) -> Any:
        if next(calls, None) is None:
            raise KeyboardInterrupt
        return real(*given)

    with monkeypatch.context() as patch:
        patch.setattr(ViP, "collate", collate)
        with pytest.raises(KeyboardInterrupt):
            pretrain(cut, Silent())
    again, _ = pretrain(cut, Silent())
    assert len(again) == 24
    assert again == pytest.approx(losses, abs=1e-6)
    one, other = (load_file(each.folder / "model.safetensors") for each in (whole, cut))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_frozen_modules_stay_as_drawn(tmp_path: Path) -> None:
    asked = stage(tmp_path, 2, frozen=("encoder.positions", "decoder"))
    before = asked.model().state_dict()
    pretrain(asked, Silent())
    after = load_file(tmp_path / "model.safetensors")
    same = {name for name in before if torch.equal(before[name], after[name])}
    kept = {name for name in before if name.startswith(("encoder.positions.", "decoder."))}
    assert same >= kept
    assert "encoder.embed.weight" not in same


def test_a_frozen_module_that_is_not_there_is_named() -> None:
    with pytest.raises(InputError, match=r"start.pretrain.frozen.1 = 'postions': .* such as encoder, decoder"):
        frozen(ViP().build(Rng.from_seed(0)), ("encoder", "postions"))


def test_a_loss_that_is_no_number_stops_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def losses(_: ViP, model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        nothing: torch.Tensor = model.encoder.embed.weight.sum() * torch.full((len(batch["images"]),), np.nan)
        return nothing

    monkeypatch.setattr(ViP, "losses", losses)
    with pytest.raises(DpauditError, match="the loss of step 0 is nan"):
        pretrain(stage(tmp_path), Silent())
