"""Compositional tests: right with a model that looks, at chance with one that does not, and blind to words alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from dpaudit.data.digits import Digits
from dpaudit.data.scenes.layout import COLOURS
from dpaudit.data.scenes.source import Scenes
from dpaudit.errors import DpauditError, InputError
from dpaudit.plugins import Misdescribes, Probe, ProbeData, ReadsSpeech
from dpaudit.probes.compositional import Compositional
from dpaudit.rng import Rng

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from dpaudit.data.examples import Examples

KEY = Rng.from_seed(2)
SOURCE = Scenes(size=400, image_size=8)


class Scorer:
    """Scores a caption by a function of (record's true caption or None where the picture is grey, caption)."""

    def __init__(self, score: Callable[[str | None, str], float]) -> None:
        self.score = score

    def __call__(self, examples: Examples, /) -> NDArray[np.float32]:
        return np.zeros((len(examples), 1), dtype=np.float32)

    def match(self, examples: Examples, captions: Sequence[str], /) -> NDArray[np.float64]:
        assert examples.captions is not None
        grey = bool((examples.images == 128).all())
        known = [None if grey else caption for caption in examples.captions]
        return np.array([self.score(*pair) for pair in zip(known, captions, strict=True)])

    def says(self, examples: Examples, beams: int, /) -> list[str]:
        raise NotImplementedError

    def chooses(self, examples: Examples, captions: Sequence[str], /) -> NDArray[np.int64]:
        raise NotImplementedError


def scenes(n: int = 400) -> ProbeData:
    records = SOURCE[SOURCE.ids()[:n]]
    return ProbeData(train=records.take(slice(0, 0)), test=records, classes=SOURCE.classes, source=SOURCE)


def looks(true: str | None, caption: str) -> float:
    return float(caption == true)


def noise(true: str | None, caption: str) -> float:  # noqa: ARG001 (a score that knows nothing)
    return float(KEY.child("blind", caption).numpy().random())


@pytest.mark.parametrize("exchanged", ["attributes", "relation", "order"])
def test_who_looks_is_right_and_who_does_not_is_at_chance(exchanged: str) -> None:
    probe = Compositional(exchanged=exchanged, confidence=0.999)  # type: ignore[arg-type]  # the parametrisation's strings are literals
    result = probe.measure({"trained": Scorer(looks), "untrained": Scorer(noise)}, scenes(), KEY)
    scores = {measurement.features: measurement.score for measurement in result.measurements}
    assert list(scores) == ["trained", "untrained", "trained, image hidden", "untrained, image hidden"]
    assert scores["trained"].value == 1.0
    assert scores["trained, image hidden"].value == 0.5  # all are ties
    assert scores["untrained"].low < 0.5 < scores["untrained"].high
    left_out = result.detail["test records with nothing to exchange"]
    assert isinstance(left_out, int)
    assert result.test_size + left_out == 400
    assert (left_out == 0) == (exchanged == "order")


def test_a_false_caption_of_a_scene_differs_by_the_exchange_alone() -> None:
    assert isinstance(SOURCE, Misdescribes)
    true_of = dict(zip(SOURCE.ids().tolist(), SOURCE.all_captions(SOURCE.ids()), strict=True))
    for exchanged in ("attributes", "relation"):
        pairs = SOURCE.misdescribed(SOURCE.ids(), exchanged)
        assert 200 < sum(pair is not None for pair in pairs) < 400
        for name, pair in zip(SOURCE.ids().tolist(), pairs, strict=True):
            assert (pair is None) == (len(true_of[name][0].split()) < 6)
            if pair is None:
                continue
            true, false = (caption.split() for caption in pair)
            changed = {word for place, word in enumerate(true) if len(true) != len(false) or word != false[place]}
            assert pair[0] == true_of[name][0]
            assert pair[1] not in true_of[name]
            assert exchanged == "relation" or (changed <= set(COLOURS) and len(changed) == 2)


@pytest.mark.parametrize("exchanged", ["attributes", "relation"])
def test_words_alone_do_not_tell_the_true_caption(exchanged: str) -> None:
    source = Scenes(size=20_000, image_size=8)
    pairs = [pair for pair in source.misdescribed(source.ids(), exchanged) if pair is not None]  # type: ignore[arg-type]  # as above
    counts: dict[str, list[int]] = {}
    for true, false in pairs:
        for place, caption in enumerate((true, false)):
            kept = [word for word in caption.split() if word in {*COLOURS, "left", "right", "above", "below"}]
            counts.setdefault(" ".join(kept[:2]), [0, 0])[place] += 1
    first, second = np.array(list(counts.values())).T
    # of either kind as many: differences of independent counts, 5 standard deviations
    assert (np.abs(first - second) <= 5 * np.sqrt(first + second)).all()


def test_the_interval_covers_chance() -> None:
    data, probe = scenes(60), Compositional(exchanged="order", confidence=0.9)
    missed = 0
    for run in range(100):
        coin = KEY.child("coin", run)
        scorer = Scorer(lambda _, caption, coin=coin: float(coin.child(caption).numpy().random()))  # type: ignore[misc]  # a default binds the loop's variable
        score = probe.measure({"x": scorer}, data, KEY).measurements[0].score
        missed += not score.low <= 0.5 <= score.high
    assert 2 <= missed <= 21  # Binomial(100, about 0.1); outside is a chance of about 1 in 1,000


def test_what_cannot_be_exchanged_is_refused() -> None:
    digits = Digits()
    records = digits[digits.ids()[:3]]
    data = ProbeData(train=records, test=records, classes=(), source=digits)
    with pytest.raises(InputError, match="exchange attributes: scenes; or exchanged: order"):
        Compositional().measure({"x": Scorer(looks)}, data, KEY)
    single = SOURCE[np.array(["scene/3"])]
    alone = ProbeData(train=single, test=single, classes=(), source=SOURCE)
    with pytest.raises(InputError, match="something to exchange"):
        Compositional().measure({"x": Scorer(looks)}, alone, KEY)
    with pytest.raises(DpauditError, match=r"scores \(x\) are not finite"):
        Compositional().measure({"x": Scorer(lambda *_: float("nan"))}, scenes(20), KEY)
    with pytest.raises(InputError, match=r"^confidence = 0"):
        Compositional(confidence=0)
    assert isinstance(Compositional(), Probe)
    assert isinstance(Compositional(), ReadsSpeech)
