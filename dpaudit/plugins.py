"""The contracts of plug-ins: the whole of what a researcher must know to bring a data set, trainer, attack or probe.

A plug-in is a frozen dataclass whose fields are its options. It is found by entry point (groups `dpaudit.attacks`,
`dpaudit.trainers`, `dpaudit.probes`, `dpaudit.datasets`), as `pkg.mod:Name` or as `./file.py:Name`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, runtime_checkable

from dpaudit.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn
    from torch.optim import Optimizer

    from dpaudit.canaries import Family
    from dpaudit.data.examples import Examples
    from dpaudit.data.questions import Question
    from dpaudit.data.scenes.words import Exchange
    from dpaudit.dp.tensors import Batch, Gradients
    from dpaudit.mechanism import Adjacency, Mechanism
    from dpaudit.models.generation import CaptionLikelihoods
    from dpaudit.results import ProbeResult
    from dpaudit.rng import Array, Rng
    from dpaudit.scores import Access

__all__ = [
    "SIGNALS",
    "AccumulatesLikelihood",
    "AsksQuestions",
    "Attack",
    "AttackView",
    "BatchTrainer",
    "Candidates",
    "Capability",
    "CaptionLikelihood",
    "Captions",
    "ChoosesCaption",
    "Classifies",
    "Dataset",
    "DeclaresUnsound",
    "EmbedsText",
    "FeatureSource",
    "Features",
    "GivenPart",
    "KnowsTruth",
    "Misdescribes",
    "Moment",
    "NamesOptimisation",
    "Needs",
    "PerExampleTrainer",
    "Probe",
    "ProbeData",
    "ReadsLabels",
    "ReadsLogits",
    "ReadsMisdescriptions",
    "ReadsQuestions",
    "ReadsSpeech",
    "ReadsText",
    "ReadsTruth",
    "Reconstructs",
    "RecordLosses",
    "Remarks",
    "SharedSpace",
    "Signal",
    "Speech",
    "StepCanary",
    "TakesOver",
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
        """Return the bounded gradient sum of the whole batch of n >= 1 records, which the engine divides by a constant.

        Every trained parameter has an entry, in float32 or better. clip infinity: the gradient as it is, not bounded,
        of the loss summed over the records.
        """

    def sensitivity(self, clip: float, adjacency: Adjacency) -> float:
        """Return the L2 sensitivity of `bounded_sum`, valid for EVERY drawn batch size, 0 and 1 included.

        Of an empty batch the sum is 0. It follows from the options alone: noise is calibrated to it before any data.
        """


@runtime_checkable
class RecordLosses(Protocol):
    """A capability of a trainer of whole batches: what its loss says of each record, among its batch."""

    def record_losses(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return one number per record, (n,), whose mean is the loss. Called without gradients."""


@runtime_checkable
class DeclaresUnsound(Protocol):
    """A capability: it knows that the sensitivity which it declares is too small, and was built so to show that.

    The premise `sensitivity respected` is then violated, so no number is promised even where nothing proves it.
    """

    def unsound(self, adjacency: Adjacency) -> str | None:
        """Return why the declared sensitivity is no bound, or None where it is one."""


@runtime_checkable
class Remarks(Protocol):
    """A capability: it knows what a recipe's sizes make of its bound; plan, dry run and report say so."""

    def remarks(self, batch_size: int, adjacency: Adjacency) -> tuple[str, ...]:
        """Return one line for each thing that a reader should know before paying for a run."""


@runtime_checkable
class StepCanary(Protocol):
    """A capability of a trainer of whole batches: neighbouring batches that its own bound hides worst.

    The step audit puts one of the two into each step, by a fair coin. A record is what it contributes to
    `bounded_sum`, so what goes in may be made at the level of embeddings or gradients that no picture has; but the
    trainer's own clipping and recombination must run on it, or the audit would test something else.
    """

    def neighbouring_sums(
        self, model: nn.Module, batch: Batch | None, clip: float, adjacency: Adjacency
    ) -> tuple[Gradients, Gradients]:
        """Return the bounded sums (first, second) of two neighbouring batches, as far apart as they can be made.

        add-remove, zero-out: the second has one record more. replace-one: both have one more than they share, another
        one each. batch: the records that were drawn, None where none was; the shared records may be these, or others
        that the trainer makes, for a bound must hold whatever they are. Both follow from the arguments alone.
        """


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
class TakesOver(Protocol):
    """A capability: it goes on with what another trainer's model has learned."""

    def take_over(self, model: nn.Module, other: nn.Module) -> None:
        """Copy what fits of another trainer's model into `model`, which computes the same with it; the rest stays.

        InputError, about "start.trainer", where nothing fits or something would be lost.
        """


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
class ChoosesCaption(Protocol):
    """A capability: the model says one of several captions."""

    def choose_caption(self, model: nn.Module, images: Tensor, captions: Sequence[str]) -> Tensor:
        """Return which caption is said of each uint8 image (n, 3, S, S), (n,) int64: its place in `captions`.

        Every token is the likeliest of those that some caption goes on with. InputError where two read alike.
        """


@runtime_checkable
class EmbedsText(Protocol):
    """A capability: images and captions have places in one space, where the cosine says how well they match."""

    def image_vectors(self, model: nn.Module, images: Tensor) -> Tensor:
        """Return unit vectors (n, d) of uint8 images (n, 3, S, S)."""

    def text_vectors(self, model: nn.Module, captions: Sequence[str]) -> Tensor:
        """Return unit vectors (n, d) of captions."""


#: a protocol that a trainer must offer, or several of which one is enough
Capability: TypeAlias = "type | tuple[type, ...]"


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What an attack needs; a run that lacks it refuses the attack with the reason.

    families: the candidates it can score, the default first. access: the least that its attacker must see.
    references: other models. capabilities: protocols of this module that the trainer must offer, of a tuple one. reads:
    of a record beside its image: "caption", "label". population: the least number of records that are never members.
    sees_model: false for a control, whose scores must know nothing: where they do, the split is broken and the audit
    stops.
    """

    access: Access
    families: tuple[Family, ...]
    references: int = 0
    capabilities: tuple[Capability, ...] = ()
    reads: frozenset[str] = frozenset()
    population: int = 0
    sees_model: bool = True


@dataclass(frozen=True, kw_only=True)
class Signal:
    """One number per record that a target gives by name.

    sign: 1 where a higher value speaks for a member, -1 where a lower one does. capability, reads: as in `Needs`.
    """

    sign: Literal[1, -1]
    capability: Capability
    reads: frozenset[str] = frozenset()


_LABEL, _CAPTION = frozenset({"label"}), frozenset({"caption"})
#: what `Target.signal` knows: name -> what it takes
SIGNALS: dict[str, Signal] = {
    "loss": Signal(sign=-1, capability=(PerExampleTrainer, RecordLosses)),  # that was trained on
    "confidence": Signal(sign=1, capability=Classifies, reads=_LABEL),  # p, the probability of the true class
    "logit": Signal(sign=1, capability=Classifies, reads=_LABEL),  # log p - log(1 - p)
    "hinge": Signal(sign=1, capability=Classifies, reads=_LABEL),  # logit of the true class - the largest other
    "caption": Signal(sign=1, capability=CaptionLikelihood, reads=_CAPTION),  # mean log-probability per token, nats
    "cosine": Signal(sign=1, capability=EmbedsText, reads=_CAPTION),  # of an image with its own caption
}


class Trace(Protocol):
    """What an attacker who sees all steps saw of one family of gradient canaries, or of one coin per step."""

    def steps(self) -> Iterator[NDArray[np.float32]]:
        """Yield per step the released (divided, noisy) value at each candidate's coordinate, (m,).

        Of `steps` and `step_records`, where step t has candidate t alone, what `dpaudit.dp.step_coins.seen` returns:
        (y, d), (2,), with y ~ N(0, noise std^2) if that coin said out and N(d, noise std^2) if it said in.
        """


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
        """Return one number per record, (n,), of a name in `SIGNALS`; randomness of a loss is keyed by (rng, id)."""

    def embed(self, examples: Examples) -> NDArray[np.float32]:
        """Return features, (n, d)."""

    def logits(self, examples: Examples) -> NDArray[np.float32]:
        """Return the logits of every class, (n, classes); needs `Classifies`."""

    def token_log_likelihoods(self, examples: Examples) -> NDArray[np.float32]:
        """Return log p(token | image, tokens before it) in nats, (n, t), NaN behind a caption's end.

        Needs `CaptionLikelihood`. A record may be made up: any image beside any caption.
        """

    def image_vectors(self, examples: Examples) -> NDArray[np.float32]:
        """Return unit vectors of images, (n, d); needs `EmbedsText`."""

    def text_vectors(self, examples: Examples) -> NDArray[np.float32]:
        """Return unit vectors of captions, (n, d); needs `EmbedsText`."""

    def weights(self, at: Moment = "final") -> Mapping[str, NDArray[np.float32]]:
        """Return name -> trained tensor, for attacks whose access is more than `outputs`."""

    def gradients(self, examples: Examples, rng: Rng, at: Moment = "final") -> Iterator[NDArray[np.float32]]:
        """Yield the gradient of each record's loss at these weights, (p,), in the order of `weights`, flattened.

        For attacks whose access is more than `outputs`; needs `PerExampleTrainer`.
        """

    def trace(self, family: Family) -> Trace:
        """Return the trace of a family, for attacks whose access is `all steps`."""


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """Whom to score. examples is None for gradient canaries. Never says who is a member."""

    family: Family
    ids: NDArray[np.str_]
    examples: Examples | None = None

    @property
    def records(self) -> Examples:
        """Return the records; InputError where the candidates are gradients."""
        if self.examples is None:
            raise InputError("candidates", self.family, "a family with records: pool or inputs")
        return self.examples


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


#: of which weights: those of step 0, or the released ones
Moment: TypeAlias = Literal["initial", "final"]
FeatureSource: TypeAlias = "Mapping[str, Features]"


@runtime_checkable
class AsksQuestions(Protocol):
    """A capability of a data set: questions about its images, with answers from a closed, public list."""

    @property
    def answers(self) -> tuple[str, ...]:
        """Return the list, which was fixed without looking at the records."""

    def questions(self, ids: NDArray[np.str_]) -> Sequence[tuple[Question, ...]]:
        """Return the questions about each record, in this order."""


@runtime_checkable
class Misdescribes(Protocol):
    """A capability of a data set: a true caption of a record beside a false one that differs by one exchange."""

    def misdescribed(self, ids: NDArray[np.str_], exchanged: Exchange) -> Sequence[tuple[str, str] | None]:
        """Return (true, false) for each record, None where there is nothing to exchange."""


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
class KnowsTruth(Protocol):
    """A capability of a data set: the directions that its pairs share are known, (d, rank)."""

    @property
    def truth(self) -> NDArray[np.float64]:
        """Return them as orthonormal columns."""


@runtime_checkable
class ReadsQuestions(Protocol):
    """A capability of a probe: it needs a data set that `AsksQuestions`, and no labels."""

    @property
    def reads_questions(self) -> bool:
        """Return whether it does."""
