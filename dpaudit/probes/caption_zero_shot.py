"""Zero-shot classification by a captioner: an image is of the class whose caption it would say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from dpaudit.errors import DpauditError, InputError
from dpaudit.plugins import CaptionLikelihood, ChoosesCaption
from dpaudit.probes.linear import wilson
from dpaudit.results import Measurement, ProbeResult

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from dpaudit.data.examples import Examples
    from dpaudit.plugins import Capability, ProbeData, Speech
    from dpaudit.rng import Rng

__all__ = ["CaptionZeroShot"]

_PLACE = "{class}"


@dataclass(frozen=True, kw_only=True)
class CaptionZeroShot:
    """Accuracy of class-name captions under a captioner (Sander et al. 2024), nothing fitted.

    templates: captions with {class} in them; a class name with commas is several names, as ImageNet's are. Of all
    captions of a class the best counts. by: `likelihood`, the mean log-probability per token of each, which runs the
    decoder once per caption and image; or `tree`, one caption decoded greedily, open to these alone. confidence: of the
    Wilson interval, over draws of test records with the model fixed. Classes whose likelihoods tie share the credit.

    >>> CaptionZeroShot(templates=("this is a photo of a {class}",)).wordings("tench, Tinca tinca")
    ('this is a photo of a tench', 'this is a photo of a Tinca tinca')
    """

    templates: tuple[str, ...] = ("a photo of a {class}",)
    by: Literal["likelihood", "tree"] = "likelihood"
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if not self.templates or not all(_PLACE in template for template in self.templates):
            raise InputError("templates", self.templates, f"one caption or more, each with {_PLACE}")
        if not 0 < self.confidence < 1:
            raise InputError("confidence", self.confidence, "a number between 0 and 1, both excluded")

    @property
    def reads_speech(self) -> tuple[Capability, ...]:
        """Return that the trainer must know how likely a caption is, or choose one."""
        return (CaptionLikelihood,) if self.by == "likelihood" else (ChoosesCaption,)

    @property
    def reads_labels(self) -> bool:
        """Return that `measure` compares with labels."""
        return True

    def wordings(self, name: str) -> tuple[str, ...]:
        """Return the captions of one class, each once."""
        names = [part.strip() for part in name.split(",") if part.strip()]
        return tuple(dict.fromkeys(template.replace(_PLACE, part) for part in names for template in self.templates))

    def measure(self, features: Mapping[str, Speech], data: ProbeData, rng: Rng) -> ProbeResult:  # noqa: ARG002 (a contract)
        """Return the test accuracy of every model; `detail` says what chance and always one class would score."""
        labels = data.test.labels
        if labels is None or not len(labels) or not data.classes:
            raise InputError("probe data, test", "no labelled records", "one or more, with names for their classes")
        read = self._by_likelihood if self.by == "likelihood" else self._by_tree
        measurements = []
        for name, speech in features.items():
            credit = float(read(name, speech, data)[np.arange(len(labels)), labels].sum())
            measurements.append(Measurement(features=name, score=wilson(credit, len(labels), self.confidence)))
        return ProbeResult(
            probe="caption-zero-shot",
            run="",
            metric="accuracy",
            measurements=tuple(measurements),
            train_size=0,
            test_size=len(labels),
            detail={
                "by": self.by,
                "chance": 1 / len(data.classes),
                "most frequent class": float(np.bincount(labels).max() / len(labels)),
                "templates": "; ".join(self.templates),
            },
        )

    def _by_likelihood(self, name: str, speech: Speech, data: ProbeData) -> NDArray[np.float64]:
        """Return the credit of every class, (n, classes): 1 to the likeliest, shared where several are."""
        likelihood = np.stack([self._likelihood(speech, data.test, each) for each in data.classes], axis=1)
        if not np.isfinite(likelihood).all():
            raise DpauditError(f"probe caption-zero-shot: likelihoods ({name}) are not finite")
        best = likelihood == likelihood.max(axis=1, keepdims=True)
        return np.asarray(best / best.sum(axis=1, keepdims=True))

    def _likelihood(self, speech: Speech, records: Examples, name: str) -> NDArray[np.float64]:
        found = [speech.match(records, (wording,) * len(records)) for wording in self.wordings(name)]
        return np.asarray(np.max(found, axis=0))

    def _by_tree(self, name: str, speech: Speech, data: ProbeData) -> NDArray[np.float64]:  # noqa: ARG002 (as above)
        """Return 1 for the class whose caption was said, else 0, (n, classes)."""
        meaning = [(wording, number) for number, each in enumerate(data.classes) for wording in self.wordings(each)]
        said = speech.chooses(data.test, [wording for wording, _ in meaning])
        of = np.array([number for _, number in meaning], dtype=np.int64)
        return np.eye(len(data.classes))[of[said]]
