"""The few-shot probe: more shots tell more, noise is at chance, and its interval covers drawings and records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy.special import expit

from dpaudit.data.examples import Examples
from dpaudit.errors import DpauditError, InputError
from dpaudit.plugins import Probe, ProbeData
from dpaudit.probes.few_shot import FewShot, over_draws
from dpaudit.rng import Rng

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

KEY = Rng.from_seed(3)
CLASSES = ("ant", "bee", "cat", "dog")


def records(name: str, labels: NDArray[np.int64]) -> Examples:
    ids = np.array([f"{name}/{i}" for i in range(len(labels))], dtype=np.str_)
    return Examples(ids=ids, images=np.zeros((len(labels), 3, 1, 1), dtype=np.uint8), labels=labels)


def balanced(train: int = 15, test: int = 25) -> ProbeData:
    parts = {name: records(name, np.repeat(np.arange(4), size)) for name, size in (("train", train), ("test", test))}
    return ProbeData(train=parts["train"], test=parts["test"], classes=CLASSES)


def telling(strength: float) -> Callable[[Examples], NDArray[np.float32]]:
    def features(examples: Examples) -> NDArray[np.float32]:
        assert examples.labels is not None
        x = KEY.child("features").uniform(examples.ids, 12)
        x[np.arange(len(examples)), examples.labels] += strength
        return x.astype(np.float32)

    return features


def test_more_shots_tell_more_and_noise_is_at_chance() -> None:
    features = {"trained": telling(0.8), "untrained": telling(0.0)}
    found = {shots: FewShot(shots=shots).measure(features, balanced(), KEY) for shots in (1, 10)}
    (one, silent), (ten, _) = (found[shots].measurements for shots in (1, 10))
    assert 0.35 < one.score.value < ten.score.low
    assert silent.score.low < 0.25 < silent.score.high
    assert (found[1].train_size, found[10].train_size, found[1].test_size) == (4, 40, 100)
    assert found[10].metric == "accuracy, 10-shot"
    assert isinstance(FewShot(), Probe)


def test_drawings_are_of_each_class_and_the_same_for_all_features() -> None:
    labels = np.array([0] * 4 + [1] * 9)
    drawn = FewShot(shots=3, draws=20)._drawn(labels, KEY)
    for rows, classes in drawn:
        assert len(set(rows.tolist())) == 6
        assert (labels[rows] == classes).all()
        assert np.bincount(classes).tolist() == [3, 3]
    assert len({tuple(rows.tolist()) for rows, _ in drawn}) > 10
    alone = FewShot().measure({"x": telling(0.5)}, balanced(), KEY).measurements[0]
    assert FewShot().measure({"y": telling(0.1), "x": telling(0.5)}, balanced(), KEY).measurements[1] == alone


@pytest.mark.parametrize(("by_draw", "by_record"), [(0.0, 0.0), (0.6, 0.0), (0.0, 1.5), (0.5, 1.0)])
def test_the_interval_covers_the_mean_over_drawings_and_records(by_draw: float, by_record: float) -> None:
    rng = np.random.default_rng(0)

    def outcomes(draws: int, count: int) -> NDArray[np.bool_]:
        a, b = by_draw * rng.normal(size=(draws, 1)), by_record * rng.normal(size=(1, count))
        return rng.random((draws, count)) < expit(0.4 + a + b)

    truth = float(np.mean([outcomes(400, 400).mean() for _ in range(20)]))
    intervals = [over_draws(outcomes(8, 60), 0.9) for _ in range(300)]
    covered = sum(each.low <= truth <= each.high for each in intervals)
    assert covered > 0.85 * 300  # of 270 expected; fewer than 255 would be a chance of about 1 in 500
    assert covered < 300  # an interval that always covers says nothing


def test_ignoring_the_drawings_would_cover_too_little() -> None:
    rng = np.random.default_rng(1)
    draw = 0.6 * rng.normal(size=(300, 8, 1))
    runs = rng.random((300, 8, 60)) < expit(0.4 + draw)
    truth = float(expit(0.4 + 0.6 * rng.normal(size=200_000)).mean())
    naive = [over_draws(np.reshape(run, (2, -1)), 0.9) for run in runs]  # as if there were two drawings of 240 records
    assert sum(each.low <= truth <= each.high for each in naive) < sum(
        each.low <= truth <= each.high for each in (over_draws(run, 0.9) for run in runs)
    )


def test_a_probe_that_is_always_right_has_an_interval() -> None:
    score = over_draws(np.ones((5, 30), dtype=np.bool_), 0.95)
    assert (score.value, score.high) == (1.0, 1.0)
    assert 0.85 < score.low < 0.95


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(InputError, match="6 records or more each"):
        FewShot(shots=6).measure({"x": telling(1.0)}, balanced(train=5), KEY)
    with pytest.raises(DpauditError, match="not finite"):
        FewShot().measure({"x": telling(np.nan)}, balanced(), KEY)


@pytest.mark.parametrize(
    ("field", "options"),
    [("shots", {"shots": 0}), ("draws", {"draws": 1}), ("penalty", {"penalty": 0}), ("confidence", {"confidence": 0})],
)
def test_bad_options_are_named(field: str, options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"^{field} = "):
        FewShot(**options)
