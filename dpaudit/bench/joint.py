"""What the joint test of errors adds to the published recursion, measured: `dpaudit bench joint`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dpaudit.bounds.family import gaussian_family
from dpaudit.bounds.gdp import gdp_mu
from dpaudit.bounds.guesses import Guesses
from dpaudit.bounds.joint.certificate import Box
from dpaudit.bounds.joint.count import JointCount
from dpaudit.bounds.joint.program import best_certificate
from dpaudit.bounds.joint.runs import ErrorRates
from dpaudit.bounds.max_p import PlannedTest, max_p_bound
from dpaudit.bounds.one_run_fdp import FdpRecursion
from dpaudit.bounds.tradeoff import Gaussian
from dpaudit.mechanism import Mechanism
from dpaudit.planner import plan_guesses
from dpaudit.results import Value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

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
_GROUPS = Box(canaries=1000, sizes=(100, 100), last=(13, 26))
_WEIGHTS, _MOST, _TERMS = (3, 1), 8, 9_000


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
    """R runs: median epsilon certified by each way over simulated audits, at the planned number of guesses."""

    runs: int
    guesses: int
    recursion: float
    every_run: float
    evidence: float
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
    reward = (np.array(_WEIGHTS) @ _GROUPS.errors <= _MOST).astype(np.float64).reshape(_GROUPS.shape)
    family, mu = gaussian_family(delta=_DELTA), 1.1
    for _ in range(2):
        certificate = best_certificate(_GROUPS, reward, Gaussian(mu), terms=_TERMS)
        if certificate is None:
            break
        bound = certificate.most
        mu = family.largest_refuted(lambda curve: bound(reward, curve) <= 1 - _CONFIDENCE).parameter or mu  # noqa: B023  # called at once
    design = "ranks 1-100 and 101-200, at most 8 = 3 x errors of the first + errors of the second"
    return GroupsRow(epsilon=_PROMISE, canaries=_GROUPS.canaries, design=design, joint=family.epsilon(mu))


def _runs_row(runs: int, audits: int) -> RunsRow:
    mu = gdp_mu(_PROMISE, _DELTA)
    plan = _planned(mu, runs)
    guesses = plan.guesses_in + plan.guesses_out
    sets = _ideal_errors(mu, guesses, audits, runs)
    rates = ErrorRates(promised=float(sets.mean()) / guesses, broken=1e-4)
    if plan.error_rates is not None:
        rates = ErrorRates(promised=plan.error_rates[0], broken=plan.error_rates[1])
    ways: dict[str, OneRunTest[Any]] = {
        "recursion": FdpRecursion(),
        "every_run": JointCount(),
        "evidence": JointCount(rates) if runs > 1 else JointCount(),
    }
    medians = {
        name: float(np.median([_epsilon(test, _seen(guesses, errors)) for errors in sets]))
        for name, test in ways.items()
    }
    return RunsRow(runs=runs, guesses=guesses, planned=plan.expected_epsilon, **medians)


def _seen(guesses: int, errors: NDArray[np.int64]) -> list[Guesses]:
    return [Guesses(canaries=_CANARIES, guesses=guesses, correct=guesses - wrong) for wrong in errors.tolist()]


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


def _ideal_errors(mu: float, guesses: int, audits: int, runs: int) -> NDArray[np.int64]:
    """Return the wrong guesses among the surest of ideal canaries, (audits, runs); scores N(+-mu / 2, 1)."""
    rng = np.random.default_rng(0)
    found = np.empty(audits * runs, dtype=np.int64)
    for index in range(audits * runs):
        inside = rng.random(_CANARIES) < 0.5
        scores = rng.normal(size=_CANARIES) + mu * (inside - 0.5)
        surest = np.argsort(-np.abs(scores))[:guesses]
        found[index] = int(((scores > 0) != inside)[surest].sum())
    return found.reshape(audits, runs)
