"""The linear probe by LARS: right on separable data, at chance on noise, its rule the published one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from dpaudit.data.examples import Examples
from dpaudit.errors import DpauditError, InputError
from dpaudit.plugins import Probe, ProbeData
from dpaudit.probes.linear_lars import LinearLars, _lars, _probe
from dpaudit.rng import Rng

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

KEY = Rng.from_seed(8)
QUICK = LinearLars(epochs=50, warmup=5, batch_size=100, base_rate=60.0)  # few steps, so long ones


def data(train: int = 300, test: int = 200) -> ProbeData:
    labels = np.random.default_rng(0).integers(3, size=train + test)
    ids = np.array([f"r/{i}" for i in range(train + test)], dtype=np.str_)
    every = Examples(ids=ids, images=np.zeros((train + test, 3, 1, 1), dtype=np.uint8), labels=labels)
    parts = every.take(slice(0, train)), every.take(slice(train, None))
    return ProbeData(train=parts[0], test=parts[1], classes=("ant", "bee", "cat"))


def telling(strength: float, scale: float = 1.0) -> Callable[[Examples], NDArray[np.float32]]:
    def features(examples: Examples) -> NDArray[np.float32]:
        assert examples.labels is not None
        x = KEY.child("features").uniform(examples.ids, 5)
        x[np.arange(len(examples)), examples.labels] += strength
        return (scale * x).astype(np.float32)

    return features


def test_separable_features_are_read_noise_is_not_and_scale_does_not_matter() -> None:
    features = {"trained": telling(2.0), "scaled": telling(2.0, 1e3), "untrained": telling(0.0)}
    result = QUICK.measure(features, data(), KEY)
    trained, scaled, untrained = (measurement.score for measurement in result.measurements)
    assert trained.value > 0.98
    assert scaled.value == pytest.approx(trained.value, abs=0.01)
    assert untrained.low < 1 / 3 < untrained.high
    assert result.detail == {"epochs": 50, "batch size": 100, "rate": 60 * 100 / 256}
    assert isinstance(QUICK, Probe)


def test_a_step_is_that_of_you_and_others_for_the_matrix_and_plain_for_the_bias() -> None:
    model = _probe(4, 3, KEY)
    weight, bias = (part.detach().clone() for part in model[1].parameters())
    optimizer = _lars(model)
    for group in optimizer.param_groups:
        group["lr"] = 0.5
    gradients = [torch.randn(3, 4, generator=torch.Generator().manual_seed(1)), torch.tensor([1.0, -2.0, 0.5])]
    for parameter, gradient in zip(model[1].parameters(), gradients, strict=True):
        parameter.grad = gradient.clone()
    optimizer.step()
    local = 0.001 * weight.norm() / gradients[0].norm()
    matrix, offset = (part.detach() for part in model[1].parameters())
    torch.testing.assert_close(matrix, weight - 0.5 * local * gradients[0])
    torch.testing.assert_close(offset, bias - 0.5 * gradients[1])


def test_the_result_repeats_and_a_batch_is_at_most_all_records() -> None:
    first, again = (LinearLars(epochs=3, warmup=1).measure({"x": telling(1.0)}, data(101), KEY) for _ in range(2))
    assert first == again
    assert first.detail["batch size"] == 101


def test_what_cannot_be_fitted_is_refused() -> None:
    with pytest.raises(InputError, match="2 labelled records or more"):
        QUICK.measure({"x": telling(1.0)}, data(train=1), KEY)
    with pytest.raises(DpauditError, match=r"features \(x\) are not finite"):
        QUICK.measure({"x": telling(np.nan)}, data(), KEY)


@pytest.mark.parametrize(
    ("field", "options"),
    [
        ("epochs", {"epochs": 0}),
        ("warmup", {"epochs": 10}),
        ("batch_size", {"batch_size": 1}),
        ("base_rate", {"base_rate": 0.0}),
        ("confidence", {"confidence": 1.0}),
    ],
)
def test_bad_options_are_named(field: str, options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"^{field} = "):
        LinearLars(**options)
