"""Record and replay: steps that are wrong on purpose are caught with two batches in hand, sound ones stay quiet."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dpaudit.data.examples import Examples
from dpaudit.dp.bookkeeping.clipped_sum import bookkeeping_sum
from dpaudit.dp.clipping import Clipped, ClippingRule, Flat, clip_factors, zero_sums
from dpaudit.dp.engines import engine
from dpaudit.dp.functional import functional_sum
from dpaudit.dp.loop import loop_sum, unclipped_sum
from dpaudit.dp.noise import Noise
from dpaudit.dp.step import DpStep
from dpaudit.dp.tensors import trainable
from dpaudit.errors import DpauditError, InputError
from dpaudit.models.initialisation import seeded
from dpaudit.rng import Rng
from dpaudit.training.rehearsal import Rehearsal
from dpaudit.training.sensitivity import extreme_records, rehearsed_records, replay_noise, replay_trainer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch.optim import Optimizer

    from dpaudit.dp.clipping import Losses
    from dpaudit.dp.tensors import Batch, Gradients
    from dpaudit.mechanism import Adjacency

SIDE = 6
RNG = Rng.from_seed(17)
FLAT = Flat()


@dataclass(frozen=True, kw_only=True)
class Classifier:
    """A sound trainer: a small classifier with noise on its input, keyed by (key, id)."""

    image_size: int = SIDE
    normalised: bool = False
    dropout: float = 0.0
    by_place: bool = False
    batch_mean: bool = False

    @property
    def modality(self) -> frozenset[str]:
        return frozenset({"image", "label"})

    def build(self, rng: Rng) -> nn.Module:
        with seeded(rng):
            layers = [nn.Linear(3 * SIDE * SIDE, 8), nn.Tanh(), nn.Dropout(self.dropout), nn.Linear(8, 3)]
            if self.normalised:
                layers[:0] = [nn.Unflatten(1, (3, SIDE * SIDE)), nn.BatchNorm1d(3), nn.Flatten()]
            return nn.Sequential(*layers)

    def collate(self, examples: Examples, rng: Rng) -> Batch:
        pixels = torch.tensor(examples.images).flatten(1).float() / 255
        keys = np.arange(len(examples)).astype(str) if self.by_place else examples.ids
        pixels += torch.from_numpy(rng.uniform(keys, pixels.shape[1])).float()
        assert examples.labels is not None
        if self.batch_mean:
            pixels = torch.tensor(examples.images).flatten(1).float() / 255
            pixels = pixels - pixels.mean(0)
        return {"x": pixels, "label": torch.tensor(examples.labels)}

    def losses(self, model: nn.Module, batch: Batch) -> Tensor:
        return nn.functional.cross_entropy(model(batch["x"]), batch["label"], reduction="none")

    def embed(self, model: nn.Module, images: Tensor) -> Tensor:
        raise NotImplementedError

    def optimizer(self, parameters: Sequence[nn.Parameter], steps: int) -> Optimizer:
        raise NotImplementedError

    def learning_rate(self, step: int, steps: int) -> float:
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Coupled(Classifier):
    """A trainer of whole batches: the sum is clipped as one, of sensitivity 2C in truth; or averaged on top."""

    says: float = 2.0
    mean: bool = False

    losses: Any = None

    def bounded_sum(self, model: nn.Module, batch: Batch, clip: float) -> Gradients:
        whole = unclipped_sum(model, Classifier().losses, batch).gradients
        norm = torch.sqrt(torch.stack([tensor.square().sum() for tensor in whole.values()]).sum())
        factor = clip_factors(norm.reshape(1), clip)[0] / (len(batch["x"]) if self.mean else 1)
        return {name: tensor * factor for name, tensor in whole.items()}

    def sensitivity(self, clip: float, adjacency: Adjacency) -> float:
        return (2.0 if adjacency == "replace-one" else self.says) * clip


def drawn(count: int = 2) -> Examples:
    numbers = np.random.default_rng(3)
    return Examples(
        ids=np.array([f"data:{index}" for index in range(count)]),
        images=numbers.integers(0, 256, size=(count, 3, SIDE, SIDE), dtype=np.uint8),
        labels=np.arange(count) % 3,
    )


RECORDS = rehearsed_records(drawn(), RNG)


def raw(model: nn.Module, losses: Losses, batch: Batch) -> tuple[Gradients, Tensor]:
    """Return each record's gradient, (n, ...), of a forward pass of the whole batch, and the losses, (n,)."""
    parameters = trainable(model)
    values = losses(model, batch)
    rows = [torch.autograd.grad(value, list(parameters.values()), retain_graph=True) for value in values]
    return {name: torch.stack([row[at] for row in rows]) for at, name in enumerate(parameters)}, values.detach()


def norms_of(gradients: Gradients) -> Tensor:
    return torch.stack([tensor.flatten(1).square().sum(1) for tensor in gradients.values()]).sum(0).sqrt()


def scaled(gradients: Gradients, factors: Tensor, values: Tensor) -> Clipped:
    total = {name: torch.einsum("n,n...->...", factors, tensor) for name, tensor in gradients.items()}
    return Clipped(gradients=total, norms=norms_of(gradients), losses=values)


def whole_batch(model: nn.Module, losses: Losses, batch: Batch, clip: float) -> Clipped:
    """Sound as long as losses are apart: all records in one forward pass."""
    gradients, values = raw(model, losses, batch)
    return scaled(gradients, clip_factors(norms_of(gradients), clip), values)


def mean_over_the_drawn(model: nn.Module, losses: Losses, batch: Batch, clip: float) -> Clipped:
    sound = whole_batch(model, losses, batch, clip)
    return replace(sound, gradients={name: 8 * tensor / len(sound.losses) for name, tensor in sound.gradients.items()})


def bias_left_out(model: nn.Module, losses: Losses, batch: Batch, clip: float) -> Clipped:
    gradients, values = raw(model, losses, batch)
    weights = {name: tensor for name, tensor in gradients.items() if "bias" not in name}
    return scaled(gradients, clip_factors(norms_of(weights), clip), values)


def bias_not_clipped(model: nn.Module, losses: Losses, batch: Batch, clip: float) -> Clipped:
    gradients, values = raw(model, losses, batch)
    sound = scaled(gradients, clip_factors(norms_of(gradients), clip), values)
    last = list(gradients)[-1]
    return replace(sound, gradients=sound.gradients | {last: gradients[last].sum(0)})


def clipped_after_averaging(model: nn.Module, losses: Losses, batch: Batch, clip: float) -> Clipped:
    gradients, values = raw(model, losses, batch)
    mean = {name: tensor.mean(0, keepdim=True) for name, tensor in gradients.items()}
    return scaled(mean, clip_factors(norms_of(mean), clip) * len(values), values)


def clipped_as_a_whole(model: nn.Module, losses: Losses, batch: Batch, clip: float) -> Clipped:
    gradients, values = raw(model, losses, batch)
    total = {name: tensor.sum(0, keepdim=True) for name, tensor in gradients.items()}
    return scaled(total, clip_factors(norms_of(total), clip), values)


def far_too_loose(model: nn.Module, losses: Losses, batch: Batch, clip: float) -> Clipped:
    return whole_batch(model, losses, batch, 1.01 * clip)


def rehearsal(sums: Callable[..., Clipped] = loop_sum, clip: float = 0.3, **options: Any) -> Rehearsal:
    def apart(model: nn.Module, losses: Losses, batch: Batch, clip: float, rule: ClippingRule = FLAT) -> Clipped:
        assert rule == FLAT
        return sums(model, losses, batch, clip)

    return Rehearsal(trainer=Classifier(**options), clip_norm=clip, engine=apart, rng=RNG)


@pytest.mark.parametrize(
    ("sums", "clip", "micro_batch"),
    [
        (functional_sum, 0.3, 64),
        (bookkeeping_sum, 0.3, 64),
        (loop_sum, 1e-4, 1),
        (loop_sum, 50.0, 64),
        (whole_batch, 1e-4, 64),
        (whole_batch, 0.3, 2),
        (whole_batch, 50.0, 1),
    ],
)
def test_sound_steps_stay_quiet_and_come_near_what_is_declared(
    sums: Callable[..., Clipped], clip: float, micro_batch: int
) -> None:
    found = replay_trainer(replace(rehearsal(sums, clip), micro_batch=micro_batch), RECORDS)
    assert found.violation is None
    assert found.assumption().status == "held"
    assert max(each.ratio for each in found.differences) > 0.999


@pytest.mark.parametrize("clip", [0.01, 50.0])
@pytest.mark.parametrize("rule", ["auto-s", "per-layer"])
def test_every_rule_of_clipping_keeps_what_it_declares(rule: str, clip: float) -> None:
    found = replay_trainer(replace(rehearsal(clip=clip), engine=engine("loop", rule)), RECORDS)
    assert found.assumption().status == "held"
    assert 0.4 < max(each.ratio for each in found.differences) < 1.001


@pytest.mark.parametrize("clip", [0.01, 0.3, 50.0])
@pytest.mark.parametrize(
    "sums",
    [
        mean_over_the_drawn,
        bias_left_out,
        bias_not_clipped,
        clipped_after_averaging,
        clipped_as_a_whole,
        far_too_loose,
    ],
)
def test_steps_that_are_wrong_on_purpose_are_certified(sums: Callable[..., Clipped], clip: float) -> None:
    found = replay_trainer(rehearsal(sums, clip), RECORDS)
    assert found.violation is not None
    premise = found.assumption()
    assert (premise.status, premise.certified) == ("violated", True)
    assert all(name in premise.evidence for name in found.violation.second)
    assert f"{found.violation.distance:.6g}" in premise.evidence


def test_the_counter_example_can_be_computed_again_from_what_is_printed() -> None:
    told = rehearsal(clipped_after_averaging)
    found = replay_trainer(told, RECORDS).violation
    assert found is not None
    model, clip = told.trainer.build(RNG.child("model")), found.declared
    one, other = (told.released(model, RECORDS, clip)(ids) for ids in (found.first, found.second))
    squares = sum(float((one[name] - other[name]).double().square().sum()) for name in one)
    assert squares**0.5 == pytest.approx(found.distance, rel=1e-6)
    assert squares**0.5 > clip


def test_layers_that_mix_records_are_caught() -> None:
    assert replay_trainer(rehearsal(whole_batch), RECORDS).violation is None
    assert replay_trainer(rehearsal(whole_batch, normalised=True), RECORDS).assumption().status == "violated"


def test_a_collate_that_subtracts_the_mean_of_the_batch_is_caught() -> None:
    assert replay_trainer(rehearsal(batch_mean=True), RECORDS).assumption().status == "violated"


@pytest.mark.parametrize(
    ("options", "sums", "reason"),
    [({"dropout": 0.5}, loop_sum, "dropout"), ({"by_place": True}, loop_sum, "collate draws x of record")],
)
def test_randomness_that_cannot_be_held_is_no_proof(options: Any, sums: Callable[..., Clipped], reason: str) -> None:
    premise = replay_trainer(rehearsal(sums, **options), RECORDS).assumption()
    assert (premise.status, premise.certified) == ("unknown", False)
    assert reason in premise.evidence


def test_a_step_that_cannot_be_repeated_is_no_proof() -> None:
    numbers = np.random.default_rng(0)

    def unstable(model: nn.Module, losses: Losses, batch: Batch, clip: float) -> Clipped:
        return whole_batch(model, losses, batch, clip * (2 + float(numbers.random())))

    premise = replay_trainer(rehearsal(unstable), RECORDS).assumption()
    assert premise.status == "unknown"
    assert "repeated" in premise.evidence


@pytest.mark.parametrize(("says", "status"), [(2.0, "held"), (1.0, "violated")])
def test_trainers_of_whole_batches_are_held_to_their_own_number(says: float, status: str) -> None:
    told = Rehearsal(trainer=Coupled(says=says), clip_norm=0.3, rng=RNG)
    assert replay_trainer(told, RECORDS).assumption().status == status
    assert replay_trainer(told, RECORDS, adjacency="replace-one").assumption().status == "held"


def test_both_adjacencies_are_replayed() -> None:
    found = replay_trainer(rehearsal(clipped_after_averaging), RECORDS, adjacency="replace-one")
    assert {each.adjacency for each in found.differences} == {"replace-one"}
    assert {each.declared for each in found.differences} <= {2 * clip for clip in found.clip_norms}
    assert all(len(each.first) == len(each.second) for each in found.differences)
    assert found.violation is not None


def test_views_leave_the_sensitivity_as_it_is() -> None:
    told = replace(rehearsal(), augmentations=3)
    found = replay_trainer(told, RECORDS)
    assert found.assumption().status == "held"
    assert max(each.ratio for each in found.differences) > 0.999


class SharedBetweenTensors(DpStep):
    """Leaves the tensor's name out of the noise key."""

    def _privatised(self, step: int, sums: Gradients) -> Any:
        noise = Noise(std=self.noise_std)
        noisy, measure = noise.add(sums, lambda _: self.noise.child(step))
        return {name: tensor / self.mechanism.batch_size for name, tensor in noisy.items()}, measure


class SharedBetweenSteps(DpStep):
    """Leaves the step out of the noise key, and turns the sign around."""

    def _privatised(self, step: int, sums: Gradients) -> Any:
        noisy, measure = Noise(std=self.noise_std).add(sums, self.noise.child)
        return {name: (-1) ** step * tensor / 3 for name, tensor in noisy.items()}, measure


@pytest.mark.parametrize("secure", [False, True])
def test_noise_of_its_own_for_every_step_and_tensor(secure: bool) -> None:
    model = Classifier().build(RNG)
    assert replay_noise(replace(rehearsal(), secure=secure), model).status == "held"
    for wrong, names in ((SharedBetweenTensors, ("0.weight", "0.bias")), (SharedBetweenSteps, ("step 0", "step 1"))):
        premise = replay_noise(replace(rehearsal(), step=wrong), model)
        assert (premise.status, premise.certified) == ("violated", True)
        assert all(name in premise.evidence for name in names)


def test_without_any_gradient_nothing_is_known() -> None:
    def nothing(model: nn.Module, losses: Losses, batch: Batch, _: float) -> Clipped:
        return Clipped(gradients=zero_sums(model), norms=None, losses=losses(model, batch).detach())

    assert replay_trainer(rehearsal(nothing), RECORDS).assumption().status == "unknown"


def test_a_sum_that_is_not_finite_is_an_error() -> None:
    def infinite(model: nn.Module, losses: Losses, batch: Batch, _: float) -> Clipped:
        return scaled(*(raw(model, losses, batch)[0], torch.full((len(batch["x"]),), float("nan")), torch.zeros(1)))

    with pytest.raises(DpauditError, match="not finite"):
        replay_trainer(rehearsal(infinite), RECORDS)


def test_extreme_records_are_extreme() -> None:
    found = extreme_records(drawn(3), RNG)
    assert found.ids.tolist() == ["replay:noise", "replay:black", "replay:white", "replay:contrast"]
    assert (found.images[1].max(), found.images[2].min()) == (0, 255)
    assert found.images[3].std() > 1.3 * drawn(3).images[0].std()
    assert found.labels is not None
    assert found.labels.tolist() == [0, 2, 1, 0]


@pytest.mark.parametrize("clip", [0.0, float("inf")])
def test_what_declares_nothing_is_refused(clip: float) -> None:
    with pytest.raises(InputError, match="clip_norm"):
        rehearsal(clip=clip)


def test_views_of_whole_batches_are_refused() -> None:
    with pytest.raises(InputError, match="augmentations"):
        Rehearsal(trainer=Coupled(), clip_norm=1.0, augmentations=2)
