"""Two rank groups: regions in one order, level under adversaries that know the weights, known numbers, weak attacks."""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.special import bdtr

from dpaudit.bounds.family import Refuted, accountant_family, gaussian_family
from dpaudit.bounds.guesses import Guesses, guess
from dpaudit.bounds.joint import groups
from dpaudit.bounds.joint.count import JointCount
from dpaudit.bounds.joint.foreseen import power_of_groups, weighted_quantile
from dpaudit.bounds.joint.groups import RankGroups, Region, fits, group_box, region_of
from dpaudit.bounds.max_p import PlannedTest, max_p_bound, max_p_value
from dpaudit.bounds.scored import bound_scores
from dpaudit.bounds.strategies import FixedGuesses
from dpaudit.bounds.tradeoff import Gaussian
from dpaudit.errors import InputError
from dpaudit.results import Surest
from dpaudit.scores import LabelledScores

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

FAMILY = gaussian_family(delta=1e-5)
SUREST = Surest(guesses_in=50, guesses_out=50, weight=3, most=14)
SMALL = Surest(guesses_in=12, guesses_out=12, weight=2, most=3)  # of 60 guesses: programs of a tenth of a second


def run_of(first: int, second: int, surest: Surest = SUREST, guesses: int = 200, canaries: int = 1000) -> Guesses:
    size = surest.guesses_in + surest.guesses_out
    return Guesses(
        canaries=canaries,
        guesses=guesses,
        correct=guesses - first - second,
        surest=size,
        surest_correct=size - first,
    )


def certified(test: RankGroups | JointCount, run: Guesses, runs: int = 1) -> float:
    planned = PlannedTest(test=test, family=FAMILY, confidence=0.95)
    return max_p_bound(planned, [run] * runs, strategy="fixed").epsilon


def holds(region: Region, first: int, second: int, surest: Surest) -> bool:
    """Return whether errors are in a region, by its definition."""
    weighted = surest.weight * first + second
    return (weighted <= surest.most or first + second <= region[1]) if region[0] else weighted <= region[1]


def test_every_region_holds_those_before_it_and_what_was_seen_is_in_its_own() -> None:
    surest = Surest(guesses_in=2, guesses_out=3, weight=2, most=6)
    outcomes = [(first, second) for first in range(6) for second in range(10)]
    regions = sorted({region_of(run_of(*each, surest, 14), surest) for each in outcomes})
    members = [{each for each in outcomes if holds(region, *each, surest)} for region in regions]
    assert all(smaller < larger for smaller, larger in pairwise(members))
    for each in outcomes:
        region = region_of(run_of(*each, surest, 14), surest)
        first = next(k for k, member in enumerate(members) if each in member)
        assert regions[first] == region, "the smallest that holds it"


def test_known_value() -> None:
    bound = certified(RankGroups(SUREST), run_of(1, 5))
    assert bound == pytest.approx(5.07, abs=0.02)
    assert bound > 1.06 * certified(JointCount(), run_of(1, 5)), "against one count of the same guesses"
    assert bound > 1.04 * certified(JointCount(), Guesses(canaries=1000, guesses=150, correct=147))


def test_the_weighted_errors_decide_and_not_how_they_came_about() -> None:
    test, curve = RankGroups(SMALL), Gaussian(0.8)
    found = {(a, b): test.p_value(curve, run_of(a, b, SMALL, 60)) for a, b in ((1, 0), (0, 2), (1, 1), (0, 3), (0, 1))}
    assert found[1, 0] == found[0, 2] < found[1, 1] == found[0, 3]
    assert found[0, 1] < found[0, 2]


def test_an_attack_far_weaker_than_planned_loses_little_against_one_count() -> None:
    for first, second in ((6, 14),):
        run = run_of(first, second)
        bound = max_p_bound(PlannedTest(test=RankGroups(SUREST), family=FAMILY, confidence=0.95), [run], strategy="x")
        assert bound.epsilon > 0.97 * certified(JointCount(), run) > 0
        assert "count alike" in bound.note


def test_several_runs_are_judged_by_the_worst_region() -> None:
    test, curve = RankGroups(SMALL), Gaussian(0.8)
    runs = [run_of(0, 1, SMALL, 60), run_of(0, 3, SMALL, 60), run_of(1, 0, SMALL, 60)]
    assert max_p_value(test, curve, runs) == pytest.approx(test.p_value(curve, runs[1]) ** 3)
    assert certified(test, runs[0], runs=2) > certified(test, runs[0]) + 0.5
    with pytest.raises(InputError, match="as many canaries"):
        max_p_value(test, curve, [runs[0], run_of(0, 1, SMALL, 60, 999)])


def test_the_largest_refuted_is_refuted_and_what_is_a_little_larger_is_not() -> None:
    test, run = RankGroups(SMALL), run_of(1, 1, SMALL, 60)
    for family in (
        FAMILY,
        accountant_family(
            lambda noise: Gaussian(1 / noise),
            lambda noise: 1 / noise,
            delta=1e-5,
            noise_multipliers=(0.1, 30.0),
            start=1.0,
        ),
    ):
        found: Refuted = test.largest_refuted(family, [run], 0.05)
        assert found.parameter is not None
        closer = 1.01 if family.exposed > family.private else 1 / 1.01
        assert test.p_value(family.curve(found.parameter), run) <= 0.05 * 1.001
        assert test.p_value(family.curve(found.parameter * closer), run) > 0.05


def test_a_certificate_of_two_groups_holds_in_rational_arithmetic() -> None:
    curve, most = Gaussian(1.0), 4
    certificate, reward = groups._certificate(100, (12, 15), 2, most, curve)
    box = group_box(100, (12, 15), 2, most)
    cover = [Fraction(value) for value in certificate.cover.ravel().tolist()]
    floor = max(Fraction(0), *(Fraction(r) - c for r, c in zip(reward.ravel().tolist(), cover, strict=True)))
    prices = zip(certificate.prices.tolist(), certificate.epsilons.tolist(), strict=True)
    total = floor + 100 * sum(Fraction(price) * Fraction(curve.delta_at(at)) for price, at in prices)
    assert total <= Fraction(certificate.most(reward, curve))
    inside = 2 * box.errors[0] + box.errors[1] <= most
    assert (reward.ravel() == inside).all()


def binomial(size: int, rate: float) -> NDArray[np.float64]:
    return np.diff(bdtr(np.arange(size + 1), size, rate), prepend=0.0)


@cache
def profile(mu: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    epsilons = np.linspace(0, 12, 3000)
    return epsilons, np.array([Gaussian(mu).delta_at(at) for at in epsilons.tolist()])


def chance_of_leaking(mu: float, shares: tuple[float, float], accuracies: tuple[float, float]) -> float:
    """Return the largest chance with which a mechanism may show bits of two accuracies and stay mu-GDP.

    It is mu-GDP iff chance x sum_j share_j (q_j - e^eps (1 - q_j))_+ is at most delta(eps) for all eps.
    """
    epsilons, deltas = profile(mu)
    leaks = [s * np.maximum(0, q - np.exp(epsilons) * (1 - q)) for s, q in zip(shares, accuracies, strict=True)]
    shown = np.sum(leaks, axis=0)
    return float(min(1.0, np.min(deltas[shown > 1e-12] / shown[shown > 1e-12])))


def chance_of_refuting(mu: float, surest: Surest, guesses: int, accuracies: tuple[float, float], last: Region) -> float:
    """Return the exact chance that errors fall in the region `last`, if the mechanism leaks as often as it may."""
    size = surest.guesses_in + surest.guesses_out
    shares = (size / 1000, (guesses - size) / 1000)
    chance = chance_of_leaking(mu, shares, accuracies)
    total = 0.0
    for weight, rates in ((chance, [1 - q for q in accuracies]), (1 - chance, [0.5, 0.5])):
        law = np.outer(binomial(size, rates[0]), binomial(guesses - size, rates[1]))
        first, second = np.indices(law.shape)
        weighted = surest.weight * first + second
        inside = (weighted <= surest.most) | (first + second <= last[1]) if last[0] else weighted <= last[1]
        total += weight * float(law[inside].sum())
    return total


def adversary(mu: float, last: Region) -> float:
    qs = [0.7, 0.85, 0.93, 0.96, 0.98, 0.99, 0.995, 0.999]
    return max(chance_of_refuting(mu, SMALL, 60, (a, b), last) for a in qs for b in qs if b <= a)


@pytest.mark.parametrize("mu", [0.5, 0.8])
def test_level_under_leaks_of_two_accuracies(mu: float) -> None:
    test, level = RankGroups(SMALL), 0.05
    outcomes = {region_of(run_of(0, second, SMALL, 60), SMALL): second for second in (0, 1, 2, 3, 4, 6, 8, 10)}
    chances = {region: adversary(mu, region) for region in outcomes}
    found = {region: test.p_value(Gaussian(mu), run_of(0, second, SMALL, 60)) for region, second in outcomes.items()}
    assert all(chances[region] <= found[region] for region in outcomes), "no adversary is in a region more often"
    assert any(chances[region] > found[region] / 8 for region in outcomes), "some adversary comes near"
    refuted = [region for region in outcomes if found[region] <= level]
    assert all(chances[region] <= level for region in refuted)


def test_forgetting_the_canaries_that_were_not_guessed_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = groups._certificate

    def forgetful(_canaries, sizes, weight, most, curve):  # type: ignore[no-untyped-def]  # as the one it replaces
        return honest(60, sizes, weight, most, curve)

    monkeypatch.setattr(groups, "_certificate", forgetful)
    test = RankGroups(SMALL)
    assert adversary(0.8, (False, 2)) > test.p_value(Gaussian(0.8), run_of(0, 2, SMALL, 60))


def gaussian_runs(rng: np.random.Generator, shift: float) -> LabelledScores:
    member = rng.random(1000) < 0.5
    return LabelledScores(scores=rng.normal(size=1000) + shift * member, member=member)


def test_which_canaries_are_surest_depends_on_scores_alone() -> None:
    labelled = gaussian_runs(np.random.default_rng(0), 1.0)
    found = guess(labelled, guesses_in=80, guesses_out=60, surest=(20, 10))
    order = np.argsort(labelled.scores)
    right = int(labelled.member[order[-20:]].sum() + (~labelled.member[order[:10]]).sum())
    assert (found.surest, found.surest_correct) == (30, right)
    swapped = LabelledScores(scores=labelled.scores, member=~labelled.member)
    other = guess(swapped, guesses_in=80, guesses_out=60, surest=(20, 10))
    assert (other.surest, other.surest_correct, other.correct) == (30, 30 - right, 140 - found.correct)
    with pytest.raises(InputError, match="surest"):
        guess(labelled, guesses_in=10, guesses_out=60, surest=(20, 10))


def test_noise_is_not_accused(most_allowed: Callable[[int, float], int]) -> None:
    rng, strategy = np.random.default_rng(1), FixedGuesses(guesses_in=30, guesses_out=30, surest=SMALL)
    planned = PlannedTest(test=RankGroups(SMALL), family=FAMILY, confidence=0.95)
    claims = sum(bound_scores(planned, [gaussian_runs(rng, 0.0)], strategy).epsilon > 1e-6 for _ in range(100))
    assert claims <= most_allowed(100, 0.05)


@pytest.mark.slow
def test_coverage_on_an_ideal_attack(most_allowed: Callable[[int, float], int]) -> None:
    rng, strategy = np.random.default_rng(2), FixedGuesses(guesses_in=100, guesses_out=100, surest=SUREST)
    planned = PlannedTest(test=RankGroups(SUREST), family=FAMILY, confidence=0.95)
    for mu in (0.5, 1.67):
        found = [bound_scores(planned, [gaussian_runs(rng, mu)], strategy).epsilon for _ in range(60)]
        assert sum(np.array(found) > FAMILY.epsilon(mu)) <= most_allowed(60, 0.05)
    assert np.median(found) > 4.7


def test_strategy_says_what_weighs_what() -> None:
    assert "surest 50 in and 50 out counts 3" in str(FixedGuesses(guesses_in=100, guesses_out=100, surest=SUREST))


def test_sizes_alone_decide_whether_a_program_is_solved() -> None:
    assert fits(1000, (100, 100), 3, 8)
    assert not fits(1000, (400, 600), 2, 200)
    assert fits(1000, (400, 600), 2, 200) == fits(10**6, (400, 600), 2, 200)
    run = run_of(10, 40, Surest(guesses_in=200, guesses_out=200, weight=2, most=200), 1000)
    test = RankGroups(Surest(guesses_in=200, guesses_out=200, weight=2, most=200))
    assert "count alike" in test.remark([run])
    assert test.p_value(Gaussian(0.4), run) <= 1


def test_foreseen_weighted_errors() -> None:
    rng = np.random.default_rng(0)
    drawn = 3 * rng.binomial(100, 0.0156, 100_000) + rng.binomial(100, 0.043, 100_000)
    assert weighted_quantile((100, 100), (0.0156, 0.043), 3, 0.5) == int(np.quantile(drawn, 0.5))
    run, test = run_of(0, 0, SMALL, 60), RankGroups(SMALL)
    assert 0.9 < power_of_groups(test, Gaussian(0.5), run, (0.0, 0.02), 0.05) <= 1
    assert power_of_groups(test, Gaussian(1.7), run, (0.0, 0.02), 0.05) == 0


@pytest.mark.parametrize(("surest", "right"), [(300, 300), (100, 80), (-1, 0), (100, 101)])
def test_counts_that_cannot_be_are_refused(surest: int, right: int) -> None:
    with pytest.raises(InputError, match="surest"):
        Guesses(canaries=1000, guesses=200, correct=195, surest=surest, surest_correct=right)
