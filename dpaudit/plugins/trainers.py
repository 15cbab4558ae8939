"""What a trainer offers: a model, batches, and losses or a bounded sum; capabilities are found by isinstance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn
    from torch.optim import Optimizer

    from dpaudit.data.examples import Examples
    from dpaudit.dp.tensors import Batch, Gradients
    from dpaudit.mechanism import Adjacency
    from dpaudit.models.generation import CaptionLikelihoods
    from dpaudit.rng import Array, Rng

__all__ = [
    "BatchTrainer",
    "CaptionLikelihood",
    "Captions",
    "ChoosesCaption",
    "Classifies",
    "DeclaresUnsound",
    "EmbedsText",
    "GivenPart",
    "NamesOptimisation",
    "PerExampleTrainer",
    "Reconstructs",
    "RecordLosses",
    "Remarks",
    "StepCanary",
    "TakesOver",
    "Trainer",
]


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
