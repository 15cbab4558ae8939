"""The ledger of assumptions: clean facts hold, each fault is told by exactly the premise that it breaks."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from dpaudit.accounting.assumptions import ASSUMPTION_NAMES, CHECK_LEVEL, assumptions
from dpaudit.accounting.facts import Coupling, Duplicates, ExecutedFacts, NoiseSample

if TYPE_CHECKING:
    from collections.abc import Callable

    from dpaudit.mechanism import Mechanism

STEPS, PRESENT, RATE = 100, 950, 0.2
NO_COPIES = Duplicates(compared=1000, sharing=0, largest=1)


@pytest.fixture
def clean(make_mechanism: Callable[..., Mechanism]) -> ExecutedFacts:
    mechanism = make_mechanism(RATE, 2.0, STEPS, clip_norm=0.5)
    return ExecutedFacts(
        mechanism=mechanism,
        executed=mechanism,
        drawn=tuple(np.random.default_rng(1).binomial(PRESENT, RATE, STEPS).tolist()),
        noise_draws=STEPS,
        records_present=PRESENT,
        sampling_rates=(RATE,),
        divisors=(200.0,),
        noise_stds=(1.0,),
        noise_unit=0.5,
        largest_norm=0.5 * (1 + 1e-6),
        noise=NoiseSample(count=10**6, sum_of_squares=10**6 + 1000.0),
        reproducible=False,
        privacy_unit="image",
        duplicates=NO_COPIES,
        coupling=Coupling(difference=1e-6),
        initial_weights="random",
        unseeded=0.01,
        tuning_runs=3,
        earlier_trainings=2,
        input_canaries=100,
        records=900,
    )


def _changed(facts: ExecutedFacts, **mechanism: Any) -> ExecutedFacts:
    """Return facts of another mechanism, accounted and executed."""
    changed = facts.mechanism.model_copy(update=mechanism)
    rate, size = changed.sampling_rate, float(changed.batch_size)
    return dataclasses.replace(facts, mechanism=changed, executed=changed, sampling_rates=(rate,), divisors=(size,))


def _violated(facts: ExecutedFacts) -> list[str]:
    return [assumption.name for assumption in assumptions(facts) if assumption.status == "violated"]


def test_clean_facts_hold(clean: ExecutedFacts) -> None:
    found = assumptions(clean)
    assert tuple(assumption.name for assumption in found) == ASSUMPTION_NAMES
    assert {assumption.status for assumption in found} == {"held"}
    assert all(assumption.evidence for assumption in found)


@pytest.mark.parametrize(
    ("change", "name", "status"),
    [
        ({"divisors": (200.0, 195.0)}, "divisor is the expected batch size", "violated"),
        ({"sampling_rates": (RATE, 0.21)}, "sizes are public constants", "violated"),
        ({"input_canaries": 50}, "canaries are counted in sizes", "violated"),
        ({"noise_draws": 99}, "noise in every step", "violated"),
        ({"noise_stds": (1.0, 0.5)}, "noise scale in the ledger", "violated"),
        ({"noise_unit": 1.0}, "noise scale in the ledger", "violated"),
        ({"noise": NoiseSample(count=10**6, sum_of_squares=0.98 * 10**6)}, "noise scale measured", "violated"),
        ({"noise": None}, "noise scale measured", "unknown"),
        ({"reproducible": True}, "noise is secret", "violated"),
        ({"largest_norm": 0.51}, "sensitivity respected", "violated"),
        ({"largest_norm": None}, "sensitivity respected", "unknown"),
        ({"duplicates": None}, "privacy unit", "unknown"),
        ({"duplicates": Duplicates(compared=1000, sharing=4, largest=2)}, "privacy unit", "violated"),
        ({"duplicates": Duplicates(compared=999, sharing=0, largest=1)}, "privacy unit", "unknown"),
        ({"coupling": Coupling(layers=("encoder.norm",))}, "records do not mix", "violated"),
        ({"coupling": Coupling(changed_buffers=("mean",), difference=0.0)}, "records do not mix", "violated"),
        ({"coupling": Coupling(difference=0.02)}, "records do not mix", "violated"),
        ({"coupling": Coupling(difference=0.02, noise=0.02)}, "records do not mix", "unknown"),
        ({"coupling": Coupling()}, "records do not mix", "unknown"),
        ({"initial_weights": "private"}, "pre-training data is public", "violated"),
        ({"initial_weights": "random", "unseeded": 0.9}, "pre-training data is public", "violated"),
        ({"initial_weights": None, "unseeded": 0.9}, "pre-training data is public", "unknown"),
        ({"tuning_runs": None}, "tuning runs are counted", "unknown"),
        ({"tuning_runs": 1}, "tuning runs are counted", "violated"),
    ],
)
def test_each_fault_breaks_its_own_premise(
    clean: ExecutedFacts, change: dict[str, Any], name: str, status: str
) -> None:
    found = assumptions(dataclasses.replace(clean, **change))
    assert {each.name: each.status for each in found if each.status != "held"} == {name: status}


TOO_SELDOM = tuple(150 + step % 2 * 25 - step % 3 * 12 for step in range(STEPS))


@pytest.mark.parametrize(
    ("drawn", "name"),
    [(TOO_SELDOM, "sampling rate measured"), ((190,) * STEPS, "batch sizes scatter as declared")],
)
def test_poisson_draws_are_measured(clean: ExecutedFacts, drawn: tuple[int, ...], name: str) -> None:
    assert name in _violated(dataclasses.replace(clean, drawn=drawn))


@pytest.mark.parametrize(
    ("said", "unseeded"), [("public", 0.9), ("synthetic", 0.9), ("random", 0.0), (None, 0.0), ("public", 0.0)]
)
def test_weights_from_the_seed_or_from_declared_public_data_are_held(
    clean: ExecutedFacts, said: Any, unseeded: float
) -> None:
    found = assumptions(dataclasses.replace(clean, initial_weights=said, unseeded=unseeded))
    assert {assumption.status for assumption in found} == {"held"}


def test_a_caption_that_several_images_share_is_told_and_breaks_nothing(clean: ExecutedFacts) -> None:
    found = assumptions(dataclasses.replace(clean, duplicates=dataclasses.replace(NO_COPIES, captions=7)))
    unit = next(assumption for assumption in found if assumption.name == "privacy unit")
    assert (unit.status, "7 records share a caption" in unit.evidence) == ("held", True)


#: of 1000 records 950 are in: what each sampler draws of them, and what it cannot
DRAWS: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "full": ((PRESENT,) * STEPS, (*(PRESENT,) * (STEPS - 1), PRESENT - 1)),
    "shuffle": ((190, 191, 189, 188, 192) * 20, (*(190,) * (STEPS - 1), 189)),
    "fixed": ((190,) * STEPS, (150,) * STEPS),
}


@pytest.mark.parametrize("sampling", list(DRAWS))
def test_the_other_samplers_draw_what_they_must(clean: ExecutedFacts, sampling: str) -> None:
    rate = 1.0 if sampling == "full" else RATE
    size = {"sampling_rate": rate, "batch_size": int(rate * 1000)}
    base, (right, wrong) = _changed(clean, sampling=sampling, adjacency="replace-one", **size), DRAWS[sampling]
    assert {each.status for each in assumptions(dataclasses.replace(base, drawn=right))} == {"held"}
    assert _violated(dataclasses.replace(base, drawn=wrong)) == ["sampling rate measured"]


def test_no_fixed_batch_holds_more_than_its_size(clean: ExecutedFacts) -> None:
    base = _changed(clean, sampling="fixed", adjacency="replace-one")
    found = assumptions(dataclasses.replace(base, drawn=(*(190,) * (STEPS - 1), 201)))
    assert "more than the batch of 200" in next(each.evidence for each in found if each.status == "violated")


def test_a_sampler_other_than_the_accounted_one(clean: ExecutedFacts) -> None:
    executed = clean.mechanism.model_copy(update={"sampling": "fixed"})
    first = assumptions(dataclasses.replace(clean, executed=executed))[0]
    assert (first.status, first.evidence) == ("violated", "executed: fixed; accounted: poisson")


def test_a_stream_is_told_wherever_amplification_would_be_claimed(clean: ExecutedFacts) -> None:
    stream = {"sampling": "shuffle", "shuffle_buffer": 50}
    told = (
        "records were streamed in storage order through a buffer of 50 of 1,000, "
        "so who is with whom in a batch is nearly fixed"
    )
    unsound = dataclasses.replace(_changed(clean, **stream), drawn=(190,) * STEPS)
    claimed = dataclasses.replace(clean, executed=clean.mechanism.model_copy(update=stream))
    for facts, reason in (
        (unsound, "shuffle sampling has no sound account under add-remove"),
        (claimed, "executed: shuffle (streamed in storage order, buffer 50); accounted: poisson"),
    ):
        first = assumptions(facts)[0]
        assert (first.status, first.evidence) == ("violated", f"{reason}; {told}")
    all_of_them = dataclasses.replace(_changed(clean, sampling="shuffle", shuffle_buffer=1000), drawn=(190,) * STEPS)
    assert assumptions(all_of_them)[0].evidence == "shuffle sampling has no sound account under add-remove"


@pytest.mark.parametrize("adjacency", ["replace-one", "zero-out"])
def test_a_stream_breaks_nothing_where_no_amplification_is_claimed(clean: ExecutedFacts, adjacency: str) -> None:
    stream = {"sampling": "shuffle", "shuffle_buffer": 50, "adjacency": adjacency}
    facts = dataclasses.replace(_changed(clean, **stream), drawn=DRAWS["shuffle"][0])
    assert {each.status for each in assumptions(facts)} == {"held"}
    words = "shuffle sampling (streamed in storage order, buffer 50), accounted as such"
    assert assumptions(facts)[0].evidence == words
    other = dataclasses.replace(facts, executed=facts.mechanism.model_copy(update={"shuffle_buffer": 60}))
    assert _violated(other) == ["sampling is what is accounted"]


def test_one_step_too_many(clean: ExecutedFacts) -> None:
    longer = dataclasses.replace(clean, drawn=(*clean.drawn, 190), noise_draws=STEPS + 1)
    assert _violated(longer) == ["steps executed are steps accounted"]


def test_sizes_that_do_not_fit_together(clean: ExecutedFacts) -> None:
    assert _violated(_changed(clean, batch_size=150)) == ["sizes are public constants"]


@pytest.mark.parametrize("sampling", ["fixed", "shuffle"])
def test_samplers_without_an_account_are_violated(clean: ExecutedFacts, sampling: str) -> None:
    facts = dataclasses.replace(_changed(clean, sampling=sampling), drawn=(190,) * STEPS)
    assert _violated(facts) == ["sampling is what is accounted"]


def test_a_run_without_privacy_breaks_no_promise(clean: ExecutedFacts) -> None:
    base = _changed(clean, noise_multiplier=0.0, clip_norm=math.inf)
    nothing = dataclasses.replace(base, noise=None, noise_draws=0, noise_stds=(0.0,), noise_unit=math.inf)
    facts = dataclasses.replace(nothing, largest_norm=None)
    assert {assumption.status for assumption in assumptions(facts)} == {"held"}


@pytest.mark.slow
def test_clean_runs_raise_hardly_any_false_alarm(clean: ExecutedFacts) -> None:
    rng, runs, alarms = np.random.default_rng(2), 20_000, 0
    for _ in range(runs):
        facts = dataclasses.replace(
            clean,
            drawn=tuple(rng.binomial(PRESENT, RATE, STEPS).tolist()),
            noise=NoiseSample(count=10**5, sum_of_squares=float(rng.chisquare(10**5))),
        )
        alarms += bool(_violated(facts))
    assert alarms <= 3 * CHECK_LEVEL * runs + 5 * (3 * CHECK_LEVEL * runs) ** 0.5
