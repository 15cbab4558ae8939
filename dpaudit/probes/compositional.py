"""Compositional tests: is the true caption preferred to the same words put together wrongly?"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from dpaudit.errors import DpauditError, InputError
from dpaudit.plugins import CaptionLikelihood, EmbedsText, Misdescribes
from dpaudit.probes.linear import wilson
from dpaudit.results import Measurement, ProbeResult

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from dpaudit.data.examples import Examples
    from dpaudit.plugins import Capability, ProbeData, Speech
    from dpaudit.rng import Rng

__all__ = ["Compositional"]

_GREY = 128


@dataclass(frozen=True, kw_only=True)
class Compositional:
    """How often an image matches its true caption better than a false one of the same words; chance is 50 %.

    In the manner of ARO (Yuksekgonul et al. 2023, arXiv 2210.01936). exchanged: `attributes` (the colours of two
    things) and `relation` (left for right, above for below), which the data set must know, or `order` (the words of
    the caption, shuffled). Beside each model stands what it prefers where the image is plain grey: a caption that
    sounds wrong is told from the words alone, which only `order` allows on `scenes`. confidence: of the Wilson
    interval, over draws of test records with the model fixed; a tie counts half.

    >>> Compositional(exchanged="order").exchanged
    'order'
    """

    exchanged: Literal["attributes", "relation", "order"] = "attributes"
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if not 0 < self.confidence < 1:
            raise InputError("confidence", self.confidence, "a number between 0 and 1, both excluded")

    @property
    def reads_speech(self) -> tuple[Capability, ...]:
        """Return that the trainer must say how well an image and a caption match."""
        return ((EmbedsText, CaptionLikelihood),)

    @property
    def reads_misdescriptions(self) -> bool:
        """Return whether the data set must know what to exchange."""
        return self.exchanged != "order"

    def measure(self, features: Mapping[str, Speech], data: ProbeData, rng: Rng) -> ProbeResult:
        """Return how often the true caption wins, of every model, with the image and without."""
        pairs = self._pairs(data, rng)
        rows = [row for row, pair in enumerate(pairs) if pair is not None]
        if not rows:
            raise InputError("probe data, test", f"{len(data.test)} records", "one with something to exchange, or more")
        true, false = zip(*(pair for pair in pairs if pair is not None), strict=True)
        seen = data.test.take(np.array(rows))
        hidden = dataclasses.replace(seen, images=np.full_like(seen.images, _GREY))
        scores = {}
        for suffix, records in (("", seen), (", image hidden", hidden)):
            for name, speech in features.items():
                wins = _wins(name, speech.match(records, true), speech.match(records, false))
                scores[name + suffix] = wilson(float(wins.sum()), len(wins), self.confidence)
        return ProbeResult(
            probe="compositional",
            run="",
            metric=f"accuracy, {self.exchanged}",
            measurements=tuple(Measurement(features=name, score=score) for name, score in scores.items()),
            train_size=0,
            test_size=len(rows),
            detail={"chance": 0.5, "test records with nothing to exchange": len(pairs) - len(rows)},
        )

    def _pairs(self, data: ProbeData, rng: Rng) -> list[tuple[str, str] | None]:
        """Return (true, false) for each test record, None where there is nothing to exchange."""
        if self.exchanged == "order":
            return _shuffled(data.test, rng.child("order"))
        if not isinstance(data.source, Misdescribes):
            expected = f"a data set that can exchange {self.exchanged}: scenes; or exchanged: order"
            raise InputError("probe data", type(data.source).__name__, expected)
        return list(data.source.misdescribed(data.test.ids, self.exchanged))


def _shuffled(records: Examples, rng: Rng) -> list[tuple[str, str] | None]:
    """Return each caption beside its words in another order, drawn by the record's id; None where there is no other."""
    if records.captions is None:
        raise InputError("probe data, test", "records without captions", "data with captions")
    return [
        _reordered(caption, rng.child(identity))
        for identity, caption in zip(records.ids.tolist(), records.captions, strict=True)
    ]


def _reordered(caption: str, rng: Rng) -> tuple[str, str] | None:
    words, draws = caption.split(), rng.numpy()
    if len(set(words)) < 2:
        return None
    other = words
    while other == words:
        other = [words[place] for place in draws.permutation(len(words))]
    return " ".join(words), " ".join(other)


def _wins(name: str, true: NDArray[np.float64], false: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 1 where the true caption matches better, 0.5 where both match as well, else 0, (n,)."""
    if not (np.isfinite(true).all() and np.isfinite(false).all()):
        raise DpauditError(f"probe compositional: scores ({name}) are not finite")
    return np.asarray((np.sign(true - false) + 1) / 2)
