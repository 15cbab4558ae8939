"""The contracts of plug-ins: the whole of what a researcher must know to bring a data set, trainer, attack or probe.

A plug-in is a frozen dataclass whose fields are its options. It is found by entry point (groups `dpaudit.attacks`,
`dpaudit.trainers`, `dpaudit.probes`, `dpaudit.datasets`), as `pkg.mod:Name` or as `./file.py:Name`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn
    from torch.optim import Optimizer

    from dpaudit.canaries import Family
    from dpaudit.data.examples import Examples
    from dpaudit.dp.tensors import Batch, Gradients
    from dpaudit.mechanism import Adjacency, Mechanism
    from dpaudit.models.generation import CaptionLikelihoods
    from dpaudit.results import ProbeResult
    from dpaudit.rng import Array, Rng
    from dpaudit.scores import Access

__all__ = [
    "AccumulatesLikelihood",
    "Attack",
    "AttackView",
    "BatchTrainer",
    "Candidates",
    "CaptionLikelihood",
    "Captions",
    "Classifies",
    "Dataset",
    "EmbedsText",
    "FeatureSource",
    "Features",
    "GivenPart",
    "NamesOptimisation",
    "Needs",
    "PerExampleTrainer",
    "Probe",
    "ProbeData",
    "ReadsLogits",
    "Reconstructs",
    "Target",
    "Trace",
    "Trainer",
]


@runtime_checkable
class Dataset(Protocol):
    """Records with random access and stable ids; one record = one privacy unit; pairing and captions are fixed here."""

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Class names by label, or None without labels."""

    def __len__(self) -> int: ...

    def ids(self) -> NDArray[np.str_]:
        """Return all ids, (N,) strings, always in the same order."""

    def __getitem__(self, ids: NDArray[np.str_]) -> Examples:
        """Return the records with these ids, in this order. A decoding error names the file."""

    def fingerprint(self) -> str:
        """Return a short hash that changes when the data changes, without decoding any image."""


@runtime_checkable
class Trainer(Protocol):
    """One published system. `image_size`: side of the square images it takes; `modality`: what it reads of a record."""

    @property
    def image_size(self) -> int:
        """Return the side of its square input images, in pixels."""

    @property
    def modality(self) -> frozenset[str]:
        """A subset of {"image", "caption", "label"}."""

    def build(self, rng: Rng) -> nn.Module:
        """Return the model at step 0; every parameter that requires_grad is trained."""

    def collate(self, examples: Examples, rng: Rng) -> Batch:
        """Return the tensors of a batch. ALL randomness of a step is drawn here, per (rng, id)."""

    def embed(self, model: nn.Module, images: Tensor) -> Tensor:
        """Return features (n, d) of uint8 images (n, 3, S, S)."""

    def optimizer(self, parameters: Sequence[nn.Parameter], steps: int) -> Optimizer:
        """Return the optimizer that consumes the released gradients."""

    def learning_rate(self, step: int, steps: int) -> float:
        """Return the learning rate of step 0, 1, ... of `steps`."""


@runtime_checkable
class PerExampleTrainer(Trainer, Protocol):
    """The loss is a sum over records: the engine clips. Sensitivity C (add-remove, zero-out), 2C (replace-one)."""

    def losses(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return one loss per record, (n,); row i depends on record i alone."""


@runtime_checkable
class BatchTrainer(Trainer, Protocol):
    """The loss couples records: the trainer sees the whole logical batch and bounds its own sum."""

    def bounded_sum(self, model: nn.Module, batch: Batch, clip: float) -> Gradients:
        """Return the bounded gradient sum of the whole batch."""

    def sensitivity(self, clip: float, adjacency: Adjacency) -> float:
        """Return the L2 sensitivity of `bounded_sum`, valid for EVERY drawn batch size, 0 and 1 included."""


@runtime_checkable
class NamesOptimisation(Protocol):
    """A capability: options of its own optimizer are refused, not ignored, where the recipe names another optimizer."""

    @property
    def optimisation_options(self) -> frozenset[str]:
        """Return the options that act through its own optimizer and learning rate alone."""


@runtime_checkable
class GivenPart(Protocol):
    """A capability: weights that a recipe starts from belong to a part of its model, the rest is drawn."""

    def given_part(self, model: nn.Module) -> nn.Module:
        """Return that part."""


@runtime_checkable
class Classifies(Protocol):
    """A capability: the model says which class an image is of."""

    @property
    def classes(self) -> int:
        """Return how many classes it knows, a public number; labels are 0, ..., classes - 1."""

    def logits(self, model: nn.Module, images: Tensor) -> Tensor:
        """Return the logits (n, classes) of uint8 images (n, 3, S, S)."""


@runtime_checkable
class Reconstructs(Protocol):
    """A capability: the model paints what it was not shown."""

    def reconstruct(self, model: nn.Module, examples: Examples, rng: Rng) -> tuple[Array, Array]:
        """Return (what the model saw, what it painted), both uint8 (n, 3, S, S)."""


@runtime_checkable
class Captions(Protocol):
    """A capability: the model says what an image shows."""

    def caption(self, model: nn.Module, images: Tensor, beams: int = 1) -> list[str]:
        """Return one caption per uint8 image (n, 3, S, S), the same each time. beams: beginnings kept; 1 = greedy."""


@runtime_checkable
class CaptionLikelihood(Protocol):
    """A capability: the model says how likely a caption is, given an image."""

    def caption_likelihoods(self, model: nn.Module, images: Tensor, captions: Sequence[str]) -> CaptionLikelihoods:
        """Return the likelihood of each caption given its uint8 image (n, 3, S, S), whole and per token."""


@runtime_checkable
class EmbedsText(Protocol):
    """A capability: images and captions have places in one space, where the cosine says how well they match."""

    def image_vectors(self, model: nn.Module, images: Tensor) -> Tensor:
        """Return unit vectors (n, d) of uint8 images (n, 3, S, S)."""

    def text_vectors(self, model: nn.Module, captions: Sequence[str]) -> Tensor:
        """Return unit vectors (n, d) of captions."""


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What an attack needs; a run that lacks it refuses the attack with the reason.

    families: the candidates it can score, the default first. access: the least that its attacker must see.
    """

    access: Access
    families: tuple[Family, ...]
    references: int = 0
    capabilities: tuple[type, ...] = ()


class Trace(Protocol):
    """What an attacker who sees all steps saw of one family of gradient canaries."""

    def steps(self) -> Iterator[NDArray[np.float32]]:
        """Yield per step the released (divided, noisy) value at each candidate's coordinate, (m,)."""


@runtime_checkable
class AccumulatesLikelihood(Protocol):
    """A capability of a trace that was too large to keep: it holds each candidate's sum over steps instead."""

    def log_likelihood(self) -> NDArray[np.float64]:
        """Return `dpaudit.likelihood.log_likelihood_ratio` summed over all steps, (m,)."""


class Target(Protocol):
    """A trained model as its attacker sees it."""

    @property
    def mechanism(self) -> Mechanism:
        """Public facts: noise multiplier, clip norm, rate, steps, divisor."""

    def signal(self, name: str, examples: Examples, rng: Rng) -> NDArray[np.float64]:
        """Return one number per record, (n,): "loss"."""

    def embed(self, examples: Examples) -> NDArray[np.float32]:
        """Return features, (n, d)."""

    def trace(self, family: Family) -> Trace:
        """Return the trace of a family, for attacks whose access is `all steps`."""


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """Whom to score. examples is None for gradient canaries. Never says who is a member."""

    family: Family
    ids: NDArray[np.str_]
    examples: Examples | None = None


@dataclass(frozen=True, kw_only=True)
class AttackView:
    """All that an attack gets: no path, no seed, no coins. population: records that are never members.

    references: other models, each with the mask (n,) of the candidates it was trained on.
    """

    target: Target
    candidates: Candidates
    population: Examples
    rng: Rng
    references: tuple[tuple[Target, NDArray[np.bool_]], ...] = ()


@runtime_checkable
class Attack(Protocol):
    """Turns what an attacker sees into one score per candidate."""

    @property
    def needs(self) -> Needs:
        """What it needs; may depend on options."""

    def score(self, view: AttackView) -> NDArray[np.float64]:
        """Return (n,) scores, higher = more likely a member."""


class Features(Protocol):
    """Maps records to features (n, d)."""

    def __call__(self, examples: Examples, /) -> NDArray[np.float32]:
        """Return one row per record."""


FeatureSource: TypeAlias = "Mapping[str, Features]"


@dataclass(frozen=True, kw_only=True)
class ProbeData:
    """Labelled records that no run was trained on."""

    train: Examples
    test: Examples
    classes: tuple[str, ...]


@runtime_checkable
class Probe(Protocol):
    """Measures utility; `features` maps names to feature functions.

    "trained", "untrained" and "raw pixels"; "pre-trained" too, where the weights of step 0 were not drawn.
    """

    def measure(self, features: FeatureSource, data: ProbeData, rng: Rng) -> ProbeResult:
        """Return the score of every kind of features. The engine fills in `run`."""


@runtime_checkable
class ReadsLogits(Protocol):
    """A capability of a probe: it asks a trainer that classifies for logits (n, classes) in place of features."""

    @property
    def reads_logits(self) -> bool:
        """Return whether it does."""
