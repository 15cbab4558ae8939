"""What an attack needs, what it is shown, and what it returns: a score per candidate, higher = more likely a member."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, runtime_checkable

from dpaudit.errors import InputError
from dpaudit.plugins.trainers import CaptionLikelihood, Classifies, EmbedsText, PerExampleTrainer, RecordLosses

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from dpaudit.canaries import Family
    from dpaudit.data.examples import Examples
    from dpaudit.mechanism import Mechanism
    from dpaudit.rng import Rng
    from dpaudit.scores import Access

__all__ = [
    "SIGNALS",
    "AccumulatesLikelihood",
    "Attack",
    "AttackView",
    "Candidates",
    "Capability",
    "Moment",
    "Needs",
    "Signal",
    "Target",
    "Trace",
]


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


#: of which weights: those of step 0, or the released ones
Moment: TypeAlias = Literal["initial", "final"]
