"""What every probe owes, tried on features of which it is known how much they are worth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from dpaudit.conformance.finding import Finding, asked, failed, passed, raised, unclear
from dpaudit.data.scenes.source import Scenes
from dpaudit.errors import InputError
from dpaudit.models.initialisation import seeded
from dpaudit.plugins import ProbeData, ReadsEncoders, ReadsQuestions, ReadsSpeech, ReadsText, ReadsTruth
from dpaudit.rng import Rng

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dpaudit.data.examples import Examples
    from dpaudit.plugins import FeatureSource, Probe
    from dpaudit.results import ProbeResult

__all__ = ["check_probe"]

_TRAIN, _TEST, _SIDE = 160, 160, 8
_RNG = Rng.from_seed(0).child("conformance")
#: flag -> what such a probe needs, which these checks do not have
_OTHERS = {
    "reads_text": ReadsText,
    "reads_truth": ReadsTruth,
    "reads_questions": ReadsQuestions,
    "reads_speech": ReadsSpeech,
    "reads_encoders": ReadsEncoders,
}


def check_probe(probe: Probe) -> tuple[Finding, ...]:
    """Return what every check found, in order.

    InputError for a probe of texts, questions, models or known directions: no features are there of known worth.
    """
    for flag, kind in _OTHERS.items():
        if isinstance(probe, kind) and getattr(probe, flag):
            raise InputError(flag, True, "a probe of features or logits: only of those is it known what they are worth")
    data = _data()
    try:
        result = _measured(probe, data, "first")
    except Exception as error:  # a stranger's plug-in may raise anything
        return (raised("measure", error),)
    return (
        asked("baselines", lambda check: _baselines(check, result)),
        asked("intervals", lambda check: _intervals(check, result)),
        asked("determinism", lambda check: _repeated(check, probe, data, result)),
        asked("direction", lambda check: _direction(check, result)),
    )


def _data() -> ProbeData:
    source = Scenes(size=_TRAIN + _TEST, image_size=_SIDE)
    records = source[source.ids()]
    train, test = records.take(slice(0, _TRAIN)), records.take(slice(_TRAIN, None))
    return ProbeData(train=train, test=test, classes=source.classes, source=source)


def _measured(probe: Probe, data: ProbeData, state: str) -> ProbeResult:
    with seeded(_RNG.child(state)):
        np.random.seed(int(torch.randint(2**31, ())))  # noqa: NPY002 (what a careless plug-in reads)
        return probe.measure(_features(len(data.classes)), data, _RNG.child("probe"))


def _features(classes: int) -> FeatureSource:
    """Return features that name the class, some that say nothing, and pixels."""

    def telling(examples: Examples) -> NDArray[np.float32]:
        named = np.eye(classes, dtype=np.float32)[_labels(examples)]
        return named * 3 + _noise(examples, classes) * np.float32(0.5)

    def silent(examples: Examples) -> NDArray[np.float32]:
        return _noise(examples, classes)

    def pixels(examples: Examples) -> NDArray[np.float32]:
        return (examples.images.reshape(len(examples), -1) / np.float32(255)).astype(np.float32)

    return {"trained": telling, "untrained": silent, "raw pixels": pixels}


def _labels(examples: Examples) -> NDArray[np.int64]:
    return np.zeros(len(examples), dtype=np.int64) if examples.labels is None else examples.labels


def _noise(examples: Examples, width: int) -> NDArray[np.float32]:
    return _RNG.child("features").uniform(examples.ids, width).astype(np.float32)


def _baselines(check: str, result: ProbeResult) -> Finding:
    found = [measurement.features for measurement in result.measurements]
    missing = [name for name in ("trained", "untrained", "raw pixels") if name not in found]
    if missing:
        return failed(check, f"no score of {', '.join(missing)}: a number says something beside its baselines alone")
    return passed(check, ", ".join(found))


def _intervals(check: str, result: ProbeResult) -> Finding:
    for measurement in result.measurements:
        score = measurement.score
        if not all(np.isfinite([score.value, score.low, score.high])):
            return failed(check, f"{measurement.features}: {score.value} [{score.low}, {score.high}] is not finite")
        if not score.low <= score.value <= score.high or score.low == score.high:
            return failed(check, f"{measurement.features}: [{score.low}, {score.high}] is no interval of {score.value}")
    return passed(check, f"of every score, {result.measurements[0].score.confidence:.0%}")


def _repeated(check: str, probe: Probe, data: ProbeData, result: ProbeResult) -> Finding:
    if _measured(probe, data, "second").measurements == result.measurements:
        return passed(check, "the same scores twice")
    return failed(check, "scores changed from call to call: draw everything from the rng")


def _direction(check: str, result: ProbeResult) -> Finding:
    scores = {measurement.features: measurement.score for measurement in result.measurements}
    telling, silent = scores["trained"], scores["untrained"]
    words = f"{result.metric} {telling.value:.3g} of features that name the class, {silent.value:.3g} of noise"
    if telling.low > silent.high:
        return passed(check, words)
    if telling.high < silent.low:
        return failed(check, f"{words}: higher must mean more useful")
    return unclear(check, f"{words}: it may measure something else")
