"""Where bounds meet accounting: which method tests which hypothesis of which promise."""

from __future__ import annotations

import numpy as np
import pytest

from dpaudit.bounds.joint.count import JointCount
from dpaudit.bounds.joint.groups import RankGroups
from dpaudit.bounds.joint.pooled import PooledCount
from dpaudit.bounds.joint.runs import ErrorRates
from dpaudit.bounds.methods import METHODS
from dpaudit.bounds.one_run_fdp import FdpRecursion
from dpaudit.bounds.tradeoff import EpsilonDelta, Profile
from dpaudit.errors import InputError
from dpaudit.mechanism import Mechanism
from dpaudit.pipeline.hypotheses import CERTIFIED, REQUESTS, bound_all_guessed, planned_test
from dpaudit.results import Plan, Promise, Surest
from dpaudit.scores import LabelledScores

MECHANISM = Mechanism(
    sampling="full",
    adjacency="add-remove",
    noise_multiplier=1.0,
    sampling_rate=1.0,
    steps=1,
    clip_norm=1.0,
    batch_size=100,
    dataset_size=100,
)
CLAIM = Promise(kind="claim", epsilon=2.0, delta=1e-5, mechanism=MECHANISM)
ACCOUNTED = Promise(kind="accountant", epsilon=4.38, delta=1e-5, mechanism=MECHANISM)


def test_what_a_recipe_can_ask_for_is_what_the_methods_can() -> None:
    for name, hypotheses in REQUESTS.items():
        assert set(METHODS[name].hypotheses) == set(hypotheses) - {"promise", "accountant"}
    assert all(METHODS[name].guarantee == "certified" for name in CERTIFIED)


@pytest.mark.parametrize(
    ("promise", "method", "hypothesis", "family", "curve"),
    [
        (CLAIM, "one-run", "promise", "any", EpsilonDelta),
        (CLAIM, "one-run-fdp", "promise", "any", EpsilonDelta),
        (ACCOUNTED, "one-run", "any", "any", type(None)),
        (ACCOUNTED, "one-run-fdp", "promise", "accountant", Profile),
        (ACCOUNTED, "clopper-pearson", "gaussian", "gaussian", Profile),
    ],
)
def test_a_test_searches_its_hypothesis_beside_the_promise(
    promise: Promise, method: str, hypothesis: str, family: str, curve: type
) -> None:
    planned = planned_test(promise, method, hypothesis, 0.95)
    assert planned.family.hypothesis == family
    assert isinstance(planned.promise, curve)


@pytest.mark.parametrize(
    ("promise", "method", "hypothesis"),
    [
        (CLAIM, "one-run", "gaussian"),
        (CLAIM, "one-run", "accountant"),
        (ACCOUNTED, "one-run", "promise"),
        (ACCOUNTED, "dkw", "gaussian"),
        (ACCOUNTED, "one-run-fdp", "none"),
    ],
)
def test_pairs_that_do_not_exist_are_refused(promise: Promise, method: str, hypothesis: str) -> None:
    with pytest.raises(InputError, match=r"bound|hypothesis"):
        planned_test(promise, method, hypothesis, 0.95)


def test_rank_groups_of_a_plan_test_every_curve_but_that_of_any_mechanism() -> None:
    surest = Surest(guesses_in=20, guesses_out=10, weight=3, most=9)
    plan = Plan(
        attack="audit_block",
        method="one-run-joint",
        canaries=1000,
        runs=1,
        guesses_in=60,
        guesses_out=40,
        expected_epsilon=1.0,
        power=0.9,
        largest_epsilon=2.0,
        surest=surest,
    )
    for hypothesis in ("promise", "gaussian"):
        assert planned_test(ACCOUNTED, "one-run-joint", hypothesis, 0.95, plan).test == RankGroups(surest)
    assert planned_test(ACCOUNTED, "one-run-joint", "any", 0.95, plan).test == JointCount()
    assert planned_test(ACCOUNTED, "one-run-fdp", "promise", 0.95, plan).test == FdpRecursion()
    assert planned_test(ACCOUNTED, "one-run-joint", "promise", 0.95).test == JointCount()
    assert planned_test(ACCOUNTED, "one-run-pooled", "promise", 0.95, plan).test == PooledCount()
    together = plan.model_copy(update={"surest": None, "error_rates": (0.04, 0.001)})
    rates = ErrorRates(promised=0.04, broken=0.001)
    assert planned_test(ACCOUNTED, "one-run-pooled", "promise", 0.95, together).test == PooledCount(rates)
    assert planned_test(ACCOUNTED, "one-run-joint", "promise", 0.95, together).test == JointCount(rates)


def gaussian_canaries(noise_multiplier: float, rng: np.random.Generator, count: int = 20_000) -> LabelledScores:
    member = rng.random(count) < 0.5
    return LabelledScores(scores=rng.normal(size=count) + member / noise_multiplier, member=member)


def test_all_guesses_come_near_the_promise_and_exceed_it_as_rarely_as_they_say() -> None:
    rng = np.random.default_rng(0)
    found = [bound_all_guessed(ACCOUNTED, [gaussian_canaries(1.0, rng)], 0.95) for _ in range(60)]
    epsilons = [bound.epsilon for bound in found]
    assert {(bound.hypothesis, bound.guarantee) for bound in found} == {("accountant", "under_independence")}
    assert sum(epsilon > 4.38 for epsilon in epsilons) <= 8  # of 60 at 5 %: more in 0.4 % of draws
    assert 0.93 * 4.38 < np.median(epsilons) < 4.38


def test_all_guesses_of_less_noise_than_promised_refute_the_promise() -> None:
    runs = [gaussian_canaries(0.7, np.random.default_rng(seed)) for seed in range(3)]
    assert bound_all_guessed(ACCOUNTED, runs, 0.95).epsilon > 4.38
