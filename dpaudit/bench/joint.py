"""What the joint test of errors adds to the published recursion, measured: `dpaudit bench joint`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from dpaudit.bounds.family import gaussian_family
from dpaudit.bounds.gdp import gdp_mu
from dpaudit.bounds.guesses import Guesses
from dpaudit.bounds.joint.count import JointCount
from dpaudit.bounds.joint.groups import RankGroups
from dpaudit.bounds.joint.penalties import total
from dpaudit.bounds.joint.pooled import PooledCount
from dpaudit.bounds.joint.runs import ErrorRates
from dpaudit.bounds.max_p import PlannedTest, max_p_bound
from dpaudit.bounds.one_run_fdp import FdpRecursion
from dpaudit.bounds.tradeoff import Gaussian
from dpaudit.mechanism import Mechanism
from dpaudit.planner import plan_guesses
from dpaudit.results import Surest, Value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dpaudit.bounds.max_p import OneRunTest
    from dpaudit.progress import Progress
    from dpaudit.results import Plan

__all__ = ["JointBench", "bench_joint"]

_DELTA, _CONFIDENCE, _PROMISE, _CANARIES = 1e-5, 0.95, 8.0, 1000
_RUNS = (1, 2, 4, 8, 16)
#: promised epsilon, canaries, guesses, right guesses: the expected counts of an ideal attack, as published
_COUNTS = (
    (8, 1_000, 150, 147),
    (4, 1_000, 100, 89),
    (2, 1_000, 150, 109),
    (1, 1_000, 350, 209),
    (8, 10_000, 500, 496),
    (4, 10_000, 350, 322),
    (2, 10_000, 350, 273),
    (1, 10_000, 1_000, 636),
    (8, 100_000, 1_500, 1_494),
    (4, 100_000, 1_000, 947),
    (2, 100_000, 700, 577),
    (1, 100_000, 1_500, 1_017),
)
_SUREST = Surest(guesses_in=50, guesses_out=50, weight=3, most=14)
_RANKED = Guesses(canaries=1000, guesses=200, correct=194, surest=100, surest_correct=99)


class CountRow(Value):
    """One run at the expected counts: epsilon certified by the recursion and by the joint test."""

    epsilon: float
    canaries: int
    guesses: int
    correct: int
    recursion: float
    joint: float


class GroupsRow(Value):
    """Two rank groups in one run."""

    epsilon: float
    canaries: int
    design: str
    joint: float


class RunsRow(Value):
    """R runs: median epsilon certified by each way over simulated audits, at the planned number of guesses.

    together: by `one-run-pooled`; the penalties of the middle audit decide, for the bound falls with their sum.
    """

    runs: int
    guesses: int
    recursion: float
    every_run: float
    evidence: float
    together: float | None
    groups: float | None
    planned: float


class JointBench(Value):
    """What `dpaudit bench joint` answers."""

    audits: int
    counts: tuple[CountRow, ...]
    groups: GroupsRow
    runs: tuple[RunsRow, ...]


def bench_joint(audits: int, *, progress: Progress) -> JointBench:
    """Return the table of the joint test, with so many simulated audits for each number of runs."""
    counts, runs = [], []
    with progress.task("joint", len(_COUNTS) + 1 + len(_RUNS)) as task:
        for epsilon, canaries, guesses, correct in _COUNTS:
            run = Guesses(canaries=canaries, guesses=guesses, correct=correct)
            found = {test.method: _epsilon(test, [run]) for test in (FdpRecursion(), JointCount())}
            counts.append(
                CountRow(
                    epsilon=epsilon,
                    canaries=canaries,
                    guesses=guesses,
                    correct=correct,
                    recursion=found["one-run-fdp"],
                    joint=found["one-run-joint"],
                )
            )
            task.advance(len(counts), f"{correct} of {guesses}")
        groups = _two_groups()
        for number in _RUNS:
            runs.append(_runs_row(number, audits))
            task.advance(len(counts) + 1 + len(runs), f"{number} runs")
    return JointBench(audits=audits, counts=tuple(counts), groups=groups, runs=tuple(runs))


def _epsilon(test: OneRunTest[Any], runs: Sequence[Guesses]) -> float:
    planned = PlannedTest[Any](test=test, family=gaussian_family(delta=_DELTA), confidence=_CONFIDENCE)
    return max_p_bound(planned, runs, strategy="fixed").epsilon


def _two_groups() -> GroupsRow:
    """Return what is certified when 3 e_1 + e_2 <= 8, an event of chance one half for an ideal attack at epsilon 8."""
    design = "ranks 1-100 and 101-200, 8 = 3 x errors of the first + errors of the second"
    joint = _epsilon(RankGroups(_SUREST), [_RANKED])
    return GroupsRow(epsilon=_PROMISE, canaries=_RANKED.canaries, design=design, joint=joint)


def _runs_row(runs: int, audits: int) -> RunsRow:
    mu = gdp_mu(_PROMISE, _DELTA)
    plan = _planned(mu, runs)
    surest = 0 if plan.surest is None else plan.surest.guesses_in + plan.surest.guesses_out
    sets = _ideal_audits(mu, plan.guesses_in + plan.guesses_out, surest, audits, runs)
    guesses = plan.guesses_in + plan.guesses_out
    wrong = float(np.mean([run.guesses - run.correct for audit in sets for run in audit]))
    rates = ErrorRates(promised=wrong / guesses, broken=1e-4)
    if plan.error_rates is not None:
        rates = ErrorRates(promised=plan.error_rates[0], broken=plan.error_rates[1])
    ways: dict[str, OneRunTest[Any]] = {
        "recursion": FdpRecursion(),
        "every_run": JointCount(),
        "evidence": JointCount(rates) if runs > 1 else JointCount(),
    }
    medians = {name: _median(test, sets) for name, test in ways.items()}
    return RunsRow(
        runs=runs,
        guesses=guesses,
        planned=plan.expected_epsilon,
        together=_together(rates, sets) if runs > 1 else None,
        groups=None if plan.surest is None else _median(RankGroups(plan.surest), sets),
        **medians,
    )


def _median(test: OneRunTest[Any], sets: Sequence[Sequence[Guesses]]) -> float:
    return float(np.median([_epsilon(test, audit) for audit in sets]))


def _together(rates: ErrorRates, sets: Sequence[Sequence[Guesses]]) -> float:
    """Return the epsilon that the audit whose penalties are the (upper) median certifies by `one-run-pooled`."""
    test, runs = PooledCount(rates), len(sets[0])
    family = gaussian_family(delta=_DELTA)
    level = PlannedTest[Any](test=test, family=family, confidence=_CONFIDENCE).level(runs)
    penalties = test.penalties(family, sets[0], level)
    totals = [total(audit, penalties) for audit in sets]
    middle = sorted(range(len(sets)), key=lambda at: math.inf if (paid := totals[at]) is None else paid)[len(sets) // 2]
    return _epsilon(test, sets[middle])


def _planned(mu: float, runs: int) -> Plan:
    """Return the plan against one Gaussian step of epsilon 8, from the promise alone."""
    mechanism = Mechanism(
        sampling="full",
        adjacency="add-remove",
        noise_multiplier=1 / mu,
        sampling_rate=1.0,
        steps=1,
        clip_norm=1.0,
        batch_size=1,
        dataset_size=1,
    )
    planned = PlannedTest(
        test=JointCount(), family=gaussian_family(delta=_DELTA), confidence=_CONFIDENCE, promise=Gaussian(mu)
    )
    return plan_guesses(mechanism, planned, attack="ideal", canaries=_CANARIES, runs=runs)


def _ideal_audits(mu: float, guesses: int, surest: int, audits: int, runs: int) -> list[list[Guesses]]:
    """Return what ideal attacks show; scores N(+-mu / 2, 1), the surest of them guessed."""
    rng = np.random.default_rng(0)
    return [[_ideal_run(rng, mu, guesses, surest) for _ in range(runs)] for _ in range(audits)]


def _ideal_run(rng: np.random.Generator, mu: float, guesses: int, surest: int) -> Guesses:
    inside = rng.random(_CANARIES) < 0.5
    scores = rng.normal(size=_CANARIES) + mu * (inside - 0.5)
    right = ((scores > 0) == inside)[np.argsort(-np.abs(scores))[:guesses]]
    return Guesses(
        canaries=_CANARIES,
        guesses=guesses,
        correct=int(right.sum()),
        surest=surest,
        surest_correct=int(right[:surest].sum()),
    )
