"""DP-Cap: a loss that is a sum over image-caption pairs, one gradient from every engine, and a model that learns."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter

from dpaudit.data.captions import drawn_captions
from dpaudit.data.scenes.source import Scenes
from dpaudit.data.tokens.words import SCENES
from dpaudit.dp.engines import engine
from dpaudit.errors import InputError
from dpaudit.plugins import CaptionLikelihood, Captions, PerExampleTrainer
from dpaudit.rng import Rng
from dpaudit.trainers.dp_cap import DPCap
from dpaudit.trainers.vip import ViP
from dpaudit.training.rehearsal import Rehearsal
from dpaudit.training.sensitivity import rehearsed_records, replay_trainer

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from dpaudit.data.examples import Examples

KEY = Rng.from_seed(5)
PUBLISHED_COUNTS = {"nano": 20.8, "tiny": 59.4, "small": 115.7, "base": 189.8, "large": 407.4}


def micro(**options: Any) -> DPCap:
    defaults: dict[str, Any] = {"tokenizer": "scenes", "context": 24}
    return DPCap(**(defaults | options))


def scenes(n: int, size: int = 16) -> Examples:
    source = Scenes(size=max(n, 1), image_size=size)
    return source[source.ids()[:n]]


def test_it_is_a_per_example_trainer_that_captions() -> None:
    for protocol in (PerExampleTrainer, Captions, CaptionLikelihood):
        assert isinstance(micro(), protocol)
    assert micro().modality == {"image", "caption"}


def test_options_are_validated_from_plain_values() -> None:
    options = {"size": "tiny", "warmup": 10, "betas": [0.8, 0.9]}
    trainer = TypeAdapter(DPCap).validate_python(options)
    assert (trainer.image_size, trainer.patch_size, trainer.context, trainer.betas) == (224, 16, 40, (0.8, 0.9))
    assert (DPCap().image_size, DPCap().patch_size, DPCap().context) == (16, 4, 16)


@pytest.mark.parametrize(
    ("field", "options", "expected"),
    [
        ("size", {"size": "smal"}, "nearest: small"),
        ("tokenizer", {"tokenizer": "clip"}, "clip-bpe, scenes, words: and the words, or the path"),
        ("features", {"features": "block"}, "memory or blocks"),
        ("tokenizer", {"tokenizer": "words: cat Dog"}, "one lower-case word"),
        ("image_size", {"image_size": 18}, "multiple of patch_size = 4"),
        ("patch_size", {"patch_size": -4}, "positive"),
        ("context", {"context": 2}, "at least 3"),
        ("smallest_crop", {"smallest_crop": 0.0}, "above 0"),
        ("smallest_crop", {"smallest_crop": math.nan}, "above 0"),
        ("peak_learning_rate", {"peak_learning_rate": math.inf}, "positive"),
        ("betas", {"betas": (0.9, 1.0)}, "in \\[0, 1\\)"),
        ("weight_decay", {"weight_decay": -1.0}, "not negative"),
        ("warmup", {"warmup": -1}, "0 or more"),
        ("cosine_steps", {"cosine_steps": 15}, "more than warmup = 15"),
    ],
)
def test_bad_options_are_named(field: str, options: dict[str, Any], expected: str) -> None:
    with pytest.raises(InputError, match=f"^{field} = .*{expected}"):
        micro(**options)


@pytest.mark.parametrize("size", PUBLISHED_COUNTS)
def test_sizes_are_the_published_ones_with_berts_vocabulary(size: str, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = micro(size=size, context=0)
    monkeypatch.setitem(trainer.__dict__, "words", dataclasses.replace(SCENES, words=_words(30_522)))
    with torch.device("meta"):
        model = trainer.build(KEY)
    count = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    assert count / 1e6 == pytest.approx(PUBLISHED_COUNTS[size], abs=0.05)


def _words(vocabulary: int) -> tuple[str, ...]:
    return tuple(f"w{number}" for number in range(vocabulary - 4))


def test_a_tied_vocabulary_is_one_matrix_less() -> None:
    untied, tied = (micro(tied_vocabulary=tied).build(KEY) for tied in (False, True))
    counts = [sum(parameter.numel() for parameter in model.parameters()) for model in (untied, tied)]
    assert counts[0] - counts[1] == SCENES.vocabulary * 64


def test_targets_are_the_tokens_that_follow_and_nothing_behind_the_end() -> None:
    records = scenes(6)
    batch = micro().collate(records, KEY)
    for row, caption in enumerate(records.captions or ()):
        pieces = SCENES.pieces(caption)
        length = len(pieces) + 1
        assert batch["tokens"][row, :length].tolist() == [SCENES.start, *pieces]
        assert batch["targets"][row].tolist() == [*pieces, SCENES.end] + [-100] * (23 - length)
    assert batch["tokens"].shape == (6, 23)


def test_a_longer_caption_is_cut_and_ends() -> None:
    batch = micro(context=5).collate(scenes(4), KEY)
    assert batch["targets"][:, -1].tolist() == [SCENES.end] * 4


def test_records_without_captions_are_named() -> None:
    records = scenes(2)
    with pytest.raises(InputError, match="captions = None: expected data with captions"):
        micro().collate(dataclasses.replace(records, captions=None), KEY)
    with pytest.raises(InputError, match="caption of scene/1 = ' ': expected text"):
        micro().collate(dataclasses.replace(records, captions=("a ring", "  ")), KEY)
    with pytest.raises(InputError, match=r"images = \(2, 3, 8, 8\)"):
        micro().collate(scenes(2, size=8), KEY)


def test_without_crops_nothing_is_random_and_with_them_it_is_keyed_by_record() -> None:
    records, some = scenes(20), np.array([17, 3, 8])
    plain = micro().collate(records, KEY)
    assert torch.equal(plain["images"], micro().collate(records, KEY.child("next step"))["images"])
    trainer = micro(smallest_crop=0.2, flip=True)
    whole = trainer.collate(records, KEY)
    for name, rows in trainer.collate(records.take(some), KEY).items():
        assert torch.equal(rows, whole[name][torch.from_numpy(some)]), name
    assert not torch.equal(whole["images"], trainer.collate(records, KEY.child("next step"))["images"])
    assert not torch.equal(whole["images"], plain["images"])


def test_the_loss_is_the_mean_over_the_captions_own_tokens() -> None:
    trainer, records = micro(), scenes(5)
    model, batch = trainer.build(KEY), trainer.collate(scenes(5), KEY)
    with torch.no_grad():
        losses = trainer.losses(model, batch)
        for row, caption in enumerate(records.captions or ()):
            told = [SCENES.start, *SCENES.pieces(caption), SCENES.end]
            errors = []
            for place in range(1, len(told)):
                logits = model(batch["images"][row : row + 1], torch.tensor([told[:place]]))[0, -1]
                errors.append(-float(logits.log_softmax(0)[told[place]]))
            assert float(losses[row]) == pytest.approx(np.mean(errors), rel=1e-5)


def test_a_loss_depends_on_its_record_alone() -> None:
    trainer = micro()
    model, batch = trainer.build(KEY), trainer.collate(scenes(6), KEY)
    losses = trainer.losses(model, batch)
    for name in batch:
        changed = {key: rows.clone() for key, rows in batch.items()}
        changed[name][3] = batch[name][4] if name != "images" else batch[name][3] + 1
        moved = (trainer.losses(model, changed) - losses).abs()
        assert moved[3] > 1e-4
        assert moved[torch.arange(6) != 3].max() == 0
    rows = [{name: tensor[i : i + 1] for name, tensor in batch.items()} for i in range(6)]
    torch.testing.assert_close(torch.cat([trainer.losses(model, row) for row in rows]), losses)


def test_an_empty_batch_has_no_losses() -> None:
    trainer = micro(smallest_crop=0.2)
    assert trainer.losses(trainer.build(KEY), trainer.collate(scenes(0), KEY)).shape == (0,)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("name", ["functional", "bookkeeping"])
def test_engines_give_the_gradients_of_a_one_example_loop(name: str, tied: bool) -> None:
    trainer = micro(tied_vocabulary=tied)
    model, batch = trainer.build(KEY), trainer.collate(scenes(7), KEY)
    fast, slow = (engine(each)(model, trainer.losses, batch, 4.0) for each in (name, "loop"))
    assert fast.norms is not None
    assert slow.norms is not None
    torch.testing.assert_close(fast.norms, slow.norms, rtol=1e-4, atol=1e-5)
    assert fast.norms.min() > 4  # all are clipped
    largest = max(float(gradient.abs().max()) for gradient in slow.gradients.values())
    assert set(fast.gradients) == {name for name, p in model.named_parameters() if p.requires_grad}
    for parameter, gradient in slow.gradients.items():
        assert float((fast.gradients[parameter] - gradient).abs().max()) < 2e-5 * largest, parameter


def test_the_sum_does_not_depend_on_the_order_of_records() -> None:
    trainer, records = micro(smallest_crop=0.5), scenes(9)
    model, order = trainer.build(KEY), np.random.default_rng(0).permutation(9)
    sums = [
        engine("bookkeeping")(model, trainer.losses, trainer.collate(each, KEY), 1.0).gradients
        for each in (records, records.take(order))
    ]
    for name, gradient in sums[0].items():
        torch.testing.assert_close(sums[1][name], gradient, rtol=1e-4, atol=1e-5)


def test_each_step_reads_one_of_a_records_captions() -> None:
    trainer, source = micro(), Scenes(size=40, image_size=16, every_caption=True)
    records = source[source.ids()]
    batches = [trainer.collate(records, KEY.child(step)) for step in range(8)]
    read = [drawn_captions(KEY.child(step), records) for step in range(8)]
    for batch, captions in zip(batches, read, strict=True):
        said = trainer.collate(dataclasses.replace(records, captions=captions, other_captions=None), KEY)
        assert torch.equal(batch["tokens"], said["tokens"])
        assert torch.equal(batch["targets"], said["targets"])
        assert len(batch["tokens"]) == len(records)  # a record counts once, however much is said of it
    assert len({captions[0] for captions in read}) > 1


def test_record_and_replay_holds_a_record_with_several_captions_to_one_contribution() -> None:
    source = Scenes(size=2, image_size=16, every_caption=True)
    rehearsal = Rehearsal(trainer=micro(), clip_norm=1.0, rng=KEY)
    premise = replay_trainer(rehearsal, source[source.ids()]).assumption()
    assert premise.status == "held", premise.evidence


def test_losses_are_the_same_bit_for_bit_each_time() -> None:
    trainer, records = micro(smallest_crop=0.3, flip=True), scenes(8)
    runs = [trainer.losses(trainer.build(KEY), trainer.collate(records, KEY)) for _ in range(2)]
    assert torch.equal(*runs)


def test_record_and_replay_confirms_the_declared_sensitivity() -> None:
    rehearsal = Rehearsal(trainer=micro(smallest_crop=0.5), clip_norm=1.0, rng=KEY)
    premise = replay_trainer(rehearsal, rehearsed_records(scenes(2), KEY)).assumption()
    assert premise.status == "held", premise.evidence


def test_learning_rate_is_a_ramp_and_then_a_half_cosine() -> None:
    trainer = micro(peak_learning_rate=5.12e-4, warmup=2000, cosine_steps=10_000)
    assert trainer.learning_rate(999, 5708) == pytest.approx(2.56e-4)
    assert trainer.learning_rate(5707, 5708) == pytest.approx(0.557 * 5.12e-4, rel=1e-3)
    assert micro(warmup=10).learning_rate(55, 100) == pytest.approx(micro().peak_learning_rate / 2)


def test_the_optimizer_is_adamw_with_decay_on_every_tensor() -> None:
    trainer = micro(weight_decay=0.5, peak_learning_rate=0.1, warmup=0)
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = trainer.optimizer([weight], steps=10)
    weight.grad = torch.tensor([1.0, -2.0, 0.0])
    optimizer.step()
    np.testing.assert_allclose(weight.detach().numpy(), [0.85, 1.05, 0.95], atol=1e-6)


@pytest.fixture(scope="module")
def taught() -> tuple[DPCap, torch.nn.Module, Examples]:
    """A model that knows eight scenes by heart."""
    trainer, records = micro(peak_learning_rate=4e-3, warmup=10), scenes(8)
    model, batch = trainer.build(KEY), trainer.collate(records, KEY)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = trainer.optimizer(parameters, steps=150)
    for step in range(150):
        optimizer.param_groups[0]["lr"] = trainer.learning_rate(step, 150)
        loss = trainer.losses(model, batch).mean()
        for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
            parameter.grad = gradient
        optimizer.step()
    return trainer, model, records


@pytest.mark.parametrize("beams", [1, 3])
def test_a_taught_model_says_the_captions(taught: tuple[DPCap, torch.nn.Module, Examples], beams: int) -> None:
    trainer, model, records = taught
    assert trainer.caption(model, torch.from_numpy(records.images), beams) == list(records.captions or ())


def test_a_taught_model_finds_the_true_caption_likeliest(taught: tuple[DPCap, torch.nn.Module, Examples]) -> None:
    trainer, model, records = taught
    images, captions = torch.from_numpy(records.images), records.captions or ()
    true = trainer.caption_likelihoods(model, images, captions)
    wrong = trainer.caption_likelihoods(model, images, [*captions[1:], captions[0]])
    assert (true.total > wrong.total + 1).all()
    losses = trainer.losses(model, trainer.collate(records, KEY))
    torch.testing.assert_close(true.per_token, -losses.detach(), rtol=1e-4, atol=1e-5)
    assert true.counts.tolist() == [len(SCENES.pieces(caption)) + 1 for caption in captions]


def test_beams_are_counted_from_one() -> None:
    with pytest.raises(InputError, match="beams = 0: expected 1"):
        micro().caption(micro().build(KEY), torch.zeros(1, 3, 16, 16, dtype=torch.uint8), 0)


def test_features_are_the_mean_of_what_the_decoder_reads(taught: tuple[DPCap, torch.nn.Module, Examples]) -> None:
    trainer, model, records = taught
    images = torch.from_numpy(records.images)
    features = trainer.embed(model, images)
    memory: Tensor = model.memory(trainer.collate(records, KEY)["images"])  # type: ignore[operator]  # a Module's attribute
    torch.testing.assert_close(features, memory.mean(1))
    assert features.shape == (8, 64)


def test_features_of_the_blocks_are_those_of_the_vip_that_it_began_at() -> None:
    start = ViP(qkv_bias=False)
    other = start.build(KEY)
    trainer = DPCap(tokenizer="scenes", features="blocks")
    model = trainer.build(Rng.from_seed(9))
    images = torch.randint(0, 256, (5, 3, 16, 16), dtype=torch.uint8)
    assert not torch.allclose(trainer.embed(model, images), start.embed(other, images))
    trainer.take_over(model, other)
    torch.testing.assert_close(trainer.embed(model, images), start.embed(other, images))
    assert trainer.embed(model, images).shape == (5, 3 * 64)


def test_a_declared_vocabulary_builds_without_the_folder_and_must_be_right(tmp_path: Path) -> None:
    absent = DPCap(tokenizer=str(tmp_path / "nowhere"), vocabulary=30_522)
    with torch.device("meta"):
        model = absent.build(Rng.from_seed(0))
    assert 30_522 in {tensor.shape[0] for tensor in model.state_dict().values() if tensor.ndim}
    with pytest.raises(InputError, match="nowhere"):
        _ = absent.words
    with pytest.raises(InputError, match="vocabulary = 7"):
        _ = DPCap(tokenizer="scenes", vocabulary=7).words
    with pytest.raises(InputError, match="vocabulary = -1"):
        DPCap(vocabulary=-1)
