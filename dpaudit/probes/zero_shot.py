"""Zero-shot classification: an image belongs to the class whose name, put into a caption, is nearest to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dpaudit.errors import DpauditError, InputError
from dpaudit.probes.linear import wilson
from dpaudit.results import Measurement, ProbeResult

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from dpaudit.plugins import ProbeData, SharedSpace
    from dpaudit.rng import Rng

__all__ = ["ZeroShot"]

_PLACE = "{class}"


@dataclass(frozen=True, kw_only=True)
class ZeroShot:
    """Accuracy of class-name captions (Radford et al. 2021), nothing fitted. The row of step 0 is what epsilon 0 buys.

    templates: captions with {class} in them; a class's vector is the mean of its captions' unit vectors. confidence:
    of the Wilson interval, over draws of test records with the model fixed.

    >>> ZeroShot(templates=("a photo of a {class}", "a drawing of a {class}")).prompts(("dog",))
    ['a photo of a dog', 'a drawing of a dog']
    """

    templates: tuple[str, ...] = ("a photo of a {class}",)
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if not self.templates or not all(_PLACE in template for template in self.templates):
            raise InputError("templates", self.templates, f"one caption or more, each with {_PLACE}")
        if not 0 < self.confidence < 1:
            raise InputError("confidence", self.confidence, "a number between 0 and 1, both excluded")

    @property
    def reads_text(self) -> bool:
        """Return that `measure` takes unit vectors of images and texts."""
        return True

    @property
    def reads_labels(self) -> bool:
        """Return that `measure` compares with labels."""
        return True

    def prompts(self, classes: tuple[str, ...]) -> list[str]:
        """Return the captions of all classes, those of a class side by side."""
        return [template.replace(_PLACE, name) for name in classes for template in self.templates]

    def measure(self, features: Mapping[str, SharedSpace], data: ProbeData, rng: Rng) -> ProbeResult:  # noqa: ARG002 (a contract)
        """Return the test accuracy of every model; `detail` says what chance and always one class would score."""
        labels = data.test.labels
        if labels is None or not len(labels) or not data.classes:
            raise InputError("probe data, test", "no labelled records", "one or more, with names for their classes")
        measurements = []
        for name, space in features.items():
            right = int((self._nearest(name, space, data) == labels).sum())
            measurements.append(Measurement(features=name, score=wilson(right, len(labels), self.confidence)))
        return ProbeResult(
            probe="zero-shot",
            run="",
            metric="accuracy",
            measurements=tuple(measurements),
            train_size=0,
            test_size=len(labels),
            detail={
                "chance": 1 / len(data.classes),
                "most frequent class": float(np.bincount(labels).max() / len(labels)),
                "templates": "; ".join(self.templates),
            },
        )

    def _nearest(self, name: str, space: SharedSpace, data: ProbeData) -> NDArray[np.intp]:
        images, texts = space(data.test), space.texts(self.prompts(data.classes))
        means = texts.reshape(len(data.classes), len(self.templates), -1).mean(axis=1)
        lengths = np.linalg.norm(means, axis=1, keepdims=True)
        if not (np.isfinite(images).all() and np.isfinite(means).all()):
            raise DpauditError(f"probe zero-shot: vectors ({name}) are not finite")
        nearest: NDArray[np.intp] = (images @ (means / np.maximum(lengths, 1e-12)).T).argmax(axis=1)
        return nearest
