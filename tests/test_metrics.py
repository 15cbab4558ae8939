"""Metrics: published vectors, slow twins, null, coverage of intervals, ties, speed."""

from __future__ import annotations

import itertools
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, special, stats

from dpaudit.errors import InputError
from dpaudit.metrics import (
    FPRS,
    attack_result,
    auc,
    balanced_accuracy,
    clopper_pearson,
    coin_blindness,
    histograms,
    most_exposed,
    roc_bands,
    roc_curve,
    roc_series,
    tpr_at_fpr,
)
from dpaudit.results import Series
from dpaudit.scores import LabelledScores, ScoreTable, ThreatModel

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def labelled(inside: ArrayLike, outside: ArrayLike) -> LabelledScores:
    first, second = np.asarray(inside, dtype=np.float64), np.asarray(outside, dtype=np.float64)
    member = np.arange(len(first) + len(second)) < len(first)
    return LabelledScores(scores=np.concatenate([first, second]), member=member)


def hull(case: LabelledScores) -> NDArray[np.float64]:
    """Corners of the concave hull of the ROC, (k, 2): what jax_privacy searches and interpolates."""
    fpr, tpr = roc_curve(case)
    corners = [(0.0, 0.0)]
    for point in zip(fpr.tolist(), tpr.tolist(), strict=True):
        while len(corners) > 1 and _turns_left(corners[-2], corners[-1], point):
            corners.pop()
        corners.append(point)
    return np.array(corners)


def hull_area(case: LabelledScores) -> float:
    """Area under the concave hull of the ROC, which is what jax_privacy calls AUROC."""
    x, y = hull(case).T
    return float(np.trapezoid(y, x))


def on_hull(case: LabelledScores, fpr: float) -> float:
    """The TPR at an FPR if the attack may toss a coin between two thresholds."""
    x, y = hull(case).T
    return float(max(y[x == fpr], default=np.interp(fpr, x, y)))


def _turns_left(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> bool:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]) >= 0


small_scores = st.lists(st.integers(0, 6).map(float), min_size=2, max_size=25)


class TestPublishedVectors:
    def test_jax_privacy_hull_auroc(self) -> None:
        assert hull_area(labelled([0, 4, 6, 7], [1, 2, 3, 5])) == pytest.approx(13 / 16)

    def test_jax_privacy_documentation_example(self) -> None:
        case = labelled(np.arange(100) + 9.5, np.arange(100))
        assert tpr_at_fpr(case, "0.01").value == 0.11
        assert hull_area(case) == pytest.approx(0.595, abs=5e-4)

    def test_jax_privacy_tpr_without_its_randomised_steps(self) -> None:
        # Their .75 at FPR .25 needs a coin flip between two thresholds; a fixed threshold stays at .5.
        case = labelled([1, 3], [0, 2])
        assert [tpr_at_fpr(case, fpr).value for fpr in ("0", "0.25", "0.5", "0.75", "1")] == [0.5, 0.5, 1, 1, 1]
        assert [on_hull(case, fpr) for fpr in (0, 0.25, 0.5, 0.75, 1)] == [0.5, 0.75, 1, 1, 1]

    @pytest.mark.parametrize(
        ("inside", "outside", "true_negatives", "false_negatives"),
        [
            ([1.5, 2.5, 0.5, 3.5], [0, 3, 2, 1], [0, 1, 4, 4], [0, 0, 3, 4]),
            ([0, 1, 1, 2], [0, 0, 1, 1], [0, 2, 4, 4], [0, 1, 3, 4]),
            ([0, 0, 1, 2], [0, 1, 1, 1], [0, 4, 4], [0, 3, 4]),
        ],
    )
    def test_jax_privacy_counts_at_the_corners_of_the_hull(
        self, inside: list[float], outside: list[float], true_negatives: list[int], false_negatives: list[int]
    ) -> None:
        corners = hull(labelled(inside, outside))[::-1]
        assert (4 * (1 - corners)).T.tolist() == [true_negatives, false_negatives]

    @pytest.mark.parametrize(("least", "deltas"), [(1, {0: 3, 1 / 8: 2, 1 / 4: 1}), (2, {0: 2, 1 / 8: 1.5, 1 / 4: 1})])
    def test_jax_privacy_ratio_of_raw_counts(self, least: int, deltas: dict[float, float]) -> None:
        # (TPR - delta) / FPR with at least so many false positives: an estimate of e^epsilon that dpaudit does not make
        case = labelled([3, 3, 2, 2, 2, 2, 1, 1], [2, 2, 2, 2, 1, 1, 1, 1])
        fpr = least / 8
        assert {delta: (on_hull(case, fpr) - delta) / fpr for delta in deltas} == pytest.approx(deltas)

    @pytest.mark.parametrize(("successes", "low", "high"), [(850, 0.827, 0.871), (0, 0.0, 0.004), (1000, 0.996, 1.0)])
    def test_anonymeter_limits_of_a_rate(self, successes: int, low: float, high: float) -> None:
        # Theirs are Wilson's, ours are exact and a little wider: at their three digits they differ by 0.001 at most.
        interval = clopper_pearson(successes, 1000)
        assert interval.low == pytest.approx(low, abs=0.0011)
        assert interval.high == pytest.approx(high, abs=0.0011)

    def test_leakpro_roc(self) -> None:
        case = LabelledScores(
            scores=np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]), member=np.array([0, 1, 1, 1, 0, 0], dtype=np.bool_)
        )
        fpr, tpr = roc_curve(case)
        assert fpr.tolist() == pytest.approx([1 / 3, 2 / 3, 2 / 3, 2 / 3, 2 / 3, 1])
        assert tpr.tolist() == pytest.approx([0, 0, 1 / 3, 2 / 3, 1, 1])


class TestTwins:
    @given(small_scores, small_scores)
    @settings(max_examples=60, deadline=None)
    def test_auc_and_its_variance_equal_the_pairwise_loop(self, inside: list[float], outside: list[float]) -> None:
        wins = np.array([[(a > b) + 0.5 * (a == b) for b in outside] for a in inside])
        interval = auc(labelled(inside, outside))
        assert interval.value == pytest.approx(wins.mean())
        variance = wins.mean(1).var(ddof=1) / len(inside) + wins.mean(0).var(ddof=1) / len(outside)
        if variance > 0:
            half_width = special.ndtri(0.975) * np.sqrt(variance) / (wins.mean() * (1 - wins.mean()))
            assert special.logit(interval.high) - special.logit(wins.mean()) == pytest.approx(half_width)
            assert special.logit(wins.mean()) - special.logit(interval.low) == pytest.approx(half_width)

    @given(small_scores, small_scores, st.sampled_from(["0", "0.1", "0.29", "0.5", "1"]))
    @settings(max_examples=60, deadline=None)
    def test_tpr_at_fpr_is_the_best_threshold_among_non_members(
        self, inside: list[float], outside: list[float], fpr: str
    ) -> None:
        def rate(scores: list[float], threshold: float) -> float:
            return sum(score > threshold for score in scores) / len(scores)

        allowed = [t for t in [-np.inf, *outside] if rate(outside, t) <= float(fpr) + 1e-12]
        best = max(rate(inside, threshold) for threshold in allowed)
        assert tpr_at_fpr(labelled(inside, outside), fpr).value == pytest.approx(best)

    @given(small_scores, small_scores)
    @settings(max_examples=60, deadline=None)
    def test_roc_area_is_the_auc_and_the_series_are_its_own_points(
        self, inside: list[float], outside: list[float]
    ) -> None:
        case = labelled(inside, outside)
        fpr, tpr = (np.append([0.0], axis) for axis in roc_curve(case))
        assert np.trapezoid(tpr, fpr) == pytest.approx(auc(case).value)
        series = roc_series(case, "attack")
        assert set(zip(series.x, series.y, strict=True)) <= set(zip(fpr.tolist(), tpr.tolist(), strict=True))
        assert (series.x[0], series.y[0], series.x[-1], series.y[-1]) == (0, 0, 1, 1)

    @pytest.mark.parametrize(("successes", "trials"), [(0, 7), (7, 7), (3, 7), (1, 1), (480, 1000)])
    def test_clopper_pearson_equals_scipy(self, successes: int, trials: int) -> None:
        expected = stats.binomtest(successes, trials).proportion_ci(0.9, method="exact")
        interval = clopper_pearson(successes, trials, 0.9)
        assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))

    @given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=30))
    @settings(max_examples=60, deadline=None)
    def test_coin_blindness_equals_a_loop_and_an_exact_binomial_test(self, rows: list[tuple[int, bool]]) -> None:
        ranked = sorted(range(len(rows)), key=lambda i: -rows[i][0])
        correct = sum(rows[i][1] == (rank < len(rows) // 2) for rank, i in enumerate(ranked))
        scores, member = np.array([float(row[0]) for row in rows]), np.array([row[1] for row in rows])
        assert coin_blindness(scores, member) == pytest.approx(stats.binomtest(correct, len(rows)).pvalue)


class TestNull:
    @pytest.mark.parametrize("scores", [[3.0, 1, 2, 2, 0, 5, 5, 5], [0.0] * 9, [1.0, 2, 3, 4, 5, 6, 7, 8, 9]])
    def test_coin_blindness_never_exceeds_its_level_over_all_coins(self, scores: list[float]) -> None:
        coins = itertools.product([False, True], repeat=len(scores))
        p_values = np.array([coin_blindness(np.array(scores), np.array(coin)) for coin in coins])
        for level in np.unique(p_values):
            assert (p_values <= level).mean() <= level + 1e-12

    def test_coin_blindness_sees_scores_that_know_either_way(self) -> None:
        rng = np.random.default_rng(1)
        member = rng.random(500) < 0.5
        knows = member + rng.normal(size=500)
        assert coin_blindness(knows, member) < 1e-5
        assert coin_blindness(-knows, member) < 1e-5

    def test_metrics_of_noise_are_chance(self) -> None:
        rng = np.random.default_rng(2)
        case = LabelledScores(scores=rng.normal(size=20_000), member=rng.random(20_000) < 0.5)
        assert auc(case).low < 0.5 < auc(case).high
        assert balanced_accuracy(case).low < 0.5 < balanced_accuracy(case).high
        assert tpr_at_fpr(case, "0.01").value == pytest.approx(0.01, abs=0.005)

    def test_flipped_scores_mirror_the_auc(self) -> None:
        rng = np.random.default_rng(3)
        case = labelled(rng.normal(1, 1, 50), rng.normal(0, 1, 70))
        mirrored = auc(LabelledScores(scores=-case.scores, member=case.member))
        assert auc(case).value + mirrored.value == pytest.approx(1)
        assert auc(case).low + mirrored.high == pytest.approx(1)


class TestCoverage:
    """95 % intervals of 1,000 simulations miss at most 68 times (binomial tail 1 % above a true 5 %)."""

    RUNS, MOST_MISSES = 1000, 68

    def _misses(self, shift: float, sizes: tuple[int, int], metric: str) -> int:
        rng = np.random.default_rng(4)
        misses = 0
        for _ in range(self.RUNS):
            case = labelled(rng.normal(shift, 1, sizes[0]), rng.normal(0, 1, sizes[1]))
            if metric == "auc":
                interval, truth = auc(case), special.ndtr(shift / np.sqrt(2))
            else:
                interval, truth = balanced_accuracy(case), self._balanced_accuracy_at_the_median(shift, sizes)
            misses += not interval.low <= truth <= interval.high
        return misses

    @staticmethod
    @cache
    def _balanced_accuracy_at_the_median(shift: float, sizes: tuple[int, int]) -> float:
        share_in = sizes[0] / sum(sizes)

        def share_below(threshold: float) -> float:
            return float(share_in * special.ndtr(threshold - shift) + (1 - share_in) * special.ndtr(threshold))

        median = optimize.brentq(lambda threshold: share_below(threshold) - 0.5, -5, 5)
        return float((special.ndtr(shift - median) + special.ndtr(median)) / 2)

    @pytest.mark.parametrize("shift", [0.0, 1.0, 2.5])
    @pytest.mark.parametrize("sizes", [(40, 40), (200, 150)])
    @pytest.mark.parametrize("metric", ["auc", "balanced accuracy"])
    def test_intervals_cover(self, shift: float, sizes: tuple[int, int], metric: str) -> None:
        assert self._misses(shift, sizes, metric) <= self.MOST_MISSES

    def test_auc_interval_is_not_needlessly_wide(self) -> None:
        assert self._misses(1.0, (200, 150), "auc") >= 30

    def test_tpr_interval_covers_the_rate_of_its_own_threshold(self) -> None:
        rng = np.random.default_rng(5)
        misses = 0
        for _ in range(self.RUNS):
            inside, outside = rng.normal(2, 1, 100), rng.normal(0, 1, 100)
            truth = 1 - special.ndtr(np.sort(outside)[-11] - 2)
            interval = tpr_at_fpr(labelled(inside, outside), "0.1")
            misses += not interval.low <= truth <= interval.high
        assert misses <= self.MOST_MISSES


class TestEdges:
    def test_perfect_separation_has_the_exact_interval_of_disjoint_pairs(self) -> None:
        interval = auc(labelled(np.arange(30) + 100, np.arange(20)))
        assert (interval.value, interval.high) == (1.0, 1.0)
        assert interval.low == pytest.approx(clopper_pearson(20, 20).low)

    def test_constant_scores_are_chance(self) -> None:
        case = labelled(np.zeros(30), np.zeros(20))
        assert auc(case).value == balanced_accuracy(case).value == 0.5
        assert auc(case).low < 0.5 < auc(case).high
        assert all(tpr_at_fpr(case, fpr).value == 0 for fpr in FPRS)
        inside, outside = histograms(case)
        assert inside.y == outside.y
        assert sum(inside.y) == 1

    def test_a_single_member_says_nothing_about_the_auc(self) -> None:
        assert (auc(labelled([1], [0, 2])).low, auc(labelled([1], [0, 2])).high) == (0, 1)

    def test_ties_across_the_threshold_are_never_guessed_in(self) -> None:
        case = labelled([5, 5, 5, 9], [5] * 10)
        assert tpr_at_fpr(case, "0.1").value == 0.25

    def test_rates_are_exact_decimals(self) -> None:
        outside = np.arange(100)
        case = labelled(outside + 0.5, outside)
        assert tpr_at_fpr(case, "0.29").value == 0.30  # as a float, 0.29 * 100 would be floored to 28

    @pytest.mark.parametrize("fpr", ["", "one", "-0.1", "1.5"])
    def test_bad_rates_are_refused(self, fpr: str) -> None:
        with pytest.raises(InputError, match="fpr"):
            tpr_at_fpr(labelled([1], [0]), fpr)

    def test_one_sided_data_is_refused(self) -> None:
        with pytest.raises(InputError, match="0 in, 3 out"):
            auc(labelled([], [1, 2, 3]))

    def test_impossible_counts_are_refused(self) -> None:
        with pytest.raises(InputError, match="successes"):
            clopper_pearson(3, 2)

    def test_non_finite_untrained_scores_are_refused(self) -> None:
        with pytest.raises(InputError, match="NaN"):
            coin_blindness(np.array([np.nan, 0.0]), np.array([True, False]))


class TestAttackResult:
    def table(self, scores: NDArray[np.float64]) -> ScoreTable:
        return ScoreTable(
            attack="loss",
            run="target-00",
            family="pool",
            threat_model=ThreatModel(access="outputs", inserts="inputs"),
            ids=np.arange(len(scores)).astype(str),
            scores=scores,
        )

    def test_collects_every_metric_of_a_million_scores(self) -> None:
        rng = np.random.default_rng(6)
        member = rng.random(1_000_000) < 0.5
        scores = rng.normal(size=1_000_000) + member
        case = LabelledScores(scores=scores, member=member)
        result = attack_result(self.table(scores), case, untrained=rng.normal(size=1_000_000))
        assert (result.candidates, result.members) == (1_000_000, int(member.sum()))
        assert result.auc.low <= special.ndtr(1 / np.sqrt(2)) <= result.auc.high
        assert tuple(result.tpr_at_fpr) == FPRS
        assert result.tpr_at_fpr["0.001"].value == pytest.approx(special.ndtr(special.ndtri(0.001) + 1), abs=0.002)
        assert len(result.roc.x) <= 200
        assert min(x for x in result.roc.x if x > 0) < 1e-5
        assert sum(result.histogram_in.y) == pytest.approx(1)
        assert result.coin_blindness_p is not None
        assert result.coin_blindness_p > 1e-5

    def test_without_untrained_scores_there_is_no_blindness_test(self) -> None:
        scores = np.array([0.0, 1.0, 2.0])
        case = LabelledScores(scores=scores, member=np.array([False, True, True]))
        result = attack_result(self.table(scores), case, exploratory=True)
        assert result.coin_blindness_p is None
        assert result.exploratory
        assert result.model_validate_json(result.model_dump_json()) == result


def test_roc_bands_cover_each_threshold_as_often_as_they_say() -> None:
    """Null: at a threshold fixed beforehand both limits of the TPR, and the measured corner, hold at their level."""
    rng, trials, members, others = np.random.default_rng(7), 2000, 40, 60
    tpr, fpr = 0.3, 0.1
    hits, accused = rng.binomial(members, tpr, trials), rng.binomial(others, fpr, trials)
    roc = Series(name="r", x=tuple(accused / others), y=tuple(hits / members))
    low, high, measured = roc_bands(roc, members, others)
    covered = (np.array(low.y) <= tpr) & (tpr <= np.array(high.y))
    corner = (np.array(measured.x) >= fpr) & (np.array(measured.y) >= 1 - tpr)
    assert 0.95 <= covered.mean() < 0.99
    assert 0.95 <= corner.mean() < 0.99
    for place in range(3):
        found = clopper_pearson(int(hits[place]), members)
        assert (low.y[place], high.y[place]) == pytest.approx((found.low, found.high))


def test_the_most_exposed_are_members_ranked_against_non_members() -> None:
    labelled = LabelledScores(
        scores=np.array([3.0, 2.0, 2.0, 9.0, 1.0, 2.5]), member=np.array([1, 1, 1, 0, 0, 0], dtype=bool)
    )
    found = most_exposed(np.array(["c", "b", "a", "x", "y", "z"]), labelled, 3)
    assert [each.record for each in found] == ["c", "a", "b"]
    assert [each.share_below for each in found] == pytest.approx([2 / 3, 1 / 3, 1 / 3])
