"""DP-CLIP: the clipped gradient of a whole batch, what one pair can do to it, and groups that a pair cannot leave."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import open_clip
import pytest
import torch
from pydantic import TypeAdapter
from torch.nn.functional import cross_entropy, normalize

from dpaudit.data.scenes.source import Scenes
from dpaudit.errors import InputError
from dpaudit.mechanism import Adjacency
from dpaudit.models.contrastive import contrastive
from dpaudit.plugins import BatchTrainer, DeclaresUnsound, EmbedsText, PerExampleTrainer, RecordLosses, StepCanary
from dpaudit.rng import Rng
from dpaudit.trainers.dp_clip import DPClip
from dpaudit.training.rehearsal import Rehearsal
from dpaudit.training.sensitivity import rehearsed_records, replay_trainer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

    from dpaudit.data.examples import Examples

KEY = Rng.from_seed(5)
ADJACENCIES = get_args(Adjacency)


def micro(**options: Any) -> DPClip:
    return DPClip(**({"tokenizer": "scenes"} | options))


def scenes(n: int, first: int = 0) -> Examples:
    source = Scenes(size=first + max(n, 1), image_size=16)
    return source[source.ids()[first : first + n]]


def distance(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> float:
    return math.sqrt(sum(float((first[name] - second[name]).double().square().sum()) for name in first))


def length(gradients: Mapping[str, Tensor]) -> float:
    return distance(gradients, {name: torch.zeros_like(gradient) for name, gradient in gradients.items()})


def plain_gradient(model: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the gradient of symmetric InfoNCE as it is written in the CLIP paper."""
    towers = contrastive(model)
    images = normalize(towers.encode_image(batch["images"]), dim=1)
    texts = normalize(towers.encode_text(batch["tokens"]), dim=1)
    logits = towers.logit_scale.exp() * images @ texts.T
    target = torch.arange(len(logits))
    loss = (cross_entropy(logits, target) + cross_entropy(logits.T, target)) / 2
    parameters = {name: each for name, each in model.named_parameters() if each.requires_grad}
    return dict(zip(parameters, torch.autograd.grad(loss, list(parameters.values())), strict=True))


def assert_close(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], factor: float = 1.0) -> None:
    assert found.keys() == wanted.keys()
    largest = max(float(gradient.abs().max()) for gradient in wanted.values()) * factor
    for name, gradient in wanted.items():
        assert float((found[name] - factor * gradient).abs().max()) < 1e-5 * largest, name


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return micro().build(KEY)


def test_it_couples_records_and_embeds_text() -> None:
    for protocol in (BatchTrainer, EmbedsText, RecordLosses, DeclaresUnsound, StepCanary):
        assert isinstance(micro(), protocol)
    assert not isinstance(micro(), PerExampleTrainer)
    assert micro().modality == {"image", "caption"}


@pytest.mark.parametrize("micro_batch", [4, 7, 256])
def test_a_batch_in_parts_has_the_gradient_of_the_whole(model: nn.Module, micro_batch: int) -> None:
    trainer = micro(micro_batch=micro_batch)
    batch = trainer.collate(scenes(16), KEY)
    wanted = plain_gradient(model, batch)
    assert_close(trainer.bounded_sum(model, batch, 1e6), wanted, factor=16.0)
    assert_close(trainer.bounded_sum(model, batch, math.inf), wanted, factor=16.0)
    assert_close(trainer.bounded_sum(model, batch, 0.25), wanted, factor=0.25 / length(wanted))


def test_groups_are_clipped_one_by_one(model: nn.Module) -> None:
    trainer = micro(groups=4)
    batch = trainer.collate(scenes(24), KEY)
    total = {name: torch.zeros_like(each) for name, each in model.named_parameters()}
    for group in range(4):
        part = {name: rows[batch["group"] == group] for name, rows in batch.items()}
        gradient = plain_gradient(model, part)
        for name in total:
            total[name] += gradient[name] * len(part["group"]) * min(1.0, 25 / len(part["group"]) / length(gradient))
    assert_close(trainer.bounded_sum(model, batch, 25.0), total)


def test_a_pair_alone_and_an_empty_group_give_nothing(model: nn.Module) -> None:
    for trainer in (micro(), micro(groups=50)):
        assert length(trainer.bounded_sum(model, trainer.collate(scenes(1), KEY), 1.0)) == 0
    crowd = micro(groups=50)
    assert length(crowd.bounded_sum(model, crowd.collate(scenes(12), KEY), 1.0)) < 12


def test_the_group_of_a_pair_is_its_own() -> None:
    trainer, records = micro(groups=6), scenes(40)
    groups = trainer.collate(records, KEY)["group"]
    kept = np.arange(1, 40)
    assert torch.equal(trainer.collate(records.take(kept), KEY)["group"], groups[1:])
    assert len(set(groups.tolist())) == 6
    assert not torch.equal(trainer.collate(records, KEY.child("next step"))["group"], groups)


@pytest.mark.parametrize("adjacency", ADJACENCIES)
@pytest.mark.parametrize("clip", [0.01, 1.0, 30.0])
def test_two_neighbours_attain_the_declared_sensitivity(model: nn.Module, adjacency: Adjacency, clip: float) -> None:
    trainer = micro()
    first, second = trainer.neighbouring_sums(model, None, clip, adjacency)
    assert length(first) <= clip * (1 + 1e-6)
    assert distance(first, second) == pytest.approx(trainer.sensitivity(clip, adjacency), rel=1e-5)
    published = micro(as_published=True)
    assert distance(first, second) > 1.99 * published.sensitivity(clip, adjacency)


@pytest.mark.parametrize("logit_scale", [0.0, 2.7, 4.6, 9.0])
def test_the_worst_pair_is_worst_at_any_temperature(logit_scale: float) -> None:
    model = micro().build(KEY)
    with torch.no_grad():
        contrastive(model).logit_scale.fill_(logit_scale)
    first, second = micro().neighbouring_sums(model, None, 1.0, "add-remove")
    assert distance(first, second) == pytest.approx(2.0, rel=1e-5)


@pytest.mark.parametrize("groups", [1, 3])
def test_no_pair_of_neighbouring_batches_exceeds_it(model: nn.Module, groups: int) -> None:
    trainer, rng = micro(groups=groups), np.random.default_rng(0)
    everyone = scenes(60)
    for _ in range(8):
        batch = everyone.take(rng.permutation(60)[: rng.integers(2, 9)])
        neighbours = (batch, batch.take(slice(1, None)))
        whole, fewer = (trainer.bounded_sum(model, trainer.collate(each, KEY), 0.1) for each in neighbours)
        assert distance(whole, fewer) <= 0.2 * (1 + 1e-5)


@pytest.mark.parametrize(("groups", "adjacency"), [(1, "add-remove"), (1, "replace-one"), (3, "add-remove")])
def test_record_and_replay_confirms_it(groups: int, adjacency: Adjacency) -> None:
    rehearsal = Rehearsal(trainer=micro(groups=groups), clip_norm=1.0, rng=KEY)
    premise = replay_trainer(rehearsal, rehearsed_records(scenes(2), KEY), adjacency=adjacency).assumption()
    assert premise.status == "held", premise.evidence


def test_a_record_in_anothers_place_is_in_its_group() -> None:
    rehearsal = Rehearsal(trainer=micro(groups=3), clip_norm=1.0, rng=KEY)
    found = replay_trainer(rehearsal, rehearsed_records(scenes(2), KEY), adjacency="replace-one")
    premise = found.assumption()
    assert premise.status in {"held", "unknown"}, premise.evidence
    if premise.status == "unknown":
        assert "the difference is gone when the new record draws what the one in whose place it is" in premise.evidence


def test_as_published_says_that_it_is_unsound() -> None:
    for adjacency in ADJACENCIES:
        assert micro().unsound(adjacency) is None
        assert "turn the whole clipped gradient around" in (micro(as_published=True).unsound(adjacency) or "")
        assert micro(groups=7).sensitivity(0.5, adjacency) == micro().sensitivity(0.5, adjacency) == 1.0


def test_losses_of_pairs_have_the_loss_as_their_mean(model: nn.Module) -> None:
    trainer = micro(micro_batch=5)
    batch = trainer.collate(scenes(12), KEY)
    with torch.no_grad():
        losses = trainer.record_losses(model, batch)
        towers = contrastive(model)
        images = normalize(towers.encode_image(batch["images"]), dim=1)
        texts = normalize(towers.encode_text(batch["tokens"]), dim=1)
        logits = images @ texts.T / 0.07
    both = (cross_entropy(logits, torch.arange(12)) + cross_entropy(logits.T, torch.arange(12))) / 2
    assert losses.shape == (12,)
    assert float(losses.mean()) == pytest.approx(float(both), rel=1e-5)


def test_the_temperature_is_clamped_and_can_return() -> None:
    trainer, model = micro(), micro().build(KEY)
    batch = trainer.collate(scenes(8), KEY)
    losses = []
    for value in (math.log(100), 9.0):
        with torch.no_grad():
            contrastive(model).logit_scale.fill_(value)
            losses.append(float(trainer.record_losses(model, batch).mean()))
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    assert float(trainer.bounded_sum(model, batch, 1e9)["logit_scale"]) > 0  # a step down brings it back


def test_crops_are_keyed_by_record() -> None:
    records, some = scenes(20), np.array([17, 3, 8])
    trainer = micro(smallest_crop=0.3, flip=True, groups=3)
    whole = trainer.collate(records, KEY)
    for name, rows in trainer.collate(records.take(some), KEY).items():
        assert torch.equal(rows, whole[name][torch.from_numpy(some)]), name
    assert torch.equal(micro().collate(records, KEY)["images"], micro().collate(records, KEY.child("x"))["images"])


def test_a_caption_is_read_at_its_end_token(model: nn.Module) -> None:
    trainer = micro()
    tokens = trainer.collate(scenes(3), KEY)["tokens"]
    towers = contrastive(model)
    with torch.no_grad():
        whole = towers.encode_text(tokens)
        for row, words in enumerate(tokens.tolist()):
            end = words.index(trainer.words.end)
            assert not any(words[end + 1 :])
            at = torch.tensor([end])
            torch.testing.assert_close(model.text(tokens[row : row + 1], ends=at)[0], whole[row])  # type: ignore[operator]  # a Module's attribute
            before = model.text(tokens[row : row + 1], ends=at - 1)[0]  # type: ignore[operator]  # as above
            assert not torch.allclose(before, whole[row], atol=1e-3)


def test_vectors_have_length_one(model: nn.Module) -> None:
    trainer, records = micro(), scenes(6)
    images = torch.from_numpy(records.images)
    for vectors in (trainer.image_vectors(model, images), trainer.text_vectors(model, records.captions or ())):
        torch.testing.assert_close(vectors.norm(dim=1), torch.ones(6))
    torch.testing.assert_close(normalize(trainer.embed(model, images), dim=1), trainer.image_vectors(model, images))


@pytest.mark.parametrize(
    ("field", "options", "expected"),
    [
        ("model", {"model": "ViT-B32"}, "nearest: ViT-B-32"),
        ("model", {"model": "vit-b-32"}, "nearest: ViT-B-32"),
        ("model", {"model": "roberta-ViT-B-32"}, "would have to be downloaded"),
        ("tokenizer", {"tokenizer": "clip"}, "clip-bpe, scenes, words: and the words, or the path"),
        ("tokenizer", {"model": "ViT-B-32", "tokenizer": "./nowhere"}, "it lacks"),
        ("groups", {"groups": 0}, "random groups"),
        ("micro_batch", {"micro_batch": 0}, "positive"),
        ("smallest_crop", {"smallest_crop": 0.0}, "above 0"),
        ("peak_learning_rate", {"peak_learning_rate": math.nan}, "positive"),
        ("warmup", {"warmup": -1}, "0 or more"),
    ],
)
def test_bad_options_are_named(field: str, options: dict[str, Any], expected: str) -> None:
    with pytest.raises(InputError, match=f"^{field} = .*{expected}"):
        micro(**options)


def test_records_without_captions_are_named() -> None:
    with pytest.raises(InputError, match="captions = None: expected data with captions"):
        micro().collate(dataclasses.replace(scenes(2), captions=None), KEY)


def test_options_are_validated_from_plain_values() -> None:
    trainer = TypeAdapter(DPClip).validate_python({"model": "ViT-B-32", "betas": [0.8, 0.9], "groups": 4})
    assert (trainer.image_size, trainer.context, trainer.betas) == (224, 77, (0.8, 0.9))
    assert trainer.words.vocabulary == 49_408


def test_siglips_tokens_are_asked_for_when_a_caption_is_read() -> None:
    trainer = DPClip(model="ViT-B-16-SigLIP")
    assert trainer.image_size == 224
    with pytest.raises(
        InputError, match="tokenizer = '': expected a folder with the tokenizer of timm/ViT-B-16-SigLIP"
    ):
        _ = trainer.words


@pytest.mark.parametrize(
    ("name", "millions"),
    [("ViT-B-32", 151.28), ("RN50", 102.01), ("ViT-B-16-SigLIP", 203.16), ("coca_ViT-B-32", 152.59)],
)
def test_models_of_open_clip_are_built_without_weights(name: str, millions: float) -> None:
    with torch.device("meta"):
        model = DPClip(model=name).build(KEY)
    assert not model.training
    trained = sum(each.numel() for each in model.parameters() if each.requires_grad)
    assert trained / 1e6 == pytest.approx(millions, abs=0.6)
    assert contrastive(model).logit_scale.requires_grad


def test_a_model_of_open_clip_is_open_clips_own() -> None:
    trainer = DPClip(model="ViT-S-32-alt")
    model = trainer.build(KEY)
    theirs = open_clip.create_model(trainer.model, load_weights=False)
    theirs.load_state_dict(model.state_dict())
    again = trainer.build(KEY)
    assert all(torch.equal(one, other) for one, other in zip(model.parameters(), again.parameters(), strict=True))
    source = Scenes(size=3, image_size=trainer.image_size)
    records = source[source.ids()]
    batch = trainer.collate(records, KEY)
    with torch.no_grad():
        wanted = theirs.eval().encode_image(batch["images"], normalize=True)
        torch.testing.assert_close(trainer.image_vectors(model, torch.from_numpy(records.images)), wanted)
        said = theirs.encode_text(open_clip.tokenize(list(records.captions or ())), normalize=True)
        torch.testing.assert_close(trainer.text_vectors(model, records.captions or ()), said)
