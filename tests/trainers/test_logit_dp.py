"""Logit-DP: pairs read, similarities clipped, a bound that holds and is attained, and the published one that is not."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter

import dpaudit
from dpaudit.data.digits import Digits
from dpaudit.data.pairs import Pairs
from dpaudit.dp.tensors import trainable
from dpaudit.errors import InputError
from dpaudit.mechanism import Adjacency
from dpaudit.plugins import (
    BatchTrainer,
    DeclaresUnsound,
    NamesOptimisation,
    PerExampleTrainer,
    RecordLosses,
    Remarks,
    StepCanary,
)
from dpaudit.rng import Rng
from dpaudit.trainers.fine_tune import FineTune
from dpaudit.trainers.logit_dp import LogitDP
from dpaudit.training.rehearsal import Rehearsal
from dpaudit.training.sensitivity import replay_trainer

if TYPE_CHECKING:
    from dpaudit.data.examples import Examples
    from dpaudit.dp.tensors import Batch, Gradients

KEY = Rng.from_seed(5)
SMALL: dict[str, Any] = {"image_size": 16, "embedding": 4}
ADJACENCIES = get_args(Adjacency)
SOUND = [
    LogitDP(**SMALL),
    LogitDP(**SMALL, temperature=0.5, two_sided=True),
    LogitDP(**SMALL, loss="spread-out", towers="dual"),
    LogitDP(**SMALL, loss="sigmoid", temperature=0.1, bias=-1.0),
    LogitDP(**SMALL, method="naive-dp"),
    LogitDP(**SMALL, model="linear"),
]
PUBLISHED = [
    LogitDP(**SMALL, as_published=True),
    LogitDP(**SMALL, as_published=True, temperature=0.2),
    LogitDP(**SMALL, as_published=True, temperature=0.5, published_batch=64),
    LogitDP(**SMALL, as_published=True, method="naive-dp"),
]


def pairs(n: int, size: int = 16) -> Examples:
    data = Pairs(Digits(image_size=size))
    return data[data.ids()[::7][:n]]


def batch_of(trainer: LogitDP, n: int) -> Batch:
    return trainer.collate(pairs(n), KEY)


def distance(one: Gradients, other: Gradients) -> float:
    assert one.keys() == other.keys()
    return math.sqrt(math.fsum(float((one[name] - other[name]).double().square().sum()) for name in one))


def without_last(batch: Batch) -> Batch:
    return {name: each[:-1] for name, each in batch.items()}


def test_what_it_can() -> None:
    trainer = LogitDP()
    for contract in (BatchTrainer, RecordLosses, DeclaresUnsound, StepCanary, Remarks, NamesOptimisation):
        assert isinstance(trainer, contract)
    assert not isinstance(trainer, PerExampleTrainer)


def test_options_are_validated_from_plain_values() -> None:
    trainer = TypeAdapter(LogitDP).validate_python({"model": "resnet18", "norm": "group", "temperature": 0.5})
    assert (trainer.embedding, trainer.temperature, trainer.norm) == (1000, 0.5, "group")
    assert LogitDP().embedding == 8


@pytest.mark.parametrize(
    ("field", "options", "expected"),
    [
        ("temperature", {"temperature": "learned"}, "a fixed number"),
        ("temperature", {"temperature": 0.0}, "at least 0.003"),
        ("temperature", {"temperature": -1.0}, "at least 0.003"),
        ("temperature", {"temperature": math.inf}, "at least 0.003"),
        ("temperature", {"temperature": math.nan}, "at least 0.003"),
        ("temperature", {"temperature": 0.5, "loss": "spread-out"}, "which has none"),
        ("two_sided", {"two_sided": True, "loss": "sigmoid"}, "unless loss = infonce"),
        ("repulsion", {"repulsion": 2.0}, "1 with loss = infonce"),
        ("repulsion", {"repulsion": -1.0, "loss": "sigmoid"}, "at least 0"),
        ("bias", {"bias": 1.0}, "0 unless loss = sigmoid"),
        ("bias", {"bias": math.nan, "loss": "sigmoid"}, "finite"),
        ("embedding", {"embedding": -1}, "or 0 for the published one"),
        ("norm", {"norm": "group"}, "unless model = resnet18"),
        ("image_size", {"image_size": 0}, "positive"),
        ("smallest_crop", {"smallest_crop": 0.0}, "above 0"),
        ("as_published", {"as_published": True, "loss": "sigmoid"}, "no constant is published for sigmoid"),
        ("published_batch", {"published_batch": 64}, "100 unless as_published"),
        ("published_batch", {"published_batch": 1, "as_published": True}, "at least 2"),
        ("peak_learning_rate", {"peak_learning_rate": 0.0}, "positive"),
    ],
)
def test_options_that_cannot_be(field: str, options: dict[str, Any], expected: str) -> None:
    with pytest.raises(InputError, match=expected) as refused:
        LogitDP(**options)
    assert refused.value.field == field
    assert "\n" not in str(refused.value)


# Records


def test_a_pair_gives_its_two_images() -> None:
    records = pairs(3)
    batch = LogitDP(**SMALL).collate(records, KEY)
    assert {name: tuple(each.shape) for name, each in batch.items()} == dict.fromkeys(
        ("first", "second"), (3, 3, 16, 16)
    )
    alone = Digits(image_size=16)[np.array([identity.split("+")[1] for identity in records.ids.tolist()])]
    assert np.array_equal(records.images[:, 3:], alone.images)
    assert not torch.equal(batch["first"], batch["second"])


def test_a_single_image_gives_two_crops_that_are_keyed_by_record() -> None:
    trainer, data = LogitDP(**SMALL, smallest_crop=0.3, flip=True), Digits(image_size=16)
    records = data[data.ids()[:4]]
    whole, alone = trainer.collate(records, KEY), trainer.collate(records.take(slice(2, 3)), KEY)
    for name, each in whole.items():
        torch.testing.assert_close(each[2:3], alone[name])
    assert not torch.equal(whole["first"], whole["second"])
    assert not torch.equal(whole["first"], trainer.collate(records, KEY.child("another step"))["first"])


def test_a_single_image_without_crops_is_refused() -> None:
    data = Digits(image_size=16)
    with pytest.raises(InputError, match="below 1 for single images, or data"):
        LogitDP(**SMALL).collate(data[data.ids()[:2]], KEY)


def test_images_of_another_size_are_refused() -> None:
    with pytest.raises(InputError, match=r"pairs \(6, 32, 32\)"):
        LogitDP().collate(pairs(2), KEY)


def test_a_pair_is_embedded_by_its_first_image() -> None:
    trainer = LogitDP(**SMALL)
    model, images = trainer.build(KEY), torch.from_numpy(pairs(3).images)
    found = trainer.embed(model, images)
    torch.testing.assert_close(found, trainer.embed(model, images[:, :3]))
    torch.testing.assert_close(found.norm(dim=1), torch.ones(3))


# The bounded sum


@pytest.mark.parametrize("trainer", SOUND)
def test_without_a_clip_norm_it_is_the_gradient_of_the_summed_loss(trainer: LogitDP) -> None:
    model, batch = trainer.build(KEY), batch_of(trainer, 5)
    expected = torch.autograd.grad(trainer.record_losses(model, batch).sum(), list(trainable(model).values()))
    found = trainer.bounded_sum(model, batch, math.inf)
    assert list(found) == list(trainable(model))
    for gradient, each in zip(found.values(), expected, strict=True):
        torch.testing.assert_close(gradient, each, rtol=1e-3, atol=1e-5)


def test_the_naive_method_clips_the_gradient_of_the_whole_batch() -> None:
    trainer = LogitDP(**SMALL, method="naive-dp")
    model, batch = trainer.build(KEY), batch_of(trainer, 6)
    zero = {name: torch.zeros_like(each) for name, each in trainable(model).items()}
    whole = trainer.bounded_sum(model, batch, math.inf)
    length = distance(whole, zero)
    assert distance(trainer.bounded_sum(model, batch, length / 3), zero) == pytest.approx(length / 3, rel=1e-5)
    assert distance(trainer.bounded_sum(model, batch, 2 * length), whole) < 1e-6 * length


@pytest.mark.parametrize("trainer", SOUND)
@pytest.mark.parametrize("n", [1, 2, 7])
def test_a_record_moves_the_sum_by_no_more_than_is_declared(trainer: LogitDP, n: int) -> None:
    model, batch, clip = trainer.build(KEY), batch_of(trainer, n), 0.05
    zero = {name: torch.zeros_like(each) for name, each in trainable(model).items()}
    fewer = trainer.bounded_sum(model, without_last(batch), clip) if n > 1 else zero
    assert distance(trainer.bounded_sum(model, batch, clip), fewer) <= trainer.sensitivity(clip, "add-remove") * 1.0001


def test_one_pair_alone_has_nothing_to_be_told_from() -> None:
    trainer = LogitDP(**SMALL)
    model = trainer.build(KEY)
    assert all(not each.any() for each in trainer.bounded_sum(model, batch_of(trainer, 1), 1.0).values())


@pytest.mark.parametrize("trainer", [SOUND[0], SOUND[3]])
@pytest.mark.parametrize("adjacency", ["add-remove", "replace-one"])
def test_replay_holds_the_declared_sensitivity(trainer: LogitDP, adjacency: Adjacency) -> None:
    replayed = replay_trainer(Rehearsal(trainer=trainer, clip_norm=0.1), pairs(4), adjacency=adjacency)
    assert replayed.assumption().status == "held"


# The bound, and what is too small


@pytest.mark.parametrize("trainer", SOUND)
@pytest.mark.parametrize("adjacency", ADJACENCIES)
def test_its_worst_neighbours_come_up_to_the_bound(trainer: LogitDP, adjacency: Adjacency) -> None:
    model = trainer.build(KEY)
    for batch, clip in ((None, 0.01), (batch_of(trainer, 2), 3.0)):
        apart = distance(*trainer.neighbouring_sums(model, batch, clip, adjacency))
        assert 0.94 <= apart / trainer.sensitivity(clip, adjacency) <= 1 + 1e-6
    assert trainer.unsound(adjacency) is None


@pytest.mark.parametrize("trainer", PUBLISHED)
@pytest.mark.parametrize("adjacency", ADJACENCIES)
def test_the_published_constants_are_exceeded(trainer: LogitDP, adjacency: Adjacency) -> None:
    apart = distance(*trainer.neighbouring_sums(trainer.build(KEY), None, 0.5, adjacency))
    assert apart > 1.05 * trainer.sensitivity(0.5, adjacency)
    reason = trainer.unsound(adjacency)
    assert reason is not None
    assert "\n" not in reason


def test_the_published_constant_is_that_of_the_public_code() -> None:
    a = math.exp(2 / 0.2)
    mean_of_100 = 1 / 100 + min(2 * a / (100 + a - 1), 2)
    trainer = LogitDP(as_published=True, temperature=0.2)
    assert trainer.sensitivity(0.3, "add-remove") == pytest.approx(0.3 * 100 * mean_of_100)


def test_a_bound_that_gains_nothing_says_so() -> None:
    assert LogitDP().remarks(64, "add-remove") == ()
    (line,) = LogitDP(temperature=0.2).remarks(1_000, "add-remove")
    assert "no better than clipping the whole batch" in line
    assert LogitDP(temperature=0.2).remarks(11_013, "add-remove") != ()
    assert LogitDP(temperature=0.2).remarks(11_014, "add-remove") == ()
    assert LogitDP(method="naive-dp", temperature=0.2).remarks(1_000, "add-remove") == ()
    assert LogitDP(loss="sigmoid", temperature=0.2).remarks(8, "add-remove") == ()


def test_a_dry_run_of_the_published_sizes_needs_no_data_and_says_what_the_bound_is_worth() -> None:
    found = dpaudit.forecast("logit-dp-paper")
    assert found.mechanism.dataset_size == 25_000
    assert "no better than clipping the whole batch" in found.promise.note
    assert dpaudit.forecast("logit-dp-paper", overrides=["trainer.temperature=1"]).promise.note == ""


def test_batches_of_one_pair_are_refused() -> None:
    with pytest.raises(InputError, match="at least 2") as refused:
        dpaudit.forecast("logit-dp-paper", overrides=["privacy.batch_size=1"])
    assert refused.value.field == "privacy.batch_size"


# Models


def test_the_published_network_has_6296_parameters() -> None:
    model = LogitDP().build(KEY)
    assert sum(each.numel() for each in model.parameters()) == 6296
    dual = LogitDP(towers="dual").build(KEY)
    assert sum(each.numel() for each in dual.parameters()) == 2 * 6296


@pytest.mark.parametrize("norm", ["none", "group"])
def test_resnet18_has_no_batch_norm(norm: Any) -> None:
    model = LogitDP(model="resnet18", norm=norm, embedding=16).build(KEY)
    names = {type(each).__name__ for each in model.modules()}
    assert "BatchNorm2d" not in names
    assert ("GroupNorm" in names) == (norm == "group")
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 16)


def test_the_weights_follow_from_the_key() -> None:
    one, again, other = (LogitDP().build(KEY.child(name)) for name in ("a", "a", "b"))
    assert all(torch.equal(x, y) for x, y in zip(one.parameters(), again.parameters(), strict=True))
    assert not all(torch.equal(x, y) for x, y in zip(one.parameters(), other.parameters(), strict=True))


def test_its_encoder_can_be_fine_tuned() -> None:
    tuned = FineTune(encoder={"name": "logit-dp", "image_size": 16}, classes=10)
    model, data = tuned.build(KEY), Digits(image_size=16)
    batch = tuned.collate(data[data.ids()[:3]], KEY)
    assert tuned.losses(model, batch).shape == (3,)
    assert tuned.given_part(model).state_dict().keys() == LogitDP(image_size=16).build(KEY).state_dict().keys()
