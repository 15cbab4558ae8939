"""The verdict: the fixed order of precedence, and what may and may not decide."""

from __future__ import annotations

import math

import pytest

from dpaudit.mechanism import Mechanism
from dpaudit.results import Assumption, Bound, Counts, Plan, Promise
from dpaudit.verdict import decide

MECHANISM = Mechanism(
    sampling="poisson",
    adjacency="add-remove",
    noise_multiplier=1.0,
    sampling_rate=0.1,
    steps=10,
    clip_norm=1.0,
    batch_size=10,
    dataset_size=100,
)
PROMISE = Promise(kind="accountant", epsilon=2.0, delta=1e-5, mechanism=MECHANISM)
HELD = Assumption(name="noise is secret", status="held", evidence="drawn from the operating system")
BROKEN = Assumption(name="sampling", status="violated", evidence="shuffled")
UNKNOWN = Assumption(name="duplicates", status="unknown", evidence="not counted")
PLAN = Plan(
    attack="audit_block",
    method="one-run-fdp",
    canaries=1000,
    runs=1,
    guesses_in=50,
    guesses_out=50,
    expected_epsilon=1.2,
    power=0.9,
    largest_epsilon=9.0,
)
BOUND = Bound(
    method="one-run-fdp",
    hypothesis="accountant",
    guarantee="certified",
    epsilon=1.3,
    delta=1e-5,
    confidence=0.95,
    strategy="fixed",
    counts=Counts(canaries=(1000,)),
    p_value=0.6,
    attack="audit_block",
    decides=True,
)
CERTAIN = Assumption(name="sensitivity", status="violated", evidence="batches {} and {a}: 2, not 1", certified=True)
REFUTING = BOUND.model_copy(update={"p_value": 1e-9, "epsilon": 7.0})


def word(bound: Bound, assumption: Assumption, power: float = 0.9) -> str:
    return decide(PROMISE, [bound], [HELD, assumption], [PLAN.model_copy(update={"power": power})], 0.8).word


def test_the_order_of_precedence() -> None:
    assert word(REFUTING, BROKEN, power=0.1) == "VIOLATED"
    assert word(BOUND, CERTAIN, power=0.1) == "VIOLATED"
    assert word(BOUND, BROKEN, power=0.1) == "UNSOUND"
    assert word(BOUND, UNKNOWN, power=0.1) == "INCONCLUSIVE"
    assert word(BOUND, UNKNOWN) == "CONSISTENT"


@pytest.mark.parametrize(
    "change", [{"decides": False}, {"guarantee": "under_independence"}, {"guarantee": "estimate"}, {"p_value": None}]
)
def test_only_certified_bounds_named_before_unsealing_decide(change: dict[str, object]) -> None:
    assert word(REFUTING.model_copy(update=change), HELD) == "CONSISTENT"


def test_a_p_value_at_its_share_of_alpha_refutes_and_one_above_does_not() -> None:
    shared = REFUTING.model_copy(update={"confidence": 0.975})
    assert word(shared.model_copy(update={"p_value": 0.025}), HELD) == "VIOLATED"
    assert word(shared.model_copy(update={"p_value": 0.0251}), HELD) == "CONSISTENT"


def test_without_a_promise_there_is_nothing_to_refute() -> None:
    nothing = PROMISE.model_copy(update={"kind": "none", "epsilon": math.inf})
    assert decide(nothing, [], [BROKEN], [], 0.8).word == "CONSISTENT"


def test_the_sentences_name_their_numbers() -> None:
    assert "2.00" in decide(PROMISE, [REFUTING], [], [PLAN], 0.8).sentence
    assert "7.00" in decide(PROMISE, [REFUTING], [], [PLAN], 0.8).sentence
    assert "sampling" in decide(PROMISE, [BOUND], [BROKEN], [PLAN], 0.8).sentence
    assert "1.30" in decide(PROMISE, [BOUND], [HELD], [PLAN], 0.8).sentence
