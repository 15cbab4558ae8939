"""The ledger of assumptions: clean facts hold, each fault is told by exactly the premise that it breaks."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from dpaudit.accounting.assumptions import ASSUMPTION_NAMES, CHECK_LEVEL, assumptions
from dpaudit.accounting.facts import ExecutedFacts, NoiseSample

if TYPE_CHECKING:
    from collections.abc import Callable

    from dpaudit.mechanism import Mechanism

STEPS, PRESENT, RATE = 100, 950, 0.2


@pytest.fixture
def clean(make_mechanism: Callable[..., Mechanism]) -> ExecutedFacts:
    sizes = np.random.default_rng(1).binomial(PRESENT, RATE, STEPS)
    return ExecutedFacts(
        mechanism=make_mechanism(RATE, 2.0, STEPS, clip_norm=0.5),
        steps=STEPS,
        noise_draws=STEPS,
        sampling="poisson",
        records_present=PRESENT,
        drawn_total=int(sizes.sum()),
        drawn_square_total=int((sizes**2).sum()),
        divisors=(200.0,),
        noise_stds=(1.0,),
        sensitivity=0.5,
        largest_norm=0.5 * (1 + 1e-6),
        noise=NoiseSample(count=10**6, sum_of_squares=10**6 + 1000.0),
        reproducible=False,
        privacy_unit="image",
        duplicates=0,
        cross_record_layers=(),
        initial_weights="random",
        tuning_runs=3,
        input_canaries=100,
        records=900,
    )


def test_clean_facts_hold(clean: ExecutedFacts) -> None:
    found = assumptions(clean)
    assert tuple(assumption.name for assumption in found) == ASSUMPTION_NAMES
    assert {assumption.status for assumption in found} == {"held"}
    assert all(assumption.evidence for assumption in found)


@pytest.mark.parametrize(
    ("change", "name", "status"),
    [
        ({"sampling": "shuffle"}, "sampling is what is accounted", "violated"),
        ({"drawn_total": 15_000, "drawn_square_total": 2_265_000}, "sampling rate measured", "violated"),
        ({"drawn_total": 19_000, "drawn_square_total": 100 * 190**2}, "batch sizes scatter as declared", "violated"),
        ({"divisors": (200.0, 195.0)}, "divisor is the expected batch size", "violated"),
        ({"input_canaries": 50}, "canaries are counted in sizes", "violated"),
        ({"noise_draws": 99}, "noise in every step", "violated"),
        ({"noise_stds": (1.0, 0.5)}, "noise scale in the ledger", "violated"),
        ({"noise": NoiseSample(count=10**6, sum_of_squares=0.98 * 10**6)}, "noise scale measured", "violated"),
        ({"noise": None}, "noise scale measured", "unknown"),
        ({"reproducible": True}, "noise is secret", "violated"),
        ({"largest_norm": 0.51}, "sensitivity respected", "violated"),
        ({"largest_norm": None}, "sensitivity respected", "unknown"),
        ({"duplicates": None}, "privacy unit", "unknown"),
        ({"duplicates": 4}, "privacy unit", "unknown"),
        ({"cross_record_layers": ("encoder.norm",)}, "records do not mix", "violated"),
        ({"initial_weights": "private"}, "pre-training data is public", "violated"),
        ({"initial_weights": "unknown"}, "pre-training data is public", "unknown"),
        ({"tuning_runs": None}, "tuning runs are counted", "unknown"),
    ],
)
def test_each_fault_breaks_its_own_premise(
    clean: ExecutedFacts, change: dict[str, Any], name: str, status: str
) -> None:
    found = assumptions(dataclasses.replace(clean, **change))
    broken = {assumption.name: assumption.status for assumption in found if assumption.status != "held"}
    assert broken.get(name) == status
    if "drawn_total" not in change:
        assert broken == {name: status}


def test_one_step_too_many(clean: ExecutedFacts) -> None:
    total, square_total = clean.drawn_total + 190, clean.drawn_square_total + 190**2
    longer = dataclasses.replace(clean, steps=STEPS + 1, drawn_total=total, drawn_square_total=square_total)
    found = assumptions(dataclasses.replace(longer, noise_draws=STEPS + 1))
    assert [assumption.name for assumption in found if assumption.status == "violated"] == [
        "steps executed are steps accounted"
    ]


def test_sizes_that_do_not_fit_together(clean: ExecutedFacts) -> None:
    mechanism = clean.mechanism.model_copy(update={"batch_size": 150})
    found = assumptions(dataclasses.replace(clean, mechanism=mechanism, divisors=(150.0,)))
    assert [assumption.name for assumption in found if assumption.status == "violated"] == [
        "sizes are public constants"
    ]


@pytest.mark.parametrize("sampling", ["fixed", "shuffle"])
def test_samplers_without_an_account_are_violated(clean: ExecutedFacts, sampling: Any) -> None:
    mechanism = clean.mechanism.model_copy(update={"sampling": sampling})
    found = assumptions(dataclasses.replace(clean, mechanism=mechanism, sampling=sampling))
    assert [assumption.name for assumption in found if assumption.status == "violated"] == [
        "sampling is what is accounted"
    ]


def test_a_run_without_privacy_breaks_no_promise(clean: ExecutedFacts) -> None:
    mechanism = clean.mechanism.model_copy(update={"noise_multiplier": 0.0, "clip_norm": math.inf})
    facts = dataclasses.replace(
        clean, mechanism=mechanism, noise=None, noise_draws=0, noise_stds=(0.0,), largest_norm=None
    )
    assert {assumption.status for assumption in assumptions(facts)} == {"held"}


@pytest.mark.slow
def test_clean_runs_raise_hardly_any_false_alarm(clean: ExecutedFacts) -> None:
    rng, runs, alarms = np.random.default_rng(2), 20_000, 0
    for _ in range(runs):
        sizes = rng.binomial(PRESENT, RATE, STEPS)
        facts = dataclasses.replace(
            clean,
            drawn_total=int(sizes.sum()),
            drawn_square_total=int((sizes**2).sum()),
            noise=NoiseSample(count=10**5, sum_of_squares=float(rng.chisquare(10**5))),
        )
        alarms += any(assumption.status == "violated" for assumption in assumptions(facts))
    assert alarms <= 3 * CHECK_LEVEL * runs + 5 * (3 * CHECK_LEVEL * runs) ** 0.5
