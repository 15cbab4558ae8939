"""The linear probe: right on separable data, at chance on noise, honest about its interval and its fits."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from dpaudit.data.examples import Examples
from dpaudit.errors import DpauditError, InputError
from dpaudit.plugins import Probe, ProbeData
from dpaudit.probes.linear import Linear, wilson
from dpaudit.rng import Rng

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

KEY = Rng.from_seed(11)
CLASSES = ("ant", "bee", "cat")


def labelled(name: str, labels: list[int] | NDArray[np.int64] | None, n: int = 0) -> Examples:
    count = n if labels is None else len(labels)
    ids = np.array([f"{name}/{i}" for i in range(count)], dtype=np.str_)
    given = None if labels is None else np.asarray(labels, dtype=np.int64)
    return Examples(ids=ids, images=np.zeros((count, 3, 1, 1), dtype=np.uint8), labels=given)


def random_data(rng: np.random.Generator, train: int, test: int) -> ProbeData:
    return ProbeData(
        train=labelled("train", rng.integers(3, size=train)),
        test=labelled("test", rng.integers(3, size=test)),
        classes=CLASSES,
    )


def signal(strength: float, width: int = 4, scale: float = 1.0) -> Callable[[Examples], NDArray[np.float32]]:
    """Features that are noise keyed by id, plus `strength` on the coordinate of the label."""

    def features(examples: Examples) -> NDArray[np.float32]:
        assert examples.labels is not None
        x = KEY.child("features").uniform(examples.ids, width)
        x[np.arange(len(examples)), examples.labels] += strength
        return (scale * x).astype(np.float32)

    return features


def test_it_is_a_probe() -> None:
    assert isinstance(Linear(), Probe)


def test_separable_features_are_read_and_noise_is_not() -> None:
    data = random_data(np.random.default_rng(0), train=120, test=200)
    features = {"trained": signal(2.0), "untrained": signal(0.0)}
    result = Linear().measure(features, data, KEY)
    assert (result.probe, result.run, result.metric, result.train_size, result.test_size) == (
        "linear",
        "",
        "accuracy",
        120,
        200,
    )
    trained, untrained = result.measurements
    assert (trained.features, trained.score.value) == ("trained", 1.0)
    assert trained.score.high == 1.0
    assert untrained.score.low < 1 / 3 < untrained.score.high
    assert result.detail["fits not converged (trained)"] == result.detail["fits not converged (untrained)"] == 0


def test_the_interval_covers_the_chance_of_random_labels() -> None:
    rng = np.random.default_rng(1)
    probe = Linear(grid=(0.1,), confidence=0.9)
    runs = [
        probe.measure({"noise": signal(0.0)}, random_data(rng, train=30, test=60), KEY.child(run)).measurements[0].score
        for run in range(100)
    ]
    missed = sum(not interval.low <= 1 / 3 <= interval.high for interval in runs)
    # labels are drawn after the features, so accuracy is Binomial(60, 1/3) / 60 whatever was fitted; of 100 intervals
    # 10 miss; fewer than 2 or more than 21 would be a chance of about 1 in 1,000
    assert 2 <= missed <= 21


def test_scale_and_constant_features_do_not_matter() -> None:
    data = random_data(np.random.default_rng(2), train=90, test=100)

    def with_constant(examples: Examples) -> NDArray[np.float32]:
        return np.hstack([signal(0.7, scale=1e4)(examples), np.ones((len(examples), 1), dtype=np.float32)])

    result = Linear().measure({"plain": signal(0.7), "scaled": with_constant}, data, KEY)
    plain, scaled = (measurement.score.value for measurement in result.measurements)
    assert plain == pytest.approx(scaled, abs=0.02)
    assert result.detail["C (plain)"] == result.detail["C (scaled)"]


def test_the_penalty_is_chosen_without_the_test_records() -> None:
    data = random_data(np.random.default_rng(3), train=90, test=40)
    swapped = ProbeData(train=data.train, test=labelled("other", [0, 1, 2]), classes=CLASSES)
    choices = [Linear().measure({"x": signal(0.5)}, d, KEY).detail["C (x)"] for d in (data, swapped)]
    assert choices[0] == choices[1]


def test_held_out_records_are_a_stratified_share() -> None:
    labels = np.array([0] * 50 + [1] * 30 + [2] * 2)
    held = Linear(held_out=0.3)._held_out(labels, KEY)
    assert held.sum() == math.floor(0.3 * 82)
    assert np.abs(np.bincount(labels[held], minlength=3) - 0.3 * np.array([50, 30, 2])).max() <= 1
    halved = Linear(held_out=0.5)._held_out(labels, KEY)
    assert not halved[labels == 2].all()
    assert (Linear(held_out=0.3)._held_out(labels, KEY.child("other")) != held).any()


def test_the_result_repeats_and_does_not_depend_on_other_features() -> None:
    data = random_data(np.random.default_rng(4), train=60, test=50)
    alone = Linear().measure({"x": signal(0.5)}, data, KEY)
    beside = Linear().measure({"y": signal(0.1), "x": signal(0.5)}, data, KEY)
    assert alone.measurements[0] == beside.measurements[1]


def test_fits_that_stop_early_are_told_in_the_result() -> None:
    data = random_data(np.random.default_rng(5), train=60, test=20)
    result = Linear(max_iter=1, grid=(1.0, 100.0)).measure({"x": signal(0.5)}, data, KEY)
    assert result.detail["fits not converged (x)"] == 3


def test_wilson_equals_the_roots_of_its_equation() -> None:
    interval = wilson(37, 120, 0.95)
    for bound in (interval.low, interval.high):
        # the shares p whose z-score, (37/120 - p) / sqrt(p (1 - p) / 120), is 1.96 (Wilson 1927)
        assert abs(37 / 120 - bound) / math.sqrt(bound * (1 - bound) / 120) == pytest.approx(1.959964, rel=1e-5)
    assert (wilson(0, 5, 0.9).low, wilson(5, 5, 0.9).high) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("train", "test", "expected"),
    [
        (labelled("a", None, 4), labelled("b", [0]), "probe data, train = .* with labels"),
        (labelled("a", [0, 0, 1, 1]), labelled("b", None, 4), "probe data, test = .* with labels"),
        (labelled("a", [0, 0, 0, 1]), labelled("b", [0]), "two classes or more"),
        (labelled("a", [0, 0, 1, 1]), labelled("b", []), "one record or more"),
    ],
)
def test_data_that_cannot_be_probed_is_refused(train: Examples, test: Examples, expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        Linear().measure({"x": signal(1.0)}, ProbeData(train=train, test=test, classes=CLASSES), KEY)


def test_features_that_are_not_finite_are_an_error() -> None:
    data = random_data(np.random.default_rng(6), train=20, test=20)
    with pytest.raises(DpauditError, match="features \\(x\\) are not finite"):
        Linear().measure({"x": signal(math.nan)}, data, KEY)


@pytest.mark.parametrize(
    ("field", "options"),
    [
        ("grid", {"grid": ()}),
        ("grid", {"grid": (1.0, 0.0)}),
        ("held_out", {"held_out": 0.6}),
        ("max_iter", {"max_iter": 0}),
        ("confidence", {"confidence": 1.0}),
    ],
)
def test_bad_options_are_named(field: str, options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"^{field} = "):
        Linear(**options)
