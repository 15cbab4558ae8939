"""The bounds by name: the list is complete, every answer is labelled, nonsense is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from dpaudit.bounds.clopper_pearson import Confusion
from dpaudit.bounds.guesses import Guesses
from dpaudit.bounds.methods import (
    METHODS,
    Question,
    bound_from_guesses,
    bound_from_rates,
    bound_from_scores,
    method_named,
)
from dpaudit.bounds.tradeoff import EpsilonDelta, Gaussian
from dpaudit.errors import InputError
from dpaudit.scores import LabelledScores

if TYPE_CHECKING:
    from dpaudit.results import Bound

RUN = Guesses(canaries=1000, guesses=100, correct=90)
RATES = Confusion(true_positives=90, in_trials=100, false_positives=5, out_trials=100)
SCORES = LabelledScores(
    scores=np.random.default_rng(0).normal(size=400) + np.arange(400) / 200, member=np.arange(400) >= 200
)


def ask(hypothesis: str, *, delta: float = 1e-5, confidence: float = 0.95) -> Question:
    return Question(hypothesis=hypothesis, delta=delta, confidence=confidence, strategy="fixed")


def answer(name: str, question: Question) -> Bound:
    match METHODS[name].takes:
        case "guesses":
            return bound_from_guesses(name, [RUN], question)
        case "rates":
            return bound_from_rates(name, RATES, question)
        case "scores":
            return bound_from_scores(name, SCORES, question, "independent runs")
        case other:
            raise AssertionError(other)


CASES = [
    (name, hypothesis)
    for name, method in METHODS.items()
    if method.takes in ("guesses", "rates", "scores")
    for hypothesis in method.hypotheses
]
RATIOS = ("katz-log", "adjusted-log", "bailey", "inverse-sinh")


@pytest.mark.parametrize(("name", "hypothesis"), CASES)
def test_every_answer_carries_its_label(name: str, hypothesis: str) -> None:
    bound = answer(name, ask(hypothesis, delta=0.0 if name in RATIOS else 1e-5))
    method = METHODS[name]
    assert bound.method == name
    assert bound.hypothesis == hypothesis
    assert bound.guarantee == method.guarantee
    assert bound.epsilon > 0
    assert bound.confidence == 0.95


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_method_is_described(name: str) -> None:
    method = method_named(name)
    assert method.name == name
    assert method.summary
    assert any(character.isdigit() for character in method.source) or "docs/" in method.source, "a year, or our proof"


def test_only_what_assumes_nothing_is_certified() -> None:
    certified = {name for name, method in METHODS.items() if method.guarantee == "certified"}
    one_run = {"one-run", "one-run-fdp", "one-run-joint", "one-run-pooled", "one-run-adaptive", "betting"}
    assert certified == one_run | {"clopper-pearson", "dkw", "auc-kl"}


def test_a_promise_gets_its_p_value() -> None:
    question = Question(hypothesis="gaussian", delta=1e-5, confidence=0.95, strategy="fixed", promise=Gaussian(0.1))
    for name in ("one-run-fdp", "clopper-pearson", "dkw", "auc-kl", "gaussian-moments", "order-statistics"):
        p_value = answer(name, question).p_value
        assert p_value is not None
        assert p_value < 0.05


def test_more_correct_guesses_certify_more() -> None:
    found = [
        bound_from_guesses("one-run", [Guesses(canaries=1000, guesses=100, correct=v)], ask("any")).epsilon
        for v in (50, 80, 90, 100)
    ]
    assert found == sorted(found)
    assert found[0] == 0


@pytest.mark.parametrize(
    ("name", "question", "field"),
    [
        ("no-such-bound", ask("any"), "method"),
        ("clopper-pearson", ask("any"), "method"),
        ("one-run", ask("gaussian"), "hypothesis"),
        ("one-run", ask("accountant"), "hypothesis"),
        ("one-run", ask("any", delta=-1e-5), "delta"),
        ("one-run-fdp", ask("gaussian", delta=0.0), "delta"),
        ("one-run", ask("any", confidence=95.0), "confidence"),
        ("one-run", ask("any", confidence=0.0), "confidence"),
        (
            "one-run",
            Question(hypothesis="any", delta=1e-5, confidence=0.95, strategy="", promise=Gaussian(1.0)),
            "promise",
        ),
    ],
)
def test_nonsense_is_refused(name: str, question: Question, field: str) -> None:
    with pytest.raises(InputError, match=field):
        bound_from_guesses(name, [RUN], question)


def test_ratios_know_no_delta_and_moments_only_gaussians() -> None:
    with pytest.raises(InputError, match="delta"):
        bound_from_rates("katz-log", RATES, ask("any"))
    question = Question(
        hypothesis="gaussian", delta=1e-5, confidence=0.95, strategy="", promise=EpsilonDelta(1.0, 1e-5)
    )
    with pytest.raises(InputError, match="promise"):
        bound_from_scores("gaussian-moments", SCORES, question, "independent runs")
    with pytest.raises(InputError, match="runs"):
        bound_from_guesses("one-run", [], ask("any"))
