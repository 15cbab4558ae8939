"""DP-CLIP with linear encoders: gradients in closed form, the truth without noise, and sensitivity 2C attained."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, get_args

import numpy as np
import pytest
import torch

from dpaudit.data.digits import Digits
from dpaudit.data.spiked import Spiked, vectors_of_pixels
from dpaudit.errors import InputError
from dpaudit.mechanism import Adjacency
from dpaudit.models.linear_contrast import LinearTowers, linear_gradients, linear_loss, sin_theta
from dpaudit.plugins import BatchTrainer, Dataset, DeclaresUnsound, KnowsTruth, Probe, ProbeData, StepCanary
from dpaudit.probes.sin_theta import SinTheta
from dpaudit.rng import Rng
from dpaudit.trainers.dp_clip_linear import DPClipLinear

if TYPE_CHECKING:
    from dpaudit.data.examples import Examples
    from dpaudit.dp.tensors import Gradients

KEY = Rng.from_seed(3)
SPIKED = Spiked(size=400, dimensions=20, rank=2, signal=9.0)
TRAINER = DPClipLinear()


def length(gradients: Gradients) -> float:
    return math.sqrt(sum(float(each.double().square().sum()) for each in gradients.values()))


def difference(first: Gradients, second: Gradients) -> float:
    return length({name: first[name] - second[name] for name in first})


def test_pairs_share_the_directions_and_survive_as_pixels() -> None:
    assert isinstance(SPIKED, Dataset)
    assert isinstance(SPIKED, KnowsTruth)
    x, y = SPIKED.vectors(SPIKED.ids())
    shared = np.linalg.svd(x.T @ y / len(x))[0][:, :2]
    assert sin_theta(shared.T, SPIKED.truth) < 0.25
    assert np.linalg.norm(np.cov(x.T) - np.eye(20) - 9 * SPIKED.truth @ SPIKED.truth.T, 2) < 3.0
    kept = vectors_of_pixels(SPIKED[SPIKED.ids()].images, 40)
    np.testing.assert_allclose(kept, np.concatenate([x, y], axis=1), atol=0.05)


def test_a_smaller_set_is_the_beginning_of_a_larger_one() -> None:
    few = Spiked(size=10, dimensions=20, rank=2, signal=9.0)
    assert np.array_equal(few[few.ids()].images, SPIKED[few.ids()].images)
    assert few.fingerprint() != SPIKED.fingerprint()


def test_gradients_are_those_of_the_loss() -> None:
    generator = torch.Generator().manual_seed(0)
    image, text = (torch.randn(2, 5, generator=generator, dtype=torch.float64) for _ in range(2))
    x, y = (torch.randn(7, 5, generator=generator, dtype=torch.float64) for _ in range(2))
    scores = (x @ image.T) @ (y @ text.T).T
    agreement = scores.diag().mean() - scores.fill_diagonal_(0).sum() / 42
    wanted = 0.7 / 2 * (image.T @ text).square().sum() - agreement
    torch.testing.assert_close(linear_loss(image, text, x, y, 0.7), wanted)
    image.requires_grad_()
    text.requires_grad_()
    found = torch.autograd.grad(linear_loss(image, text, x, y, 0.7), [image, text])
    for one, other in zip(linear_gradients(image.detach(), text.detach(), x, y, 0.7), found, strict=True):
        torch.testing.assert_close(one, other)


def test_it_bounds_a_whole_batch() -> None:
    for protocol in (BatchTrainer, DeclaresUnsound, StepCanary):
        assert isinstance(TRAINER, protocol)
    model, records = TRAINER.build(KEY), SPIKED[SPIKED.ids()[:9]]
    batch = TRAINER.collate(records, KEY)
    plain = TRAINER.bounded_sum(model, batch, math.inf)
    clipped = TRAINER.bounded_sum(model, batch, 0.5)
    assert length(clipped) == pytest.approx(0.5, rel=1e-5)
    for name, gradient in plain.items():
        torch.testing.assert_close(clipped[name], gradient * 0.5 / length(plain))
    alone = TRAINER.collate(records.take(slice(0, 1)), KEY)
    assert length(TRAINER.bounded_sum(model, alone, 1.0)) == 0


@pytest.mark.parametrize("adjacency", get_args(Adjacency))
@pytest.mark.parametrize("clip", [0.1, 1.0, 64.0])
def test_two_neighbours_attain_the_declared_sensitivity(adjacency: Adjacency, clip: float) -> None:
    first, second = TRAINER.neighbouring_sums(TRAINER.build(KEY), None, clip, adjacency)
    assert difference(first, second) == pytest.approx(TRAINER.sensitivity(clip, adjacency), rel=1e-3)
    published = DPClipLinear(as_published=True)
    assert published.sensitivity(clip, adjacency) == clip
    assert published.unsound(adjacency)
    assert TRAINER.unsound(adjacency) is None


def measured(source: object) -> ProbeData:
    records: Examples = SPIKED[SPIKED.ids()[:2]]
    return ProbeData(train=records, test=records, classes=(), source=source)  # type: ignore[arg-type]  # one is wrong on purpose


def test_the_error_of_an_encoder_is_read_off_its_features() -> None:
    model = LinearTowers(20, rank=2)
    with torch.no_grad():
        model.get_submodule("image").weight.copy_(torch.from_numpy(SPIKED.truth.T))  # type: ignore[operator]  # a Module's attribute
    features = {
        "trained": lambda examples: TRAINER.embed(model, torch.from_numpy(examples.images)).detach().numpy(),
        "raw pixels": lambda examples: examples.images.reshape(len(examples), -1).astype(np.float32),
    }
    probe = SinTheta(epsilons=(math.inf,), sizes=(), lengths=(), pairs=200, steps=5, repeats=2)
    assert isinstance(probe, Probe)
    result = probe.measure(features, measured(SPIKED), KEY)
    assert [each.features for each in result.measurements] == ["trained", "epsilon infinity, 200 pairs, 5 steps"]
    assert result.measurements[0].score.value < 0.02
    with pytest.raises(InputError, match="expected the data set spiked"):
        probe.measure({}, measured(Digits()), KEY)


def test_the_error_grows_as_epsilon_falls() -> None:
    probe = SinTheta(
        epsilons=(0.5, 64.0, math.inf), sizes=(), lengths=(), pairs=1000, steps=150, epsilon=64.0, repeats=3
    )
    result = probe.measure({}, measured(SPIKED), KEY)
    private, loose, infinite = (each.score for each in result.measurements)
    assert infinite.high < loose.value < private.value
    assert infinite.value < 0.25
    assert private.value > 0.7


@pytest.mark.parametrize(
    ("made", "refused"),
    [
        (lambda: Spiked(rank=20), "^rank = 20"),
        (lambda: Spiked(signal=0.0), "^signal = 0"),
        (lambda: DPClipLinear(step_size=math.inf), "^step_size = inf"),
        (lambda: SinTheta(repeats=1), "^repeats = 1"),
        (lambda: SinTheta(sizes=(3,)), "^sizes = "),
        (lambda: SinTheta(epsilons=(0.0,)), "^epsilons = "),
    ],
)
def test_bad_options_are_named(made: object, refused: str) -> None:
    with pytest.raises(InputError, match=refused):
        made()  # type: ignore[operator]  # a function
