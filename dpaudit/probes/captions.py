"""Caption quality: what a captioner says of test images, against what people said (BLEU-4 and CIDEr)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from dpaudit.errors import InputError
from dpaudit.plugins import Captions
from dpaudit.results import Interval, Measurement, ProbeResult

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from dpaudit.data.examples import Examples
    from dpaudit.plugins import Capability, ProbeData, Speech
    from dpaudit.rng import Rng

__all__ = ["CaptionQuality"]

_WORD = re.compile(r"\w+")
_METRICS = ("CIDEr", "BLEU-4")


@dataclass(frozen=True, kw_only=True)
class CaptionQuality:
    """CIDEr or BLEU-4 of greedy or beam captions, by the COCO evaluation's own code (extra `captions`).

    metric: the one that is shown; `detail` has both. References are all captions of a record. Words are lower-case
    runs of letters and digits; the COCO server uses Stanford's tokenizer, which needs Java. beams: beginnings kept, 1
    = greedy. resamples: bootstrap draws of test images for the interval, at this confidence, with the model and
    CIDEr's word frequencies fixed. Beside the models stands a caption of another record, drawn for each image: what a
    captioner that never looks scores.

    >>> CaptionQuality(metric="BLEU-4").beams
    1
    """

    metric: Literal["CIDEr", "BLEU-4"] = "CIDEr"
    beams: int = 1
    resamples: int = 200
    confidence: float = 0.95

    def __post_init__(self) -> None:
        for name, least in (("beams", 1), ("resamples", 20)):
            if getattr(self, name) < least:
                raise InputError(name, getattr(self, name), f"{least} or more")
        if not 0 < self.confidence < 1:
            raise InputError("confidence", self.confidence, "a number between 0 and 1, both excluded")
        _library()

    @property
    def reads_speech(self) -> tuple[Capability, ...]:
        """Return that the trainer must say captions."""
        return (Captions,)

    def measure(self, features: Mapping[str, Speech], data: ProbeData, rng: Rng) -> ProbeResult:
        """Return the score of every model, and of captions that belong to other images."""
        references = _references(data.test)
        said = {name: speech.says(data.test, self.beams) for name, speech in features.items()}
        others = _references(data.train) if data.train.captions else references
        drawn = rng.child("others").numpy().integers(len(others), size=len(references))
        said["caption of another image"] = [others[place][0] for place in drawn]
        measurements, detail = [], {"references per image": float(np.mean([len(each) for each in references]))}
        for name, captions in said.items():
            judged = _judged([_plain(each) for each in captions], references)
            values = {metric: judged.score(metric, np.arange(len(references))) for metric in _METRICS}
            detail |= {f"{metric} ({name})": value for metric, value in values.items()}
            score = self._interval(judged, values[self.metric], rng.child("resamples"))
            measurements.append(Measurement(features=name, score=score))
        return ProbeResult(
            probe="captions",
            run="",
            metric=self.metric,
            measurements=tuple(measurements),
            train_size=0,
            test_size=len(references),
            detail={**detail},
        )

    def _interval(self, judged: _Judged, value: float, rng: Rng) -> Interval:
        """Return the bootstrap percentile interval over test images, which holds the value itself."""
        draws, count = rng.numpy(), len(judged.cider)
        found = [judged.score(self.metric, draws.integers(count, size=count)) for _ in range(self.resamples)]
        low, high = np.quantile(found, [(1 - self.confidence) / 2, (1 + self.confidence) / 2])
        return Interval(
            value=value, low=min(float(low), value), high=max(float(high), value), confidence=self.confidence
        )


class _Judged(NamedTuple):
    """What scores are made of: the CIDEr of each caption, (n,), and the n-grams that BLEU counts in each."""

    cider: NDArray[np.float64]
    tests: list[Any]
    references: list[Any]

    def score(self, metric: str, rows: NDArray[np.int64]) -> float:
        """Return the score of these captions as a whole; a row may come several times."""
        if metric == "CIDEr":
            return float(self.cider[rows].mean())
        _, bleu = _library()
        scorer = bleu(n=4)
        scorer.ctest = [self.tests[row] for row in rows]
        scorer.crefs = [self.references[row] for row in rows]
        found, _ = scorer.compute_score(option="closest")
        return float(found[3])


def _judged(captions: Sequence[str], references: Sequence[tuple[str, ...]]) -> _Judged:
    cider, bleu = (scorer(n=4) for scorer in _library())
    for caption, known in zip(captions, references, strict=True):
        cider += (caption, list(known))
        bleu += (caption, list(known))
    _, each = cider.compute_score()
    return _Judged(np.asarray(each, dtype=np.float64), bleu.ctest, bleu.crefs)


def _references(records: Examples) -> list[tuple[str, ...]]:
    """Return all captions of each record, in plain words."""
    if not records.captions or len(records) < 2:
        raise InputError("probe data, test", f"{len(records)} records", "two or more, with captions")
    others = records.other_captions or ((),) * len(records)
    return [tuple(map(_plain, (first, *more))) for first, more in zip(records.captions, others, strict=True)]


def _plain(caption: str) -> str:
    """Return a caption as lower-case words with single spaces.

    >>> _plain("A large red ring, above a small  star.")
    'a large red ring above a small star'
    """
    return " ".join(_WORD.findall(caption.lower()))


def _library() -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return the scorers of CIDEr and BLEU."""
    try:
        from pycocoevalcap.bleu.bleu_scorer import BleuScorer  # noqa: PLC0415  # an extra
        from pycocoevalcap.cider.cider_scorer import CiderScorer  # noqa: PLC0415  # as above
    except ImportError:
        raise InputError("probe", "captions", "the extra `captions`: pip install 'dpaudit[captions]'") from None
    return CiderScorer, BleuScorer
