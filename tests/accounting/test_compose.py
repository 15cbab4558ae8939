"""Composition: changing ledgers, stages and tuning runs, each against a slow or obvious twin."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from dp_accounting import (
    ComposedDpEvent,
    GaussianDpEvent,
    NeighboringRelation,
    PoissonSampledDpEvent,
    SelfComposedDpEvent,
)
from dp_accounting.pld import PLDAccountant

from dpaudit.accounting.accountant import event_guarantees, tight_guarantee
from dpaudit.accounting.compose import ledger_event, stages_event, with_tuning_runs
from dpaudit.accounting.events import mechanism_event
from dpaudit.accounting.parts import coarse_parts, gaussian_parts
from dpaudit.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from dpaudit.mechanism import Mechanism

DELTA = 1e-5


@pytest.mark.parametrize("sampling", ["poisson", "fixed", "full", "shuffle"])
def test_constant_ledger_is_the_mechanism(make_mechanism: Callable[..., Mechanism], sampling: str) -> None:
    rate = 1.0 if sampling == "full" else 0.2
    mechanism = make_mechanism(rate, 2.0, 33, sampling=sampling, adjacency="zero-out")
    ledger = ledger_event([(rate, 2.0)] * 33, mechanism)
    assert gaussian_parts(ledger) == gaussian_parts(mechanism_event(mechanism))


def test_changing_ledger_against_step_by_step_composition(make_mechanism: Callable[..., Mechanism]) -> None:
    steps = [(0.1 + 0.1 * (step % 2), 1.0 + step % 3) for step in range(12)]
    twin = PLDAccountant(NeighboringRelation.ADD_OR_REMOVE_ONE, 1e-3)
    for rate, noise in steps:
        twin.compose(PoissonSampledDpEvent(rate, GaussianDpEvent(noise)))
    found = tight_guarantee(ledger_event(steps, make_mechanism()), "add-remove", DELTA)
    assert found.epsilon == pytest.approx(twin.get_epsilon(DELTA), rel=2e-3)


def test_shuffled_record_may_sit_where_the_noise_is_least(make_mechanism: Callable[..., Mechanism]) -> None:
    mechanism = make_mechanism(0.5, sampling="shuffle", adjacency="zero-out")
    ledger = ledger_event([(0.5, 3.0), (0.5, 1.0), (0.5, 2.0), (0.5, 4.0), (0.5, 5.0)], mechanism)
    assert gaussian_parts(ledger) == gaussian_parts(
        ComposedDpEvent([GaussianDpEvent(1.0), GaussianDpEvent(2.0), GaussianDpEvent(5.0)])
    )


@pytest.mark.parametrize(
    ("sampling", "steps", "message"),
    [
        ("poisson", [(0.0, 1.0)], "sampling_rate = 0"),
        ("poisson", [(0.1, 1.0), (1.1, 1.0)], "sampling_rate = 1.1"),
        ("poisson", [(0.1, -1.0)], "noise_multiplier = -1"),
        ("shuffle", [(0.1, 1.0), (0.2, 1.0)], "one rate in all steps"),
    ],
)
def test_ledgers_are_checked(
    make_mechanism: Callable[..., Mechanism], sampling: str, steps: list[tuple[float, float]], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        ledger_event(steps, make_mechanism(sampling=sampling))


def test_a_step_without_noise_is_not_private(make_mechanism: Callable[..., Mechanism]) -> None:
    assert gaussian_parts(ledger_event([(0.1, 1.0), (0.1, 0.0)], make_mechanism())) == "not private"


def test_long_schedules_are_rounded_to_the_safe_side(make_mechanism: Callable[..., Mechanism]) -> None:
    event = ledger_event([(0.05, 2.0 - step / 300) for step in range(300)], make_mechanism())
    coarse = coarse_parts(gaussian_parts(event), 20)  # type: ignore[arg-type]  # the event is private
    assert len(coarse.parts) <= 20
    assert sum(part.count for part in coarse.parts) == 300
    assert 1 < coarse.ratio <= 1.05
    exact = [part.noise_multiplier for part in gaussian_parts(event)]  # type: ignore[union-attr]  # as above
    rounded = [part.noise_multiplier for part in coarse.parts for _ in range(part.count)]
    pairs = list(zip(sorted(exact), sorted(rounded), strict=True))
    assert all(low <= value <= low * coarse.ratio * (1 + 1e-9) for value, low in pairs)


def test_rounding_is_told(make_mechanism: Callable[..., Mechanism]) -> None:
    mechanism = make_mechanism(sampling="fixed", adjacency="add-remove")
    event = ledger_event([(0.05, 2.0 - step / 300) for step in range(300)], mechanism)
    assert all("noise rounded down" in guarantee.note for guarantee in event_guarantees(event, "add-remove", DELTA))


def test_stages_compose(make_mechanism: Callable[..., Mechanism]) -> None:
    one, other = make_mechanism(0.1, 1.0, 20), make_mechanism(0.2, 2.0, 30)
    assert gaussian_parts(stages_event([one, one])) == gaussian_parts(mechanism_event(make_mechanism(0.1, 1.0, 40)))
    with pytest.raises(InputError, match="the same in all stages"):
        stages_event([one, other.model_copy(update={"adjacency": "replace-one"})])


def test_tuning_runs_cost_as_much_as_the_final_run(make_mechanism: Callable[..., Mechanism]) -> None:
    event = mechanism_event(make_mechanism(0.1, 1.0, 20))
    assert with_tuning_runs(event, 0) == SelfComposedDpEvent(event, 1)
    longer = mechanism_event(make_mechanism(0.1, 1.0, 80))
    assert gaussian_parts(with_tuning_runs(event, 3)) == gaussian_parts(longer)
    with pytest.raises(InputError, match="tuning_runs = -1"):
        with_tuning_runs(event, -1)
