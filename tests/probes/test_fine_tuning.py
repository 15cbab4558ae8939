"""The fine-tuning probe: it learns what a frozen encoder hides, keeps the budget it names, and leaves models alone."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import nn

from dpaudit.accounting.accountant import tight_guarantee
from dpaudit.accounting.events import mechanism_event
from dpaudit.conformance import check
from dpaudit.data.examples import Examples
from dpaudit.dp.step import DpStep
from dpaudit.errors import DpauditError, InputError
from dpaudit.plugins import Encoder, ProbeData
from dpaudit.probes import fine_tuning
from dpaudit.probes.fine_tuning import FineTuning
from dpaudit.rng import Rng
from dpaudit.training.encoders import PixelEncoder

if TYPE_CHECKING:
    from numpy.typing import NDArray

RNG = Rng.from_seed(3)
FAST: dict[str, Any] = {"steps": 40, "batch_size": 32, "learning_rate": 0.1, "draws": 2}


def records(name: str, count: int) -> Examples:
    """Return pictures of one bright channel of three, which is the class, and noise."""
    draws = np.random.default_rng(len(name))
    labels = draws.integers(0, 3, size=count)
    images = draws.integers(0, 120, size=(count, 3, 4, 4))
    images[np.arange(count), labels] += 60
    return Examples(
        ids=np.array([f"{name}{place}" for place in range(count)]),
        images=images.astype(np.uint8),
        captions=None,
        labels=labels,
    )


DATA = ProbeData(train=records("train", 120), test=records("tests", 90), classes=("red", "green", "blue"))


@dataclass(frozen=True)
class Blocked:
    """An encoder whose weights begin so small that its features, as they are, say next to nothing."""

    model: nn.Module

    def __call__(self, examples: Examples, /) -> NDArray[np.float32]:
        """Return features, (n, 4)."""
        found: NDArray[np.float32] = self.embed(self.model, torch.tensor(examples.images)).detach().numpy()
        return found

    def fresh(self) -> nn.Module:
        """Return a copy."""
        return copy.deepcopy(self.model)

    def embed(self, model: nn.Module, images: torch.Tensor) -> torch.Tensor:
        """Return features, (n, 4)."""
        found: torch.Tensor = model(images.float().mean(dim=(2, 3)) / 255)
        return found


def blocked() -> Blocked:
    torch.manual_seed(0)
    model = nn.Linear(3, 4)
    with torch.no_grad():
        model.weight.mul_(1e-6)
        model.bias.copy_(torch.tensor([1.0, -1.0, 1.0, -1.0]))
    return Blocked(model)


def scores(probe: FineTuning, encoders: dict[str, Encoder]) -> dict[str, float]:
    found = probe.measure(encoders, DATA, RNG)
    return {each.features: each.score.value for each in found.measurements}


def test_all_layers_learn_what_a_frozen_encoder_hides() -> None:
    encoders: dict[str, Encoder] = {"trained": blocked(), "raw pixels": PixelEncoder()}
    whole, head = scores(FineTuning(**FAST), encoders), scores(FineTuning(layers="head", **FAST), encoders)
    assert whole["trained"] > 0.9
    assert head["trained"] < 0.7
    assert whole["raw pixels"] == head["raw pixels"] > 0.9  # it has no layers


def test_the_model_is_left_as_it_was() -> None:
    encoder = blocked()
    before = copy.deepcopy(encoder.model.state_dict())
    scores(FineTuning(**FAST), {"trained": encoder})
    assert all(torch.equal(before[name], tensor) for name, tensor in encoder.model.state_dict().items())


def test_scores_repeat_and_cost_what_privacy_costs() -> None:
    encoders: dict[str, Encoder] = {"raw pixels": PixelEncoder()}
    private = FineTuning(epsilon=0.05, **FAST)
    found = scores(private, encoders)["raw pixels"]
    assert found == scores(private, encoders)["raw pixels"]
    assert found < scores(FineTuning(**FAST), encoders)["raw pixels"] - 0.2


def test_the_budget_is_the_accountants() -> None:
    probe = FineTuning(epsilon=3.0, delta=1e-4, **FAST)
    mechanism = probe.mechanism(120)
    answer = tight_guarantee(mechanism_event(mechanism), "add-remove", 1e-4)
    assert answer.epsilon is not None
    assert 2.98 < answer.epsilon <= 3.0
    assert (mechanism.steps, mechanism.batch_size, mechanism.dataset_size) == (40, 32, 120)
    detail = probe.measure({"raw pixels": PixelEncoder()}, DATA, RNG).detail
    assert detail["epsilon"] == 3.0
    assert detail["noise multiplier"] == mechanism.noise_multiplier
    assert FineTuning(**FAST).mechanism(120).noise_multiplier == 0
    assert math.isinf(FineTuning(**FAST).mechanism(120).clip_norm)


def test_what_is_executed_is_what_is_accounted(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many steps as accounted, all with its noise, and records that are drawn by Poisson sampling of that rate."""
    rows = []

    class Watched(DpStep):
        def __call__(self, step: int, model: nn.Module, load: Any) -> Any:
            release = super().__call__(step, model, load)
            rows.append(release.row)
            return release

    monkeypatch.setattr(fine_tuning, "DpStep", Watched)
    probe = FineTuning(epsilon=3.0, **(FAST | {"draws": 1}))
    probe.measure({"trained": blocked()}, DATA, RNG)
    mechanism = probe.mechanism(120)
    assert [row.step for row in rows] == list(range(40))
    assert {row.noise_std for row in rows} == {mechanism.noise_multiplier * 1.0}
    assert {row.divisor for row in rows} == {32}
    drawn = np.array([row.drawn for row in rows])
    assert abs(drawn.mean() - 32) < 4 * math.sqrt(120 * (32 / 120) * (1 - 32 / 120) / 40)
    assert len(set(drawn.tolist())) > 5
    assert max(row.max_clipped_norm or 0 for row in rows) <= 1 + 1e-5


def test_one_training_has_the_interval_of_its_test_records() -> None:
    encoders: dict[str, Encoder] = {"trained": blocked()}
    one, two = (FineTuning(**(FAST | {"draws": draws})).measure(encoders, DATA, RNG) for draws in (1, 2))
    for result in (one, two):
        (measurement,) = result.measurements
        assert measurement.score.low < measurement.score.value <= measurement.score.high
    assert two.detail["trainings"] == 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0},
        {"draws": 0},
        {"epsilon": 0.0},
        {"epsilon": math.nan},
        {"delta": 1.0},
        {"clip_norm": math.inf},
        {"learning_rate": 0.0},
        {"confidence": 0.0},
    ],
)
def test_wrong_options_are_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        FineTuning(**wrong)


def test_a_batch_larger_than_the_data_and_labels_that_lack_are_refused() -> None:
    with pytest.raises(InputError, match="batch_size = 500"):
        scores(FineTuning(batch_size=500), {"raw pixels": PixelEncoder()})
    bare = Examples(ids=DATA.test.ids, images=DATA.test.images, captions=None, labels=None)
    with pytest.raises(InputError, match="labels"):
        FineTuning(**FAST).measure(
            {"raw pixels": PixelEncoder()}, ProbeData(train=DATA.train, test=bare, classes=DATA.classes), RNG
        )


def test_a_training_that_blows_up_is_an_error() -> None:
    class Huge(PixelEncoder):
        def embed(self, model: nn.Module, images: torch.Tensor) -> torch.Tensor:
            return super().embed(model, images) / 0 * 0

    with pytest.raises(DpauditError, match=r"not finite|is nan"):
        scores(FineTuning(**FAST), {"trained": Huge()})


def test_the_conformance_suite_says_why_it_cannot_check_it() -> None:
    with pytest.raises(InputError, match="reads_encoders"):
        check(FineTuning())
