"""Noise over sensitivity: every cell of sampling and adjacency against a small computation that knows no accountant."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import norm

from dpaudit.accounting.accountant import guarantees
from dpaudit.accounting.executed import executed_event, executed_guarantees, noise_unit
from dpaudit.accounting.gaussian import gaussian_epsilon
from dpaudit.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from dpaudit.mechanism import Adjacency, Mechanism, Sampling

DELTA, STD, CLIP = 1e-3, 1.0, 0.5
#: what a step's sum can move by: clipped per record, clipped as a whole batch (DP-CLIP), and any other numbers
CLIPPED: dict[Adjacency, float] = {"add-remove": CLIP, "zero-out": CLIP, "replace-one": 2 * CLIP}
WHOLE: dict[Adjacency, float] = {"add-remove": 2 * CLIP, "zero-out": 2 * CLIP, "replace-one": 2 * CLIP}
OTHER: dict[Adjacency, float] = {"add-remove": 0.7, "zero-out": 0.6, "replace-one": 1.1}


def _promised(
    make: Callable[..., Mechanism],
    sensitivity: dict[Adjacency, float],
    sampling: Sampling,
    adjacency: Adjacency,
    *,
    rate: float = 1.0,
    steps: int = 1,
) -> tuple[float | None, ...]:
    mechanism = make(rate, 0.0, steps, sampling=sampling, adjacency=adjacency, clip_norm=CLIP)
    event = executed_event([(rate, STD)] * steps, noise_unit(sensitivity, sampling, adjacency), mechanism)
    return tuple(guarantee.epsilon for guarantee in executed_guarantees(event, mechanism, DELTA))


def _delta(first: tuple[tuple[float, float], ...], second: tuple[tuple[float, float], ...], epsilon: float) -> float:
    """Return delta between two mixtures of ((weight, mean), ...) with noise STD, the larger direction, by a sum."""
    x, width = np.linspace(-12, 12, 24_001, retstep=True)
    one, other = (sum(weight * norm.pdf(x, mean, STD) for weight, mean in mixture) for mixture in (first, second))
    excess = (np.maximum(p - np.exp(epsilon) * q, 0).sum() * width for p, q in ((one, other), (other, one)))
    return float(max(excess))


@pytest.mark.parametrize("sensitivity", [CLIPPED, WHOLE, OTHER])
@pytest.mark.parametrize("adjacency", ["add-remove", "zero-out", "replace-one"])
def test_full_batches_against_the_closed_form(
    make_mechanism: Callable[..., Mechanism], sensitivity: dict[Adjacency, float], adjacency: Adjacency
) -> None:
    pld, *_ = _promised(make_mechanism, sensitivity, "full", adjacency, steps=9)
    assert pld == pytest.approx(gaussian_epsilon(3 * sensitivity[adjacency] / STD, DELTA), rel=1e-9)


@pytest.mark.parametrize("sensitivity", [CLIPPED, WHOLE, OTHER])
@pytest.mark.parametrize("adjacency", ["zero-out", "replace-one"])
def test_shuffled_epochs_against_the_closed_form(
    make_mechanism: Callable[..., Mechanism], sensitivity: dict[Adjacency, float], adjacency: Adjacency
) -> None:
    pld, *_ = _promised(make_mechanism, sensitivity, "shuffle", adjacency, rate=0.25, steps=16)
    assert pld == pytest.approx(gaussian_epsilon(2 * sensitivity[adjacency] / STD, DELTA), rel=1e-9)


@pytest.mark.parametrize(
    ("adjacency", "with_it", "with_other"),
    [("add-remove", CLIP, None), ("zero-out", CLIP, None), ("replace-one", CLIP, -CLIP)],
)
def test_a_clipped_poisson_step_against_the_integral(
    make_mechanism: Callable[..., Mechanism], adjacency: Adjacency, with_it: float, with_other: float | None
) -> None:
    rate = 0.3
    pld, *_ = _promised(make_mechanism, CLIPPED, "poisson", adjacency, rate=rate)
    one = ((1 - rate, 0.0), (rate, with_it))
    other = ((1.0, 0.0),) if with_other is None else ((1 - rate, 0.0), (rate, with_other))
    exact = brentq(lambda epsilon: _delta(one, other, epsilon) - DELTA, 0, 20)
    assert pld == pytest.approx(exact, rel=5e-3)


@pytest.mark.parametrize("with_other", [-CLIP, 0.0, CLIP])
def test_poisson_batches_clipped_as_a_whole_are_covered_wherever_they_land(
    make_mechanism: Callable[..., Mechanism], with_other: float
) -> None:
    """Without, with and with the other record: three sums anywhere within 2 C of each other."""
    rate = 0.3
    pld, *_ = _promised(make_mechanism, WHOLE, "poisson", "replace-one", rate=rate)
    assert pld is not None
    one, other = ((1 - rate, -CLIP), (rate, CLIP)), ((1 - rate, -CLIP), (rate, with_other))
    assert _delta(one, other, pld) <= DELTA
    half, *_ = _promised(make_mechanism, CLIPPED, "poisson", "add-remove", rate=rate)
    assert half is not None
    assert _delta(one, ((1 - rate, -CLIP), (rate, -CLIP)), half) > DELTA


def _renyi_by_hand(sensitivity: float) -> float:
    """Return epsilon of one unsampled release by its Renyi divergence, over a fine grid of orders."""
    orders = np.linspace(1.01, 100, 20_000)
    divergence = orders * (sensitivity / STD) ** 2 / 2
    conversion = np.log1p(-1 / orders) - np.log(DELTA * orders) / (orders - 1)
    return float((divergence + conversion).min())


@pytest.mark.parametrize("sensitivity", [CLIPPED, WHOLE, OTHER])
def test_fixed_batches_at_a_rate_near_one_are_as_if_not_sampled(
    make_mechanism: Callable[..., Mechanism], sensitivity: dict[Adjacency, float]
) -> None:
    """Doubled twice or never, the answer would be twice or half as large."""
    rate, reach = 0.99, sensitivity["replace-one"] / 2
    _, rdp, _ = _promised(make_mechanism, sensitivity, "fixed", "replace-one", rate=rate)
    assert rdp is not None
    one, other = ((rate, reach), (1 - rate, -reach)), ((1.0, -reach),)
    assert _delta(one, other, rdp) <= DELTA
    assert rdp == pytest.approx(_renyi_by_hand(sensitivity["replace-one"]), rel=0.15)


@pytest.mark.parametrize("sensitivity", [CLIPPED, WHOLE, OTHER])
@pytest.mark.parametrize("rate", [0.25, 0.5, 1.0])
def test_fixed_batches_under_zero_out_cover_the_null_record(
    make_mechanism: Callable[..., Mechanism], sensitivity: dict[Adjacency, float], rate: float
) -> None:
    _, rdp, _ = _promised(make_mechanism, sensitivity, "fixed", "zero-out", rate=rate)
    assert rdp is not None
    null, others = sensitivity["zero-out"], min(sensitivity["replace-one"], 2 * sensitivity["zero-out"])
    with_it, without = ((rate, null), (1 - rate, null - others)), ((rate, 0.0), (1 - rate, null - others))
    assert _delta(with_it, without, rdp) <= DELTA


@pytest.mark.parametrize("sampling", ["poisson", "fixed", "shuffle", "full"])
@pytest.mark.parametrize("adjacency", ["add-remove", "zero-out", "replace-one"])
def test_clipping_at_c_has_unit_c_in_every_cell(sampling: Sampling, adjacency: Adjacency) -> None:
    assert noise_unit(CLIPPED, sampling, adjacency) == CLIP


@pytest.mark.parametrize(
    ("sampling", "adjacency", "unit"),
    [
        ("poisson", "add-remove", 1.0),
        ("poisson", "replace-one", 1.0),
        ("poisson", "zero-out", 1.0),
        ("fixed", "replace-one", 0.5),
        ("fixed", "zero-out", 1.0),
        ("shuffle", "replace-one", 0.5),
        ("shuffle", "zero-out", 1.0),
        ("full", "add-remove", 1.0),
        ("full", "replace-one", 0.5),
    ],
)
def test_units_of_a_batch_clipped_as_a_whole(sampling: Sampling, adjacency: Adjacency, unit: float) -> None:
    assert noise_unit(WHOLE, sampling, adjacency) == unit


@pytest.mark.parametrize("sampling", ["poisson", "fixed", "shuffle", "full"])
@pytest.mark.parametrize("adjacency", ["add-remove", "zero-out", "replace-one"])
def test_a_ledger_as_planned_promises_what_was_planned(
    make_mechanism: Callable[..., Mechanism], sampling: Sampling, adjacency: Adjacency
) -> None:
    rate = 1.0 if sampling == "full" else 0.2
    mechanism = make_mechanism(rate, 3.0, 20, sampling=sampling, adjacency=adjacency, clip_norm=CLIP)
    event = executed_event([(rate, 3.0 * CLIP)] * 20, noise_unit(CLIPPED, sampling, adjacency), mechanism)
    assert executed_guarantees(event, mechanism, DELTA) == guarantees(mechanism, DELTA)


def test_less_noise_in_the_ledger_promises_less(make_mechanism: Callable[..., Mechanism]) -> None:
    mechanism = make_mechanism(0.2, 3.0, 20, clip_norm=CLIP)
    weak = executed_event([(0.2, 3.0 * CLIP)] * 19 + [(0.2, 0.3 * CLIP)], CLIP, mechanism)
    planned, executed = guarantees(mechanism, DELTA)[0].epsilon, executed_guarantees(weak, mechanism, DELTA)[0].epsilon
    assert planned is not None
    assert executed is not None
    assert executed > 2 * planned


def test_without_clipping_nothing_is_private(make_mechanism: Callable[..., Mechanism]) -> None:
    mechanism = make_mechanism(0.2, 0.0, 3, clip_norm=math.inf)
    event = executed_event([(0.2, 1.0)] * 3, math.inf, mechanism)
    assert [guarantee.epsilon for guarantee in executed_guarantees(event, mechanism, DELTA)] == [math.inf] * 3


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan])
def test_sensitivities_are_checked(value: float) -> None:
    with pytest.raises(InputError, match=r"sensitivity \(zero-out\)"):
        noise_unit({**CLIPPED, "zero-out": value}, "full", "add-remove")
