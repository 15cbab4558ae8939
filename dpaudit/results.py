"""What an audit found, as values: results.json holds one `AuditResult`, and a report needs nothing else but pictures.

Every number travels with what makes it true: a bound with its hypothesis, guarantee and counts, an epsilon with its
delta and assumptions. Infinity is written as "Infinity"; a missing number as null.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from dpaudit.mechanism import Mechanism
from dpaudit.scores import Access, Inserts

__all__ = [
    "SCHEMA_VERSION",
    "Assumption",
    "AttackResult",
    "AuditResult",
    "Bound",
    "Counts",
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
    """A frozen record that refuses unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


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
    """A premise of the promise, with the evidence for its status."""

    name: str
    status: Literal["held", "violated", "unknown"]
    evidence: str


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


class Promise(Value):
    """The claim under test.

    kind `accountant`: the accountant's own curve of the executed mechanism; `claim`: f_(epsilon, delta), when only two
    numbers were claimed; `none`: nothing was promised (epsilon = infinity).
    """

    kind: Literal["accountant", "claim", "none"]
    epsilon: float
    delta: float
    mechanism: Mechanism
    curve: Series | None = None
    note: str = ""


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
    confidence: float
    strategy: str = Field(description="how thresholds or guess counts were chosen")
    counts: Counts
    parameter: float | None = Field(default=None, description="mu or noise multiplier of the largest curve refuted")
    p_value: float | None = Field(default=None, description="of the promise's own curve, where it was tested")
    attack: str = ""
    threat: Threat | None = None
    decides: bool = False
    exploratory: bool = False
    note: str = ""


class AttackResult(Value):
    """How well one attack tells members from non-members on one run."""

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


class Measurement(Value):
    """The score of one kind of features on one probe."""

    features: str
    score: Interval


class ProbeResult(Value):
    """One probe of one run, beside its baselines."""

    probe: str
    run: str
    metric: str
    measurements: tuple[Measurement, ...]
    train_size: int
    test_size: int
    detail: dict[str, float | int | str] = Field(default_factory=dict)


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
    note: str = ""


class Verdict(Value):
    """The verdict, in a word and in a sentence a manager understands."""

    word: VerdictWord
    sentence: str
    reasons: tuple[str, ...] = ()


class Picture(Value):
    """An image file in pictures/, with the text for who cannot see it."""

    file: str
    title: str
    alt: str


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
    assumptions: tuple[Assumption, ...]
    runs: tuple[RunSummary, ...]
    attacks: tuple[AttackResult, ...]
    bounds: tuple[Bound, ...]
    plans: tuple[Plan, ...]
    probes: tuple[ProbeResult, ...]
    pictures: tuple[Picture, ...]
    verdict: Verdict
    commands: tuple[str, ...] = Field(default=(), description="how to reproduce")
    missing: tuple[str, ...] = Field(default=(), description="what this report lacks, and why")
