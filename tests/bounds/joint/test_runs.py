"""E-values of runs: mean at most 1 under every leak, level under adversaries, and as strong as is claimed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from dpaudit.bounds.family import any_family, gaussian_family
from dpaudit.bounds.gdp import gdp_mu
from dpaudit.bounds.guesses import Guesses
from dpaudit.bounds.joint.count import JointCount
from dpaudit.bounds.joint.evidence import Evidence, best_evidence, expected_errors
from dpaudit.bounds.joint.foreseen import power_of_evidence, typical_runs
from dpaudit.bounds.joint.runs import ErrorRates, evidence_p_value
from dpaudit.bounds.max_p import PlannedTest, max_p_bound, max_p_value
from dpaudit.bounds.tradeoff import EpsilonDelta, Gaussian, TradeOff
from dpaudit.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    LawOf = Callable[..., NDArray[np.float64]]

RATES = ErrorRates(promised=0.04, broken=0.0002)


def values(evidence: Evidence, guesses: int, curve: TradeOff) -> NDArray[np.float64]:
    return np.array([evidence.value(errors, curve) for errors in range(guesses + 1)])


def made(guesses: int, rate: float, curve: TradeOff) -> Evidence:
    found = best_evidence(1000, guesses, rate, curve)
    assert found is not None
    return found


@pytest.mark.parametrize("mu", [0.5, 1.2])
@pytest.mark.parametrize("rate", [0.02, 0.1])
def test_the_mean_is_at_most_one_under_leaks(
    mu: float, rate: float, leak: LawOf, vertex: Callable[[float, float, float], float]
) -> None:
    curve = Gaussian(mu)
    found = values(made(200, rate, curve), 200, curve)
    largest = 0.0
    for chance in np.geomspace(0.01, 1.0, 30).tolist():
        right = leak(200, chance, vertex(chance, 0.2, mu))
        largest = max(largest, float(found @ right[::-1]))
    assert largest <= 1.0
    assert largest > 0.2 or (mu, rate) == (0.5, 0.02), "a leak comes near, where errors are likely at all"


def test_the_mean_is_at_most_one_under_randomised_response(binomial: LawOf) -> None:
    for eps, rate in ((0.5, 0.34), (2.0, 0.09)):
        curve = EpsilonDelta(eps, 0.0)
        found = best_evidence(200, 200, rate, curve)
        assert found is not None
        law = binomial(200, 1 / (1 + np.exp(-eps)))[::-1]
        assert 0.5 < float(values(found, 200, curve) @ law) <= 1.0 + 1e-9


def test_it_is_an_e_value_of_every_curve_and_falls_with_what_that_allows() -> None:
    evidence = made(150, 0.02, Gaussian(1.2))
    found = [evidence.value(2, Gaussian(mu)) for mu in (0.8, 1.0, 1.2, 1.4)]
    assert found == sorted(found, reverse=True)
    assert found[2] > 1.2


def test_fewer_errors_never_speak_less() -> None:
    found = values(made(250, 0.036, Gaussian(1.3)), 250, Gaussian(1.3))
    assert (np.diff(found) <= 1e-9).all()


def test_forgetting_the_canaries_that_were_not_guessed_is_caught(
    leak: LawOf, vertex: Callable[[float, float, float], float]
) -> None:
    curve = Gaussian(1.2)
    honest = made(200, 0.02, curve)
    forgetful = replace(honest, floor=0.0, certificate=replace(honest.certificate, canaries=200))
    found = values(forgetful, 200, curve)
    assert max(found @ leak(200, c, vertex(c, 0.2, 1.2))[::-1] for c in np.geomspace(0.01, 1, 30).tolist()) > 1.0


def test_the_true_law_of_an_ideal_attack_hardly_speaks_against_the_truth() -> None:
    mu = gdp_mu(8.0, 1e-5)
    evidence = made(250, 0.0362, Gaussian(mu))
    assert abs(evidence.growth) < 0.05


@pytest.mark.parametrize(("runs", "guesses", "rate", "eps"), [(8, 272, 0.0389, 6.9), (16, 266, 0.038, 7.3)])
def test_certifies_what_is_claimed(runs: int, guesses: int, rate: float, eps: float) -> None:
    family = gaussian_family(delta=1e-5)
    seen = typical_runs(1000, guesses, rate, runs)
    joint = JointCount(ErrorRates(promised=rate, broken=1e-4))
    by_evidence = max_p_bound(PlannedTest(test=joint, family=family, confidence=0.95), seen, strategy="planned")
    each = max_p_bound(PlannedTest(test=JointCount(), family=family, confidence=0.95), seen, strategy="planned")
    assert eps < by_evidence.epsilon < 8
    assert by_evidence.epsilon > each.epsilon + 0.2


def test_a_curve_that_is_refuted_has_all_that_promise_more_refuted() -> None:
    joint, family = JointCount(RATES), gaussian_family(delta=1e-5)
    seen = [Guesses(canaries=1000, guesses=150, correct=150 - errors) for errors in (3, 5, 2, 4)]
    found = joint.largest_refuted(family, seen, 0.05**0.25)
    assert found.parameter is not None
    stricter = joint.largest_refuted(family, seen, 0.01**0.25)
    assert stricter.epsilon <= found.epsilon
    worse = [Guesses(canaries=1000, guesses=150, correct=150 - errors) for errors in (6, 8, 5, 7)]
    assert joint.largest_refuted(family, worse, 0.05**0.25).epsilon < found.epsilon


def test_perfect_runs_refute_beyond_the_promise() -> None:
    family = gaussian_family(delta=1e-5)
    perfect = [Guesses(canaries=1000, guesses=150, correct=150)] * 8
    assert JointCount(RATES).largest_refuted(family, perfect, 0.05**0.125).epsilon > 9


def test_noise_refutes_nothing_at_all() -> None:
    rng = np.random.default_rng(0)
    seen = [Guesses(canaries=1000, guesses=150, correct=int(c)) for c in rng.binomial(150, 0.5, size=4)]
    for family in (gaussian_family(delta=1e-5), any_family(delta=1e-5)):
        assert JointCount(RATES).largest_refuted(family, seen, 0.05**0.25).epsilon == 0


def test_the_promise_is_tested_with_what_half_its_noise_would_show() -> None:
    mu = gdp_mu(8.0, 1e-5)
    rates = ErrorRates(promised=0.0389, broken=0.00015)
    as_promised = typical_runs(1000, 272, rates.promised, 8)
    leaking = typical_runs(1000, 272, rates.broken, 8)
    assert max_p_value(JointCount(rates), Gaussian(mu), as_promised) > 0.5
    assert max_p_value(JointCount(rates), Gaussian(mu), leaking) < 0.01
    power = power_of_evidence(Gaussian(mu), as_promised[0], rates, 8, 0.05)
    assert power > 0.95


@pytest.mark.slow
def test_coverage_of_the_bound_under_leaks(
    leak: LawOf, vertex: Callable[[float, float, float], float], most_allowed: Callable[[int, float], int]
) -> None:
    rng, mu, runs = np.random.default_rng(1), 1.2, 4
    joint, family = JointCount(ErrorRates(promised=0.03, broken=0.001)), gaussian_family(delta=1e-5)
    truth = family.epsilon(mu)
    for chance in (0.3, 0.6, 1.0):
        law = leak(150, chance, vertex(chance, 0.15, mu))
        wrong = 0
        for _ in range(300):
            counts = rng.choice(151, size=runs, p=law / law.sum())
            seen = [Guesses(canaries=1000, guesses=150, correct=int(c)) for c in counts]
            wrong += joint.largest_refuted(family, seen, 0.05 ** (1 / runs)).epsilon > truth
        assert wrong <= most_allowed(300, 0.05), chance


@pytest.mark.slow
def test_level_of_the_product_under_leaks_of_one_promise(
    leak: LawOf, vertex: Callable[[float, float, float], float]
) -> None:
    rng, curve = np.random.default_rng(2), Gaussian(1.2)
    rates = ErrorRates(promised=0.03, broken=0.002)
    for chance in (0.1, 0.3, 0.6, 1.0):
        law = leak(150, chance, vertex(chance, 0.15, 1.2))
        counts = rng.choice(151, size=(2000, 4), p=law / law.sum())
        refuted = 0
        for row in counts:
            seen = [Guesses(canaries=1000, guesses=150, correct=int(c)) for c in row]
            refuted += evidence_p_value(curve, seen, rates) <= 0.05
        assert refuted / 2000 <= 0.05, chance


def test_expected_errors_are_a_law() -> None:
    assert expected_errors(50, 0.1, 50).sum() == pytest.approx(1.0)


@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan")])
def test_rates_that_are_no_chances_are_refused(rate: float) -> None:
    with pytest.raises(InputError):
        ErrorRates(promised=rate, broken=0.1)
