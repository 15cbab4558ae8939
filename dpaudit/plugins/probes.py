"""What a probe of utility measures, and on what: features, logits, texts, questions or speech."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from dpaudit.data.examples import Examples
    from dpaudit.plugins.attacks import Capability
    from dpaudit.plugins.data import Dataset
    from dpaudit.results import ProbeResult
    from dpaudit.rng import Rng

__all__ = [
    "Encoder",
    "FeatureSource",
    "Features",
    "Probe",
    "ProbeData",
    "ReadsEncoders",
    "ReadsLabels",
    "ReadsLogits",
    "ReadsMisdescriptions",
    "ReadsQuestions",
    "ReadsSpeech",
    "ReadsText",
    "ReadsTruth",
    "SharedSpace",
    "Speech",
]


class Features(Protocol):
    """Maps records to features (n, d)."""

    def __call__(self, examples: Examples, /) -> NDArray[np.float32]:
        """Return one row per record."""


FeatureSource: TypeAlias = "Mapping[str, Features]"


@dataclass(frozen=True, kw_only=True)
class ProbeData:
    """Records that no run was trained on, with labels where the data set has any (else no classes).

    source: the data set that they are from, for what else it can be asked.
    """

    train: Examples
    test: Examples
    classes: tuple[str, ...]
    source: Dataset | None = None


@runtime_checkable
class Probe(Protocol):
    """Measures utility; `features` maps names to feature functions.

    "trained", "untrained" and "raw pixels"; "pre-trained" too, where the weights of step 0 were not drawn, and
    "non-private", the run's twin without clip and noise, where `runs.non_private` asks for it.
    """

    def measure(self, features: FeatureSource, data: ProbeData, rng: Rng) -> ProbeResult:
        """Return the score of every kind of features. The engine fills in `run`."""


@runtime_checkable
class ReadsLogits(Protocol):
    """A capability of a probe: it asks a trainer that classifies for logits (n, classes) in place of features."""

    @property
    def reads_logits(self) -> bool:
        """Return whether it does."""


class Encoder(Features, Protocol):
    """Features of a model that may be trained on."""

    def fresh(self) -> nn.Module:
        """Return a copy of the model, the caller's own."""

    def embed(self, model: nn.Module, images: Tensor) -> Tensor:
        """Return features (n, d) of uint8 images (n, 3, S, S) by this copy; they can be differentiated."""


@runtime_checkable
class ReadsEncoders(Protocol):
    """A capability of a probe: it asks for an `Encoder` of each model, raw pixels included."""

    @property
    def reads_encoders(self) -> bool:
        """Return whether it does."""


class SharedSpace(Features, Protocol):
    """Features of a trainer that `EmbedsText`: unit vectors of images (n, d), and of texts in the same space."""

    def texts(self, captions: Sequence[str], /) -> NDArray[np.float32]:
        """Return unit vectors of texts, (n, d)."""


@runtime_checkable
class ReadsText(Protocol):
    """A capability of a probe: it asks a trainer that embeds text for a `SharedSpace` of each model, and no pixels."""

    @property
    def reads_text(self) -> bool:
        """Return whether it does."""


class Speech(Features, Protocol):
    """Features of a trainer that reads captions, and what else it can be asked."""

    def match(self, examples: Examples, captions: Sequence[str], /) -> NDArray[np.float64]:
        """Return how well each image and its caption match, (n,), higher = better.

        The cosine of a trainer that `EmbedsText`; else the mean log-probability per token, in nats.
        """

    def says(self, examples: Examples, beams: int, /) -> list[str]:
        """Return one caption per image; needs `Captions`."""

    def chooses(self, examples: Examples, captions: Sequence[str], /) -> NDArray[np.int64]:
        """Return which of the captions is said of each image, (n,); needs `ChoosesCaption`."""


@runtime_checkable
class ReadsSpeech(Protocol):
    """A capability of a probe: it asks a trainer that reads captions for the `Speech` of each model, and no pixels."""

    @property
    def reads_speech(self) -> tuple[Capability, ...]:
        """Return the protocols that the trainer must offer for it, of a tuple within one; none = it does not ask."""


@runtime_checkable
class ReadsLabels(Protocol):
    """A capability of a probe of captions or texts: it needs labels as well, which all other probes are taken to."""

    @property
    def reads_labels(self) -> bool:
        """Return whether it does."""


@runtime_checkable
class ReadsMisdescriptions(Protocol):
    """A capability of a probe: it needs a data set that `Misdescribes`."""

    @property
    def reads_misdescriptions(self) -> bool:
        """Return whether it does."""


@runtime_checkable
class ReadsTruth(Protocol):
    """A capability of a probe: it needs a data set whose truth is known, `spiked`, and no labels."""

    @property
    def reads_truth(self) -> bool:
        """Return whether it does."""


@runtime_checkable
class ReadsQuestions(Protocol):
    """A capability of a probe: it needs a data set that `AsksQuestions`, and no labels."""

    @property
    def reads_questions(self) -> bool:
        """Return whether it does."""
