"""The three accountants: who may answer what, doubling exactly once, twins, disagreement, extremes."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import dp_accounting as dp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from dpaudit.accounting import accountant
from dpaudit.accounting.accountant import DisagreementError, event_guarantees, guarantees, headline, tight_guarantee
from dpaudit.accounting.events import mechanism_event
from dpaudit.accounting.parts import gaussian_parts
from dpaudit.accounting.rdp import RenyiEpsilon, twice_removed_epsilon
from dpaudit.errors import DpauditError, InputError
from dpaudit.results import Guarantee

if TYPE_CHECKING:
    from collections.abc import Callable

    from dpaudit.mechanism import Adjacency, Mechanism

DELTA = 1e-5


def _tight(event: Any, adjacency: Adjacency = "add-remove", delta: float = DELTA) -> float:
    epsilon = tight_guarantee(event, adjacency, delta).epsilon
    assert epsilon is not None
    return epsilon


def _poisson(rate: float, noise: float, steps: int) -> Any:
    return dp.SelfComposedDpEvent(dp.PoissonSampledDpEvent(rate, dp.GaussianDpEvent(noise)), steps)


@pytest.mark.parametrize(
    ("sampling", "adjacency", "answering"),
    [
        ("poisson", "add-remove", "PLD RDP PRV"),
        ("poisson", "zero-out", "PLD RDP PRV"),
        ("poisson", "replace-one", "PLD"),
        ("fixed", "add-remove", ""),
        ("fixed", "zero-out", "RDP"),
        ("fixed", "replace-one", "RDP"),
        ("shuffle", "add-remove", ""),
        ("shuffle", "zero-out", "PLD RDP"),
        ("shuffle", "replace-one", "PLD RDP"),
        ("full", "add-remove", "PLD RDP"),
        ("full", "zero-out", "PLD RDP"),
        ("full", "replace-one", "PLD RDP"),
    ],
)
def test_who_has_a_sound_answer(
    make_mechanism: Callable[..., Mechanism], sampling: str, adjacency: str, answering: str
) -> None:
    rate = 1.0 if sampling == "full" else 0.1
    found = guarantees(make_mechanism(sampling=sampling, adjacency=adjacency, rate=rate, steps=20), DELTA)
    assert " ".join(guarantee.accountant for guarantee in found if guarantee.epsilon is not None) == answering
    assert [guarantee.accountant for guarantee in found] == ["PLD", "RDP", "PRV"]
    assert all(guarantee.note and guarantee.adjacency == adjacency and guarantee.delta == DELTA for guarantee in found)
    sources = [guarantee for guarantee in found if guarantee.note.startswith("single source")]
    assert len(sources) == (len(answering.split()) == 1)


@pytest.mark.parametrize("adjacency", ["zero-out", "replace-one"])
def test_a_stream_is_one_gaussian_per_epoch(make_mechanism: Callable[..., Mechanism], adjacency: Adjacency) -> None:
    shuffled = {"sampling": "shuffle", "adjacency": adjacency, "rate": 0.1, "steps": 25}
    found = guarantees(make_mechanism(**shuffled, shuffle_buffer=10), DELTA)
    epochs = make_mechanism(sampling="full", adjacency=adjacency, rate=1.0, steps=3)
    assert [each.epsilon for each in found] == [each.epsilon for each in guarantees(epochs, DELTA)]
    note = "each record once per epoch (streamed in storage order, buffer 10), no amplification by shuffling"
    assert all(note in each.note for each in found)
    removed = guarantees(make_mechanism(**{**shuffled, "adjacency": "add-remove"}, shuffle_buffer=10), DELTA)
    assert [each.epsilon for each in removed] == [None] * 3


def test_replace_one_doubles_exactly_once(make_mechanism: Callable[..., Mechanism]) -> None:
    replaced = make_mechanism(sampling="full", adjacency="replace-one", rate=1.0, noise=1.0, steps=10)
    halved = make_mechanism(sampling="full", adjacency="add-remove", rate=1.0, noise=0.5, steps=10)
    for one, other in zip(guarantees(replaced, DELTA), guarantees(halved, DELTA), strict=True):
        assert one.epsilon == other.epsilon
    assert guarantees(replaced, DELTA)[0].epsilon == pytest.approx(46.2, abs=0.05)


@pytest.mark.parametrize("sampling", ["poisson", "full", "shuffle"])
def test_zero_out_is_add_remove_and_replace_one_is_more(
    make_mechanism: Callable[..., Mechanism], sampling: str
) -> None:
    rate = 1.0 if sampling == "full" else 0.1
    add, zero, replace = (
        make_mechanism(sampling=sampling, adjacency=adjacency, rate=rate)
        for adjacency in ("add-remove", "zero-out", "replace-one")
    )
    if sampling != "shuffle":
        assert _tight(mechanism_event(add)) == _tight(mechanism_event(zero), "zero-out")
    assert _tight(mechanism_event(replace), "replace-one") > 1.5 * _tight(mechanism_event(zero), "zero-out")


def _integrated_delta(rate: float, noise: float, epsilon: float, adjacency: str) -> float:
    """Return the exact one-step delta, the larger of both directions, by a Riemann sum."""
    x, width = np.linspace(-1 - 12 * noise, 1 + 12 * noise, 400_001, retstep=True)
    here, there, away = (norm.pdf(x, centre, noise) for centre in (0, 1, -1))
    one = (1 - rate) * here + rate * there
    other = (1 - rate) * here + rate * away if adjacency == "replace-one" else here
    return float(max(np.maximum(p - np.exp(epsilon) * q, 0).sum() for p, q in ((one, other), (other, one))) * width)


@pytest.mark.parametrize("adjacency", ["add-remove", "replace-one"])
@pytest.mark.parametrize(("rate", "noise"), [(0.2, 0.7), (0.01, 0.5), (0.7, 3.0)])
def test_one_step_against_the_integral(rate: float, noise: float, adjacency: Adjacency) -> None:
    epsilon = _tight(_poisson(rate, noise, 1), adjacency, 1e-4)
    assert _integrated_delta(rate, noise, epsilon, adjacency) <= 1e-4
    assert _integrated_delta(rate, noise, 0.995 * epsilon - 0.001, adjacency) > 1e-4


@pytest.mark.parametrize("adjacency", ["add-remove", "replace-one"])
def test_three_steps_against_simulation(adjacency: Adjacency) -> None:
    rate, noise, draws = 0.3, 1.0, 1_000_000
    rng = np.random.default_rng(11)
    x = rng.normal(size=(3, draws)) * noise + (rng.random((3, draws)) < rate)
    here, there, away = (norm.pdf(x, centre, noise) for centre in (0, 1, -1))
    other = (1 - rate) * here + rate * away if adjacency == "replace-one" else here
    losses = np.log(((1 - rate) * here + rate * there) / other).sum(axis=0)
    epsilon = _tight(_poisson(rate, noise, 3), adjacency, 0.01)
    excess = np.maximum(-np.expm1(epsilon - losses), 0)
    assert excess.mean() == pytest.approx(0.01, abs=5 * excess.std() / draws**0.5 + 1e-4)


@settings(max_examples=8, deadline=None)
@given(st.floats(0.001, 1), st.floats(0.5, 20), st.integers(1, 2000), st.floats(1.1, 3))
def test_epsilon_falls_with_noise_and_rises_with_steps_and_rate(
    rate: float, noise: float, steps: int, factor: float
) -> None:
    epsilon, slack = _tight(_poisson(rate, noise, steps)), 1.002
    assert _tight(_poisson(rate, noise * factor, steps)) <= epsilon * slack + 1e-6
    assert _tight(_poisson(rate, noise, math.ceil(steps * factor))) >= epsilon / slack - 1e-6
    assert _tight(_poisson(min(1.0, rate * factor), noise, steps)) >= epsilon / slack - 1e-6


@settings(max_examples=4, deadline=None)
@given(st.permutations([_poisson(0.1, 1.0, 20), _poisson(0.2, 2.0, 30), dp.GaussianDpEvent(5.0)]))
def test_composition_is_free_of_order(order: list[Any]) -> None:
    straight = dp.ComposedDpEvent([_poisson(0.1, 1.0, 20), _poisson(0.2, 2.0, 30), dp.GaussianDpEvent(5.0)])
    assert _tight(dp.ComposedDpEvent(order)) == _tight(straight)


def test_composed_stages_cost_less_than_their_sum_and_more_than_each() -> None:
    one, other = _poisson(0.1, 1.0, 50), _poisson(0.3, 2.0, 50)
    both = _tight(dp.ComposedDpEvent([one, other]))
    assert max(_tight(one), _tight(other)) < both < _tight(one) + _tight(other)


@pytest.mark.parametrize(
    ("changed", "epsilon"),
    [
        ({"noise": 0.0}, math.inf),
        ({"clip_norm": math.inf}, math.inf),
        ({"noise": 0.0, "sampling": "fixed"}, math.inf),
        ({"noise": math.inf}, 0.0),
        ({"noise": 0.0, "steps": 0}, 0.0),
    ],
)
def test_nothing_promised_and_nothing_released(
    make_mechanism: Callable[..., Mechanism], changed: dict[str, Any], epsilon: float
) -> None:
    assert [guarantee.epsilon for guarantee in guarantees(make_mechanism(**changed), DELTA)] == [epsilon] * 3


@pytest.mark.parametrize(
    ("rate", "noise", "steps", "exceeds"),
    [
        (0.2, 0.01, 1000, False),
        (0.2, 1e-4, 1000, True),
        (0.2, 1e-6, 10**6, True),
        (0.001, 1.0, 10**8, False),
        (0.001, 1.0, 10**10, True),
        (0.9, 0.01, 10**9, True),
    ],
)
def test_extreme_settings_answer_a_number_or_a_floor(rate: float, noise: float, steps: int, *, exceeds: bool) -> None:
    pld, rdp, prv = event_guarantees(_poisson(rate, noise, steps), "add-remove", DELTA)
    assert pld.exceeds == exceeds
    assert pld.epsilon is not None
    assert rdp.epsilon is not None
    assert 0.15 * rdp.epsilon < pld.epsilon < rdp.epsilon
    assert headline((pld, rdp, prv)).accountant == ("RDP" if exceeds else "PLD")


@pytest.mark.parametrize(
    ("rate", "noise", "steps", "delta", "low", "high"),
    [
        (0.01, 1e6, 5708, 1e-9, 0.0, 0.1),  # losses too small for a grid
        (0.01, 1.0, 1000, 1e-15, 5.28, 12.5),  # above the add-remove epsilon, at most about twice
        (0.01, 0.1, 10**6, 1e-15, 4e5, math.inf),  # only a floor
    ],
)
def test_replace_one_where_the_grid_gives_up(
    rate: float, noise: float, steps: int, delta: float, low: float, high: float
) -> None:
    found = headline(event_guarantees(_poisson(rate, noise, steps), "replace-one", delta))
    assert found.exceeds == math.isinf(high)
    assert found.epsilon is not None
    assert low < found.epsilon < high
    assert found.note.startswith("single source")


def test_twice_add_remove_is_above_the_tight_replace_one() -> None:
    event = _poisson(0.1, 2.0, 50)
    twice = twice_removed_epsilon(gaussian_parts(event), DELTA)  # type: ignore[arg-type]  # the event is private
    assert twice is not None
    assert _tight(event, "replace-one") < twice < 2.5 * _tight(event, "replace-one")


@pytest.mark.slow
def test_extreme_settings_stay_within_a_gigabyte_and_twenty_seconds() -> None:
    script = """
import resource, sys, time
from dp_accounting import GaussianDpEvent as G, PoissonSampledDpEvent as P, SelfComposedDpEvent as S
from dpaudit.accounting.accountant import event_guarantees
import opacus
for rate, noise, steps in [(.2, .05, 10**5), (.001, 1., 10**8), (.5, 200., 10**6), (1e-6, .02, 10**7), (.2, .3, 1000)]:
    start, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    event_guarantees(S(P(rate, G(noise)), steps), "add-remove", 1e-5)
    more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e6
    print(rate, noise, steps, time.monotonic() - start, more)
    if time.monotonic() - start > 20 or more > 1:
        sys.exit(1)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_pld_and_prv_must_agree(make_mechanism: Callable[..., Mechanism], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accountant, "prv_epsilon", lambda *_: 9.0)
    with pytest.raises(DisagreementError, match=r"PLD says epsilon = 2\.\d+, PRV says 9\.0000"):
        guarantees(make_mechanism(noise=3.0), DELTA)


def test_rdp_must_not_be_below_pld(make_mechanism: Callable[..., Mechanism], monkeypatch: pytest.MonkeyPatch) -> None:
    low = RenyiEpsilon(epsilon=1.0, order=2.0, left_out=0)
    monkeypatch.setattr(accountant, "renyi_epsilon", lambda *_: low)
    with pytest.raises(DisagreementError, match=r"RDP is below with 1\.0000"):
        guarantees(make_mechanism(sampling="full", rate=1.0), DELTA)


@pytest.mark.parametrize("delta", [0.0, 1.0, -1e-5, math.nan])
def test_delta_is_checked(make_mechanism: Callable[..., Mechanism], delta: float) -> None:
    with pytest.raises(InputError, match="delta = "):
        guarantees(make_mechanism(), delta)


def test_delta_beyond_double_precision_is_left_to_rdp(make_mechanism: Callable[..., Mechanism]) -> None:
    guarantee = tight_guarantee(mechanism_event(make_mechanism()), "add-remove", 1e-15)
    assert guarantee.accountant == "RDP"


def test_headline_needs_an_answer() -> None:
    none = Guarantee(accountant="PLD", epsilon=None, delta=DELTA, adjacency="add-remove", note="because")
    with pytest.raises(DpauditError, match="because"):
        headline([none])


def test_nothing_is_printed(make_mechanism: Callable[..., Mechanism], capfd: pytest.CaptureFixture[str]) -> None:
    guarantees(make_mechanism(noise=1.0, steps=1000), DELTA)  # seven orders do not converge
    guarantees(make_mechanism(rate=1e-4, noise=50.0, steps=1), DELTA)
    assert capfd.readouterr() == ("", "")
