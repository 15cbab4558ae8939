"""What an audit found, as values: results.json holds one `AuditResult`, and a report needs nothing else but pictures.

Every number travels with what makes it true: a bound with its hypothesis, guarantee and counts, an epsilon with its
delta and assumptions. Infinity is written as "Infinity"; a missing number as null.
"""

from __future__ import annotations

from typing import Any, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator

from dpaudit.mechanism import Mechanism
from dpaudit.scores import Access, Inserts

__all__ = [
    "SCHEMA_VERSION",
    "Assumption",
    "AttackResult",
    "AuditResult",
    "Beginning",
    "Bound",
    "Counts",
    "EarlierTraining",
    "Exposed",
    "Exposure",
    "GdpEstimate",
    "Guarantee",
    "GuaranteeKind",
    "Hypothesis",
    "Interval",
    "Measurement",
    "Picture",
    "Plan",
    "ProbeResult",
    "Promise",
    "RunSummary",
    "Said",
    "Series",
    "Threat",
    "Value",
    "Verdict",
    "VerdictWord",
]

SCHEMA_VERSION = 1

Hypothesis: TypeAlias = Literal["any", "accountant", "gaussian", "none"]
GuaranteeKind: TypeAlias = Literal["certified", "under_independence", "estimate"]
VerdictWord: TypeAlias = Literal["VIOLATED", "UNSOUND", "INCONCLUSIVE", "CONSISTENT"]


class Value(BaseModel):
    """A frozen record that refuses unknown fields; its schema is built when it is first used, not on import."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings", defer_build=True)


class Interval(Value):
    """An estimate with its confidence interval."""

    value: float
    low: float
    high: float
    confidence: float = 0.95


class Series(Value):
    """A curve, down-sampled for the page: x and y of one length."""

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]


class Threat(Value):
    """What the attacker sees and what he inserts."""

    access: Access
    inserts: Inserts

    def __str__(self) -> str:
        return f"{self.access}, inserts {self.inserts}"


class Assumption(Value):
    """A premise of the promise, with the evidence for its status.

    certified: it is violated, and the evidence is a deterministic counter-example: it refutes the promise by itself.
    public: the evidence without the ids of records; null = it names none.
    """

    name: str
    status: Literal["held", "violated", "unknown"]
    evidence: str
    certified: bool = False
    public: str | None = None


class Guarantee(Value):
    """One accountant's answer: the mechanism is (epsilon, delta)-DP if the assumptions hold.

    exceeds: the accountant stopped early; the true epsilon is above `epsilon`, how far is not known.
    epsilon None: this accountant has no sound answer for this mechanism; `note` says why.
    """

    accountant: Literal["PLD", "RDP", "PRV"]
    epsilon: float | None
    delta: float
    adjacency: str
    exceeds: bool = False
    note: str = ""


class GdpEstimate(Value):
    """mu-GDP in the limit of many steps at small rates; it may lie below the true epsilon."""

    mu: float
    epsilon: float
    delta: float
    guarantee: Literal["estimate"] = "estimate"
    note: str = "central limit theorem (Bu, Dong, Long, Su 2020): neither an upper nor a lower bound"


class Promise(Value):
    """The claim under test.

    kind `accountant`: the accountant's own curve of the executed mechanism; `claim`: f_(epsilon, delta), when only two
    numbers were claimed; `none`: nothing was promised (epsilon = infinity). run: where the promise is of one step, the
    mechanism of all steps; epsilon is then that of one step.
    """

    kind: Literal["accountant", "claim", "none"]
    epsilon: float
    delta: float
    mechanism: Mechanism
    curve: Series | None = None
    note: str = ""
    run: Mechanism | None = None


class Counts(Value):
    """What a bound was computed from. One entry per run, in order."""

    canaries: tuple[int, ...]
    guesses: tuple[int, ...] = ()
    correct: tuple[int, ...] = ()
    guesses_in: tuple[int, ...] = ()
    guesses_out: tuple[int, ...] = ()


class Bound(Value):
    """The refutation of a hypothesis at a confidence, reported as the epsilon at delta of the largest curve refuted."""

    method: str
    hypothesis: Hypothesis
    guarantee: GuaranteeKind
    epsilon: float = Field(ge=0)
    delta: float
    confidence: float | None = Field(description="null for an estimate that states none; of other estimates nominal")
    strategy: str = Field(description="how thresholds or guess counts were chosen")
    counts: Counts
    parameter: float | None = Field(default=None, description="mu or noise multiplier of the largest curve refuted")
    p_value: float | None = Field(default=None, description="of the promise's own curve, where it was tested")
    attack: str = ""
    threat: Threat | None = None
    decides: bool = False
    exploratory: bool = False
    one_step: bool = Field(default=False, description="the curve is that of one step, not of the run")
    note: str = ""

    @model_validator(mode="after")
    def _only_estimates_lack_confidence(self) -> Self:
        if self.confidence is None and self.guarantee != "estimate":
            raise ValueError(f"a {self.guarantee} bound needs a confidence")
        return self

    @property
    def level(self) -> float:
        """Return the chance of error that is allowed: 1 - confidence, or 1 where no confidence is stated."""
        return 1.0 if self.confidence is None else 1.0 - self.confidence


class AttackResult(Value):
    """How well one attack tells members from non-members on one run.

    The ROC's bands are pointwise at `auc.confidence`, one exact binomial interval per threshold, taken as fixed.
    """

    attack: str
    run: str
    family: str
    threat: Threat
    candidates: int
    members: int
    auc: Interval
    balanced_accuracy: Interval
    tpr_at_fpr: dict[str, Interval] = Field(description='keys "0.1", "0.01", "0.001", "0.0001", "0"')
    roc: Series
    histogram_in: Series
    histogram_out: Series
    coin_blindness_p: float | None = Field(default=None, description="rank test of the untrained model's scores")
    exploratory: bool = False
    roc_low: Series | None = Field(default=None, description="lower limit of the true-positive rate, x as in `roc`")
    roc_high: Series | None = Field(default=None, description="upper limit of the true-positive rate, x as in `roc`")
    measured: Series | None = Field(
        default=None, description="upper limits of the false-positive (x) and false-negative rate (y) by threshold"
    )


class Exposed(Value):
    """A member that an attack is surest of. share_below: of non-members, whose score is lower."""

    record: str
    score: float
    share_below: float


class Exposure(Value):
    """The members of one run that the strongest attack on outputs ranks highest, first the surest. Private."""

    attack: str
    run: str
    family: str
    auc: Interval
    non_members: int
    records: tuple[Exposed, ...]


class Measurement(Value):
    """The score of one kind of features on one probe."""

    features: str
    score: Interval


class ProbeResult(Value):
    """One probe of one run, beside its baselines.

    private: the records it was fitted and tested on are as private as those trained on. No run trained on them, and no
    epsilon covers what its scores tell of them; null = a probe that does not say.
    """

    probe: str
    run: str
    metric: str
    measurements: tuple[Measurement, ...]
    train_size: int
    test_size: int
    detail: dict[str, float | int | str] = Field(default_factory=dict)
    private: bool | None = None


class RunSummary(Value):
    """One trained run."""

    name: str
    role: Literal["target", "reference"]
    parameters: int
    steps: int
    seconds: float
    commitment: str
    openings: int
    curves: tuple[Series, ...] = Field(description="loss, drawn batch size, clipped fraction by step; private")
    facts: dict[str, float | int | str] = Field(default_factory=dict)


class EarlierTraining(Value):
    """A training on the same records whose weights a run started from.

    steps: (sampling rate, noise multiplier, how many steps), as executed.
    """

    run: str = Field(description="audit and run, for example quickstart/target-00")
    mechanism: Mechanism
    steps: tuple[tuple[float, float, int], ...]


class Beginning(Value):
    """Where the weights of step 0 are from, in all runs of an audit: start/manifest.json.

    kind `pretrain`: a public stage of the same recipe, executed; `weights`: a file. by_construction: a program made the
    data. same_data: they have the private data's fingerprint; shared: how many of them have the pixels of a private
    record, None if that was not compared; compared: of how many.
    """

    kind: Literal["pretrain", "weights"]
    source: str = Field(description="the data set in words, or the file")
    fingerprint: str = Field(description="of the data set or the file")
    weights: str = Field(description="SHA-256 of start/model.safetensors")
    parts: tuple[str, ...] = Field(default=(), description="modules taken from the file; empty = all")
    trainer: str | None = Field(default=None, description="whose weights they are, if not the recipe's trainer's own")
    records: int | None = None
    batch_size: int | None = None
    steps: int | None = None
    seconds: float | None = None
    first_loss: float | None = Field(default=None, description="mean over the first steps; public")
    last_loss: float | None = Field(default=None, description="mean over as many last steps; public")
    by_construction: bool = False
    same_data: bool = False
    shared: int | None = None
    compared: int | None = None
    earlier: tuple[EarlierTraining, ...] = Field(default=(), description="trainings on the private data that made them")


class Surest(Value):
    """The first of two rank groups: the surest guesses, whose errors weigh more; all fixed before any coin is seen."""

    guesses_in: int = Field(ge=0, description="of the highest scores")
    guesses_out: int = Field(ge=0, description="of the lowest scores")
    weight: int = Field(ge=1, description="of an error among them; any other error weighs 1")
    most: int = Field(ge=0, description="weighted errors above which all errors count alike")


class Plan(Value):
    """What this audit could have seen: fixed from the promise alone, before unsealing."""

    attack: str
    method: str
    canaries: int
    runs: int
    guesses_in: int
    guesses_out: int
    expected_epsilon: float = Field(description="bound at the promise's own mechanism, ideal canaries")
    power: float = Field(description="chance to refute the promise if the noise were half of what was said")
    largest_epsilon: float = Field(description="bound when every guess is correct")
    expected: dict[Hypothesis, float] = Field(default_factory=dict, description="expected_epsilon by hypothesis")
    largest: dict[Hypothesis, float] = Field(default_factory=dict, description="largest_epsilon by hypothesis")
    hours: float | None = Field(default=None, description="of training all runs; null = not known")
    error_rates: tuple[float, float] | None = Field(
        default=None, description="e-values are made for: as promised, half the noise; null = every run must refute"
    )
    surest: Surest | None = Field(default=None, description="two rank groups; null = all errors count alike")
    by_recursion: dict[Hypothesis, float] = Field(
        default_factory=dict, description="expected, had one-run-fdp tested the same guesses"
    )
    note: str = ""


class Verdict(Value):
    """The verdict, in a word and in a sentence a manager understands."""

    word: VerdictWord
    sentence: str
    reasons: tuple[str, ...] = ()


class Said(Value):
    """What a model said of an image, beside the image's caption, or None without one."""

    generated: str
    caption: str | None


class Picture(Value):
    """An image file in pictures/, with the text for who cannot see it; said: of each image in it, left to right."""

    file: str
    title: str
    alt: str
    said: tuple[Said, ...] = ()


class AuditResult(Value):
    """Everything an audit found; results.json is its JSON."""

    schema_version: Literal[1] = 1
    name: str
    title: str
    dpaudit_version: str
    recipe: dict[str, Any]
    environment: dict[str, str]
    system: str = Field(description="trainer and model in words")
    promise: Promise
    guarantees: tuple[Guarantee, ...]
    with_tuning: tuple[Guarantee, ...] = Field(default=(), description="with the recipe's tuning runs paid for")
    with_pretraining: tuple[Guarantee, ...] = Field(
        default=(), description="with the earlier trainings on the same data that the weights of step 0 came from"
    )
    central_limit: GdpEstimate | None = None
    spent: Series | None = Field(default=None, description="epsilon (y) at the promise's delta after x executed steps")
    assumptions: tuple[Assumption, ...]
    beginning: Beginning | None = Field(default=None, description="null = the weights of step 0 were drawn")
    runs: tuple[RunSummary, ...]
    attacks: tuple[AttackResult, ...]
    exposed: Exposure | None = Field(default=None, description="null = no attack on outputs judged records; private")
    bounds: tuple[Bound, ...]
    plans: tuple[Plan, ...]
    more_runs: tuple[Plan, ...] = Field(default=(), description="the plans, had there been more runs")
    probes: tuple[ProbeResult, ...]
    pictures: tuple[Picture, ...]
    verdict: Verdict
    commands: tuple[str, ...] = Field(default=(), description="how to reproduce")
    missing: tuple[str, ...] = Field(default=(), description="what this report lacks, and why")
    partial: bool = Field(default=False, description="a stage failed or was not reached; `missing` says which")
