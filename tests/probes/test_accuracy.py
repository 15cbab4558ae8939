"""The accuracy probe: counts what the largest logit gets right, fits nothing, and says what always one class scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from dpaudit.data.examples import Examples
from dpaudit.errors import DpauditError, InputError
from dpaudit.plugins import Probe, ProbeData, ReadsLogits
from dpaudit.probes.accuracy import Accuracy
from dpaudit.probes.linear import Linear, wilson
from dpaudit.rng import Rng

if TYPE_CHECKING:
    from numpy.typing import NDArray

KEY = Rng.from_seed(2)
LABELS = np.array([0, 0, 0, 1, 2, 2, 1, 0, 0, 2])


def held(labels: NDArray[np.int64] | None) -> ProbeData:
    n = 10 if labels is None else len(labels)
    ids = np.array([f"r/{i}" for i in range(n)], dtype=np.str_)
    records = Examples(ids=ids, images=np.zeros((n, 3, 1, 1), dtype=np.uint8), labels=labels)
    return ProbeData(train=records.take(slice(0, 0)), test=records, classes=("a", "b", "c"))


def logits_of(said: list[int]) -> NDArray[np.float32]:
    return np.eye(3, dtype=np.float32)[said] - 5


def test_it_is_a_probe_that_reads_logits() -> None:
    assert isinstance(Accuracy(), Probe)
    assert isinstance(Accuracy(), ReadsLogits)
    assert not isinstance(Linear(), ReadsLogits)


def test_what_is_right_is_counted() -> None:
    right, wrong = logits_of([0, 0, 0, 1, 2, 2, 1, 1, 1, 1]), logits_of([2, 2, 2, 2, 0, 0, 0, 2, 2, 0])
    result = Accuracy(confidence=0.9).measure(
        {"trained": lambda _: right, "untrained": lambda _: wrong}, held(LABELS), KEY
    )
    scores = {each.features: each.score for each in result.measurements}
    assert scores == {"trained": wilson(7, 10, 0.9), "untrained": wilson(0, 10, 0.9)}
    assert (result.metric, result.train_size, result.test_size) == ("accuracy", 0, 10)
    assert result.detail == {"most frequent class": 0.5}


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(InputError, match=r"^confidence = 1"):
        Accuracy(confidence=1.0)
    for data in (held(None), held(np.array([], dtype=np.int64))):
        with pytest.raises(InputError, match="no labelled records"):
            Accuracy().measure({}, data, KEY)
    broken = np.full((10, 3), np.nan, dtype=np.float32)
    with pytest.raises(DpauditError, match=r"logits \(trained\) are not finite"):
        Accuracy().measure({"trained": lambda _: broken}, held(LABELS), KEY)
