"""The sections of a recipe, checked as far as that needs no data.

Options of plug-ins stay raw here; the plug-in itself checks them (`dpaudit.discovery`).
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import BeforeValidator, Field, model_validator

from dpaudit.errors import InputError
from dpaudit.mechanism import Adjacency, InitialWeights, Sampling
from dpaudit.optimisation import Optimizer, Weights
from dpaudit.recipes.refusals import MISSING, any_of
from dpaudit.recipes.schema import PlugInEntry, Section
from dpaudit.recipes.start import Pretrain, PublicData, Start

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "AttackEntry",
    "BoundRequest",
    "Bounds",
    "Canaries",
    "Compute",
    "DataEntry",
    "DecidingBound",
    "InputCanaries",
    "PlugInEntry",
    "Pretrain",
    "Privacy",
    "ProbeEntry",
    "PublicData",
    "Recipe",
    "References",
    "Report",
    "Runs",
    "Section",
    "Split",
    "Start",
    "TrainerEntry",
    "Weights",
]

#: the families of `dpaudit.canaries`, written out: importing them would import numpy
_Family: TypeAlias = Literal["pool", "inputs", "block", "coordinates", "steps", "step_records"]
_LABEL = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"  # labels name files


def _infinity(value: Any) -> Any:
    return math.inf if value in ("inf", "Infinity") else value


def _named(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


def _labelled(value: Any) -> Any:
    entry = _named(value)
    if not isinstance(entry, dict) or "label" in entry or not isinstance(entry.get("name"), str):
        return entry
    parts = [entry["name"].rpartition(":")[2], entry.get("family")]
    return {**entry, "label": "-".join(str(part) for part in parts if part)}


_MaybeInfinite: TypeAlias = Annotated[float, BeforeValidator(_infinity, json_schema_input_type=float | Literal["inf"])]


class Split(Section):
    """How many records play each role; all others are only trained on."""

    audit_pool: int = Field(default=0, ge=0, description="records that are in or out by a fair coin")
    probe_train: int = Field(default=0, ge=0, description="records never trained on, for fitting probes")
    probe_test: int = Field(default=0, ge=0, description="records never trained on, for scoring probes")


class DataEntry(PlugInEntry):
    """The data set. One record is one privacy unit."""

    by_name: ClassVar[bool] = False

    split: Split = Split()
    limit: int | None = Field(default=None, ge=1, description="use only so many records")
    pairs: Literal["same-class"] | None = Field(
        default=None, description="a record is two images of one class, paired once and for all; null = one image"
    )
    expected_size: int | None = Field(
        default=None, ge=1, description="records that there must be; --dry-run then needs no data"
    )

    @model_validator(mode="after")
    def _split_fits(self) -> DataEntry:
        wanted = self.split.audit_pool + self.split.probe_train + self.split.probe_test
        for name, size in (("limit", self.limit), ("expected_size", self.expected_size)):
            if size is not None and wanted > size:
                raise InputError(f"data.{name}", size, f"at least {wanted}, the sum of data.split")
        return self


class TrainerEntry(PlugInEntry):
    """The system that is trained."""

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, value: Any) -> Any:
        return _named(value)


class Privacy(Section):
    """The mechanism, and what is claimed of it."""

    epsilon: _MaybeInfinite | None = Field(default=None, gt=0, description="the target; inf = no clipping, no noise")
    noise_multiplier: _MaybeInfinite | None = Field(default=None, ge=0, description="noise std / sensitivity")
    delta: float | None = Field(default=None, gt=0, lt=1, description="null = 1 / (2 N)")
    clip_norm: _MaybeInfinite = Field(gt=0, description="C, the largest norm of one record's gradient")
    batch_size: int = Field(ge=1, description="expected records per step; the divisor")
    steps: int = Field(ge=1, description="updates, all of them accounted")
    simulate_batch: int | None = Field(default=None, ge=1, description="smaller batch that imitates a run, not private")
    adjacency: Adjacency = "add-remove"
    sampling: Sampling = "poisson"
    shuffle_buffer: int | None = Field(default=None, ge=1, description="records in a stream's buffer; null = no stream")
    claimed_epsilon: float | None = Field(default=None, gt=0, allow_inf_nan=False, description="a claim to test")
    claimed_delta: float | None = Field(default=None, gt=0, lt=1, description="null = delta")
    tuning_runs: int | None = Field(
        default=None, ge=0, description="earlier trainings on these data that chose the settings; null = not known"
    )
    initial_weights: InitialWeights | None = Field(
        default=None, description="what the weights of step 0 were made from; null = see whether the seed decides"
    )
    physical_batch_size: int = Field(default=256, ge=1, description="records per pass; changes memory, not results")
    augmentations: int = Field(default=1, ge=1, description="views of a record per step; its gradient is their mean")
    secure: bool = Field(default=False, description="noise from a cryptographic generator, in float64")
    clipping: Literal["flat", "auto-s", "per-layer"] = Field(default="flat", description="how a record is held to C")
    engine: Literal["bookkeeping", "functional", "loop"] = "bookkeeping"

    @model_validator(mode="after")
    def _keys_agree(self) -> Privacy:
        if self.epsilon is None and self.noise_multiplier is None:
            raise InputError("privacy.epsilon", MISSING, "a number above 0, or privacy.noise_multiplier instead")
        if self.epsilon is not None and self.noise_multiplier is not None:
            raise InputError("privacy.noise_multiplier", self.noise_multiplier, "nothing: privacy.epsilon is given too")
        if math.isinf(self.clip_norm) and not (self.epsilon == math.inf or self.noise_multiplier == 0):
            raise InputError("privacy.clip_norm", self.clip_norm, "a finite number: noise is scaled to it")
        if self.shuffle_buffer is not None and self.sampling != "shuffle":
            expected = "null: only privacy.sampling = shuffle may stream its records"
            raise InputError("privacy.shuffle_buffer", self.shuffle_buffer, expected)
        if self.claimed_delta is not None and self.claimed_epsilon is None:
            raise InputError("privacy.claimed_delta", self.claimed_delta, "null: no privacy.claimed_epsilon is given")
        return self

    @model_validator(mode="after")
    def _simulation_is_smaller(self) -> Privacy:
        if self.simulate_batch is None:
            return self
        if self.simulate_batch > self.batch_size or self.sampling == "full":
            expected = f"at most batch_size = {self.batch_size}, and not with sampling full"
            raise InputError("privacy.simulate_batch", self.simulate_batch, expected)
        if self.claimed_epsilon is not None:
            raise InputError("privacy.claimed_epsilon", self.claimed_epsilon, "null: a simulation promises nothing")
        return self


class InputCanaries(Section):
    """How many records to insert, by kind."""

    noise: int = Field(default=0, ge=0)
    mislabelled: int = Field(default=0, ge=0)
    miscaptioned: int = Field(default=0, ge=0)
    blank: int = Field(default=0, ge=0, description="pictures of one colour each")
    out_of_distribution: int = Field(default=0, ge=0, description="pictures of formulas and leaves")
    gradient_max: int = Field(default=0, ge=0, description="pictures made for a large gradient at public weights")
    new_token: int = Field(default=0, ge=0, description="captions of made-up words")
    high_entropy: int = Field(default=0, ge=0, description="captions of words drawn at random")


class Canaries(Section):
    """What is inserted by fair coins."""

    block: int = Field(default=100_000, ge=0, description="gradient canaries on coordinates of their own")
    directions: Literal["dirac", "hadamard", "sparse-sign"] = Field(
        default="dirac", description="what the gradient of a block canary is: one coordinate, or many"
    )
    spread: int = Field(default=16, ge=4, description="coordinates of such a direction of many, a power of 4")
    per_coordinate: int = Field(default=1, ge=1, description="block canaries for each coordinate of the block")
    coordinates: int = Field(default=0, ge=0, description="gradient canaries per tensor of the model")
    steps: Literal["worst-case", "record"] | None = Field(
        default=None, description="one record in or out of each step by its own coin; the weights then learn little"
    )
    inputs: InputCanaries = InputCanaries()
    raw_norm: float = Field(default=10.0, ge=1, allow_inf_nan=False, description="their norm before clipping, in C")

    @model_validator(mode="after")
    def _placed(self) -> Canaries:
        if self.directions == "hadamard" and self.per_coordinate != 1:
            raise InputError("canaries.per_coordinate", self.per_coordinate, "1 with hadamard, which are orthogonal")
        if self.spread not in [4**power for power in range(1, 8)]:
            raise InputError("canaries.spread", self.spread, "a power of 4 from 4 to 16384: every entry is then exact")
        return self

    def gradient_families(self) -> tuple[Literal["block", "coordinates"], ...]:
        """Return the families of gradient canaries that a target carries if it clips."""
        block: tuple[Literal["block", "coordinates"], ...] = ("block",) if self.block else ()
        return (*block, "coordinates") if self.coordinates else block

    def step_family(self) -> Literal["steps", "step_records"] | None:
        """Return the family whose coins are one per step, if a target that clips carries one."""
        return None if self.steps is None else "steps" if self.steps == "worst-case" else "step_records"


class Runs(Section):
    """How often the target is trained, and what is kept of it."""

    count: int = Field(default=1, ge=1)
    checkpoint_every: int = Field(default=25, ge=1, description="steps")
    trace: Literal["full", "accumulated", "auto"] = "auto"
    non_private: bool = Field(default=False, description="probe a twin without clip and noise too: epsilon infinity")


class Compute(Section):
    """Where a run computes and how finely it differentiates; neither changes what it promises.

    >>> Compute(device="cuda:1").precision
    'float32'
    """

    device: str = Field(default="auto", description="auto (a GPU if there is one), cpu, cuda, cuda:N or mps")
    precision: Literal["float32", "bf16"] = Field(default="float32", description="of losses; all sums are float32")

    @model_validator(mode="after")
    def _known_device(self) -> Compute:
        if re.fullmatch(r"auto|cpu|mps|cuda(:[0-9]+)?", self.device) is None:
            raise InputError("compute.device", self.device, "auto, cpu, cuda, cuda:N or mps")
        return self


class References(Section):
    """Models that are trained only so that attacks can calibrate."""

    count: int = Field(default=0, ge=0, description="even numbers hold every candidate in exactly half of them")
    privacy: Literal["target", "none"] = Field(
        default="target", description="trained by the target's mechanism, or without clipping and noise"
    )
    keep_weights: bool = Field(default=True, description="false = once the attacks are done, only signals are kept")


class AttackEntry(TrainerEntry):
    """An attack; `label` is its name in tables and files, always filled in."""

    label: str = Field(default="", pattern=_LABEL, description="by default the name, with the family if given")
    family: _Family | None = Field(default=None, description="whom to attack; null = the attack's own default")

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, value: Any) -> Any:
        return _labelled(value)


class ProbeEntry(TrainerEntry):
    """A measure of utility; `label` is its name in tables, always filled in."""

    label: str = Field(default="", pattern=_LABEL, description="by default the name")

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, value: Any) -> Any:
        return _labelled(value)


class BoundRequest(Section):
    """A bound to compute from the scores of an attack."""

    attack: str = Field(description="the attack's label")
    method: str = Field(default="one-run-joint", pattern=r"^[a-z0-9][a-z0-9-]*$")
    hypothesis: Literal["promise", "any", "accountant", "gaussian"] = "promise"


class DecidingBound(BoundRequest):
    """A bound that may decide the verdict, with its part of alpha."""

    weight: float = Field(default=1.0, gt=0, allow_inf_nan=False, description="its part of alpha, relative")


class Bounds(Section):
    """What is concluded from scores, fixed before the coins are opened."""

    alpha: float = Field(default=0.05, gt=0, lt=1, description="chance that a true promise is called violated")
    decide: tuple[DecidingBound, ...] = (DecidingBound(attack="audit_block"),)
    also: tuple[BoundRequest, ...] = Field(default=(), description="shown, never decides")
    power: float = Field(default=0.8, gt=0, lt=1, description="least chance to see half the noise")

    def shares(self) -> tuple[float, ...]:
        """Return each deciding bound's part of alpha; they sum to alpha.

        >>> Bounds(alpha=0.05, decide=(DecidingBound(attack="a"), DecidingBound(attack="b", weight=4))).shares()
        (0.01, 0.04)
        """
        total = math.fsum(bound.weight for bound in self.decide)
        return tuple(self.alpha * bound.weight / total for bound in self.decide)


class Report(Section):
    """What the page shows."""

    pictures: int = Field(default=8, ge=0)
    public: bool = Field(default=False, description="leave out curves, examples and per-record scores")
    thumbnails: bool = Field(default=False, description="show the images of the most exposed records; never if public")


class Recipe(Section):
    """Everything about an audit."""

    name: str = Field(pattern=r"^[a-z0-9_-]+$", description="names the run folder")
    title: str | None = None
    seed: int = Field(default=0, ge=0, description="decides roles and initial weights, never coins")
    reproducible: bool = Field(default=False, description="derive every secret from the seed: for tests, not release")
    data: DataEntry
    trainer: TrainerEntry
    optimizer: Optimizer | None = Field(default=None, description="null = the trainer's own, as it was published")
    weights: Weights = Weights()
    start: Start | None = Field(default=None, description="the weights of step 0; null = drawn from the seed")
    privacy: Privacy
    canaries: Canaries = Canaries()
    runs: Runs = Runs()
    compute: Compute = Compute()
    references: References = References()
    attacks: tuple[AttackEntry, ...] = (AttackEntry(name="audit_block", label="audit_block"),)
    bounds: Bounds = Bounds()
    probes: tuple[ProbeEntry, ...] = ()
    report: Report = Report()

    @model_validator(mode="after")
    def _sections_agree(self) -> Recipe:
        _check_labels("attacks", [attack.label for attack in self.attacks])
        _check_labels("probes", [probe.label for probe in self.probes])
        if self.privacy.secure and self.reproducible:
            raise InputError("privacy.secure", True, "false with `reproducible`: a public seed keeps no secret")
        if self.start is not None and self.privacy.initial_weights == "random":
            raise InputError(
                "privacy.initial_weights", "random", "null, public or synthetic: `start` gives the weights"
            )
        self._check_bounds()
        self._check_families()
        return self

    def _check_bounds(self) -> None:
        labels = [attack.label for attack in self.attacks]
        seen: dict[tuple[str, str, str], str] = {}
        for part, requests in (("decide", self.bounds.decide), ("also", self.bounds.also)):
            for index, request in enumerate(requests):
                field = f"bounds.{part}.{index}"
                if request.attack not in labels:
                    default = "" if part in self.bounds.model_fields_set else f" (it is the default of bounds.{part})"
                    expected = f"the label of an attack, {any_of(labels)}{default}"
                    raise InputError(f"{field}.attack", request.attack, expected)
                key = (request.attack, request.method, request.hypothesis)
                if key in seen:
                    raise InputError(field, " ".join(key), f"each bound once; {seen[key]} is the same")
                seen[key] = field

    def _check_families(self) -> None:
        counts = {
            "pool": (self.data.split.audit_pool, "data.split.audit_pool"),
            "inputs": (sum(self.canaries.inputs.model_dump().values()), "canaries.inputs"),
            "block": (self.canaries.block, "canaries.block"),
            "coordinates": (self.canaries.coordinates, "canaries.coordinates"),
        }
        found = self.canaries.step_family()
        counts |= {family: (int(family == found), "canaries.steps") for family in ("steps", "step_records")}
        for index, attack in enumerate(self.attacks):
            if attack.family is not None and counts[attack.family][0] == 0:
                expected = f"a family with candidates; {counts[attack.family][1]} is 0"
                raise InputError(f"attacks.{index}.family", attack.family, expected)


def _check_labels(section: str, labels: Sequence[str]) -> None:
    for index, label in enumerate(labels):
        if label in labels[:index]:
            expected = f"a label of its own: {section}.{labels.index(label)} has it already"
            raise InputError(f"{section}.{index}.label", label, expected)
