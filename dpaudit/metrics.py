"""How well scores (higher = more likely in) tell members from non-members: AUC, accuracy, TPR at low FPR, curves.

These numbers describe an attack; they certify nothing. Every interval treats candidates as independent, which one
training run does not promise. Statements about epsilon are the business of `dpaudit.bounds`.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import special

from dpaudit.errors import InputError
from dpaudit.results import AttackResult, Exposed, Interval, Series, Threat
from dpaudit.scores import LabelledScores

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dpaudit.scores import ScoreTable

__all__ = [
    "FPRS",
    "attack_result",
    "auc",
    "balanced_accuracy",
    "clopper_pearson",
    "coin_blindness",
    "histograms",
    "most_exposed",
    "over_seeds",
    "roc_bands",
    "roc_curve",
    "roc_series",
    "tpr_at_fpr",
]

FPRS = ("0.1", "0.01", "0.001", "0.0001", "0")
ROC_POINTS = 200
BINS = 40


def attack_result(
    table: ScoreTable,
    labelled: LabelledScores,
    *,
    untrained: NDArray[np.float64] | None = None,
    exploratory: bool = False,
    confidence: float = 0.95,
) -> AttackResult:
    """Return every metric of one attack on one run.

    labelled: the table joined with its coins. untrained: (n,) scores that the same attack gives the same candidates, in
    the same order, on the untrained model. Raises InputError without a member or without a non-member.
    """
    blindness = None if untrained is None else coin_blindness(untrained, labelled.member)
    inside, outside = histograms(labelled)
    roc = roc_series(labelled, f"{table.attack}, {table.run}")
    low, high, measured = roc_bands(roc, int(labelled.member.sum()), int((~labelled.member).sum()), confidence)
    return AttackResult(
        attack=table.attack,
        run=table.run,
        family=table.family,
        threat=Threat(access=table.threat_model.access, inserts=table.threat_model.inserts),
        candidates=len(labelled),
        members=int(labelled.member.sum()),
        auc=auc(labelled, confidence),
        balanced_accuracy=balanced_accuracy(labelled, confidence),
        tpr_at_fpr={fpr: tpr_at_fpr(labelled, fpr, confidence) for fpr in FPRS},
        roc=roc,
        roc_low=low,
        roc_high=high,
        measured=measured,
        histogram_in=inside,
        histogram_out=outside,
        coin_blindness_p=blindness,
        exploratory=exploratory,
    )


def coin_blindness(scores: NDArray[np.float64], member: NDArray[np.bool_]) -> float:
    """Return the exact two-sided p-value of "these scores do not know the coins".

    The top half is guessed in, the rest out, ties broken by position. If the coins are fair, independent and unknown to
    the scores and to the order of candidates, the correct count is exactly Binomial(m, 1/2). For the scores of an
    untrained model: a small value (below 1e-5) means that the coins leaked into the candidates themselves.

    >>> coin_blindness(np.arange(20.0), np.arange(20) >= 10)
    1.9073486328125e-06
    >>> coin_blindness(np.zeros(4), np.array([True, False, False, True]))
    1.0
    """
    labelled = LabelledScores(scores=np.asarray(scores, dtype=np.float64), member=np.asarray(member, dtype=np.bool_))
    total = len(labelled)
    guess = np.zeros(total, dtype=np.bool_)
    guess[np.argsort(-labelled.scores, kind="stable")[: total // 2]] = True
    correct = int((guess == labelled.member).sum())
    larger = max(correct, total - correct)
    return float(min(1.0, 2.0 * _at_least_of_fair_coins(larger, total)))


def auc(labelled: LabelledScores, confidence: float = 0.95) -> Interval:
    """Return P(member's score > non-member's) + half of P(equal), exact with ties, and its interval.

    The interval is DeLong's (DeLong, DeLong, Clarke-Pearson 1988) on the logit scale, hence asymptotic. Where the
    estimated variance is zero (perfect separation, constant scores) it is the exact interval of min(n_in, n_out)
    disjoint pairs, all of which came out alike; with a single member or non-member it is [0, 1].

    >>> scores = np.concatenate([np.arange(100.0), np.arange(100) + 9.5])
    >>> round(auc(LabelledScores(scores=scores, member=np.arange(200) >= 100)).value, 4)
    0.5905
    """
    inside, outside = _split(labelled)
    placement_in = _share_below(inside, outside)
    placement_out = 1.0 - _share_below(outside, inside)
    value = float(placement_in.mean())
    pairs = min(len(inside), len(outside))
    if pairs < 2:
        return Interval(value=value, low=0.0, high=1.0, confidence=confidence)
    variance = float(placement_in.var(ddof=1) / len(inside) + placement_out.var(ddof=1) / len(outside))
    if variance == 0.0:
        return _interval_of_pairs(value, pairs, confidence)
    spread = -float(special.ndtri((1.0 - confidence) / 2.0)) * variance**0.5 / (value * (1.0 - value))
    centre = float(special.logit(value))
    low, high = (float(special.expit(centre + shift)) for shift in (-spread, spread))
    return Interval(value=value, low=low, high=high, confidence=confidence)


def balanced_accuracy(labelled: LabelledScores, confidence: float = 0.95) -> Interval:
    """Return (TPR + TNR) / 2 of the rule "in if the score is above the median of all scores", and its interval.

    The median is fixed without looking at the coins; no threshold is searched for. Scores equal to it are guessed out.
    The interval joins the two Clopper-Pearson intervals of TPR and TNR (method of variance recovery, Newcombe 1998).
    """
    threshold = np.median(labelled.scores)
    inside, outside = _split(labelled)
    hits = clopper_pearson(int((inside > threshold).sum()), len(inside), confidence)
    rejections = clopper_pearson(int((outside <= threshold).sum()), len(outside), confidence)
    value = (hits.value + rejections.value) / 2.0
    below = float(np.hypot(hits.value - hits.low, rejections.value - rejections.low)) / 2.0
    above = float(np.hypot(hits.high - hits.value, rejections.high - rejections.value)) / 2.0
    return Interval(value=value, low=max(0.0, value - below), high=min(1.0, value + above), confidence=confidence)


def tpr_at_fpr(labelled: LabelledScores, fpr: str, confidence: float = 0.95) -> Interval:
    """Return the true-positive rate at a false-positive rate of at most `fpr` (text, so that 0.1 is a tenth).

    With k = floor(fpr * n_out), the threshold is the (k + 1)-th largest score of a non-member and only scores strictly
    above it are guessed in: at most k false positives whatever the ties. The threshold does not look at members, so the
    Clopper-Pearson interval is exact for the chance of an independent member to pass it.

    >>> scores = np.concatenate([np.arange(100.0), np.arange(100) + 9.5])
    >>> tpr_at_fpr(LabelledScores(scores=scores, member=np.arange(200) >= 100), "0.01").value
    0.11
    """
    inside, outside = _split(labelled)
    allowed = int(_rate(fpr) * len(outside))
    threshold = outside[len(outside) - allowed - 1] if allowed < len(outside) else -np.inf
    return clopper_pearson(int((inside > threshold).sum()), len(inside), confidence)


def roc_curve(labelled: LabelledScores) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (FPR, TPR) of "in if the score is at least t", one entry per distinct score t from high to low.

    >>> scores, member = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]), np.array([0, 1, 1, 1, 0, 0], dtype=bool)
    >>> fpr, tpr = roc_curve(LabelledScores(scores=scores, member=member))
    >>> (fpr * 3).tolist(), (tpr * 3).tolist()
    ([1.0, 2.0, 2.0, 2.0, 2.0, 3.0], [0.0, 0.0, 1.0, 2.0, 3.0, 3.0])
    """
    inside, outside = _split(labelled)
    order = np.argsort(-labelled.scores, kind="stable")
    ranked = labelled.scores[order]
    last_of_its_value = np.append(np.diff(ranked) != 0, [True])
    accepted_in = np.cumsum(labelled.member[order])[last_of_its_value]
    accepted = np.flatnonzero(last_of_its_value) + 1
    return (accepted - accepted_in) / len(outside), accepted_in / len(inside)


def roc_series(labelled: LabelledScores, name: str) -> Series:
    """Return at most 200 of the ROC's own points, evenly spread on both logarithmic axes, from (0, 0) to (1, 1)."""
    fpr, tpr = (np.append([0.0], axis) for axis in roc_curve(labelled))
    per_axis = ROC_POINTS // 2 - 2
    false_marks = np.geomspace(1.0 / (~labelled.member).sum(), 1.0, per_axis)
    true_marks = np.geomspace(1.0 / labelled.member.sum(), 1.0, per_axis)
    last_within = np.searchsorted(fpr, false_marks, side="right") - 1
    first_reaching = np.minimum(np.searchsorted(tpr, true_marks, side="left"), len(tpr) - 1)
    best_without_error = np.searchsorted(fpr, 0.0, side="right") - 1
    keep = np.unique(np.concatenate([[0, best_without_error, len(fpr) - 1], last_within, first_reaching]))
    return Series(name=name, x=tuple(fpr[keep].tolist()), y=tuple(tpr[keep].tolist()))


def roc_bands(roc: Series, members: int, others: int, confidence: float = 0.95) -> tuple[Series, Series, Series]:
    """Return the pointwise limits of a ROC: TPR from below, TPR from above, and what the attack measured.

    Each is exact for one threshold that was fixed beforehand and independent candidates (Clopper, Pearson 1934); they
    do not hold for all thresholds together. The last is (FPR, FNR) at their upper limits, which hold together.

    >>> low, high, measured = roc_bands(Series(name="r", x=(0.0, 1.0), y=(0.5, 1.0)), 10, 100)
    >>> [round(value, 3) for value in (low.y[0], high.y[0], measured.x[0], measured.y[0])]
    [0.187, 0.813, 0.036, 0.813]
    """
    hits, accused = np.rint(np.multiply(roc.y, members)), np.rint(np.multiply(roc.x, others))
    tail = (1.0 - confidence) / 2.0
    low, high = _limits(hits, members, tail)
    _, most_accused = _limits(accused, others, tail)
    return (
        Series(name=f"{roc.name}, lower limit", x=roc.x, y=low),
        Series(name=f"{roc.name}, upper limit", x=roc.x, y=high),
        Series(name=f"{roc.name}, measured", x=most_accused, y=tuple(1.0 - value for value in low)),
    )


def _limits(successes: NDArray[np.float64], trials: int, tail: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the Clopper-Pearson limits of many counts, each with this chance of error at either end."""
    failures = trials - successes
    low = np.where(successes > 0, special.betaincinv(np.maximum(successes, 1), failures + 1, tail), 0.0)
    high = np.where(failures > 0, special.betaincinv(successes + 1, np.maximum(failures, 1), 1.0 - tail), 1.0)
    return tuple(low.tolist()), tuple(high.tolist())


def most_exposed(ids: NDArray[Any], labelled: LabelledScores, most: int = 10) -> tuple[Exposed, ...]:
    """Return the members with the highest scores, each with the share of non-members below it; ties by id.

    >>> labelled = LabelledScores(scores=np.array([0.1, 0.9, 0.5, 0.2]), member=np.array([False, True, True, False]))
    >>> [(each.record, each.share_below) for each in most_exposed(np.array(["a", "b", "c", "d"]), labelled, 1)]
    [('b', 1.0)]
    """
    _, outside = _split(labelled)
    members = np.flatnonzero(labelled.member)
    first = members[np.lexsort((ids[members], -labelled.scores[members]))][:most]
    below = np.searchsorted(outside, labelled.scores[first], side="left") / len(outside)
    return tuple(
        Exposed(record=str(ids[place]), score=float(labelled.scores[place]), share_below=float(share))
        for place, share in zip(first, below, strict=True)
    )


def histograms(labelled: LabelledScores) -> tuple[Series, Series]:
    """Return the histograms of members and of non-members on common bins: x = bin centres, y = share of the group.

    The bins span the central 99.8 % of all scores; what lies beyond is counted in the first and last bin.
    """
    inside, outside = _split(labelled)
    low, high = np.quantile(labelled.scores, [0.001, 0.999])
    edges = np.histogram_bin_edges(np.array([low, high]), bins=BINS)
    centres = tuple(((edges[:-1] + edges[1:]) / 2.0).tolist())
    shares = (np.histogram(np.clip(group, edges[0], edges[-1]), edges)[0] / len(group) for group in (inside, outside))
    first, second = (tuple(share.tolist()) for share in shares)
    return Series(name="in", x=centres, y=first), Series(name="out", x=centres, y=second)


def clopper_pearson(successes: int, trials: int, confidence: float = 0.95) -> Interval:
    """Return successes / trials with the exact two-sided binomial interval (Clopper, Pearson 1934).

    >>> interval = clopper_pearson(0, 100)
    >>> interval.low, round(interval.high, 4)
    (0.0, 0.0362)
    """
    if trials < 1 or not 0 <= successes <= trials:
        raise InputError("successes, trials", (successes, trials), "0 <= successes <= trials and at least one trial")
    tail = (1.0 - confidence) / 2.0
    low = special.betaincinv(successes, trials - successes + 1, tail) if successes > 0 else 0.0
    high = special.betaincinv(successes + 1, trials - successes, 1.0 - tail) if successes < trials else 1.0
    return Interval(value=successes / trials, low=float(low), high=float(high), confidence=confidence)


def _split(labelled: LabelledScores) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the scores of members and of non-members, each sorted from low to high."""
    inside, outside = labelled.scores[labelled.member], labelled.scores[~labelled.member]
    if not len(inside) or not len(outside):
        raise InputError("member", f"{len(inside)} in, {len(outside)} out", "at least one member and one non-member")
    return np.sort(inside), np.sort(outside)


def _share_below(values: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return for each value the share of `others` (sorted) below it, equal ones counted half."""
    below, up_to = (np.searchsorted(others, values, side=side) for side in ("left", "right"))
    return (below + up_to) / (2.0 * len(others))


def _interval_of_pairs(value: float, pairs: int, confidence: float) -> Interval:
    tail = (1.0 - confidence) / 2.0
    low = 0.0 if value == 0.0 else tail ** (1.0 / pairs) * value
    high = 1.0 if value == 1.0 else 1.0 - tail ** (1.0 / pairs) * (1.0 - value)
    return Interval(value=value, low=low, high=high, confidence=confidence)


def _at_least_of_fair_coins(count: int, total: int) -> float:
    """Return P[Binomial(total, 1/2) >= count]."""
    return 1.0 if count <= 0 else float(special.betainc(count, total - count + 1, 0.5))


def _rate(fpr: str) -> Fraction:
    try:
        rate = Fraction(fpr)
    except ValueError:
        raise InputError("fpr", fpr, "a decimal number as text, such as '0.001'") from None
    if not 0 <= rate <= 1:
        raise InputError("fpr", fpr, "a rate between 0 and 1")
    return rate


def over_seeds(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """Return the mean of independent trainings, two or more, with the interval of Student's t for it.

    It covers whatever the seeds draw anew; with few of them it is wide. It is not cut to the range of the values.

    >>> found = over_seeds([40.0, 42.0, 44.0])
    >>> found.value, round(found.low, 1), round(found.high, 1)
    (42.0, 37.0, 47.0)
    """
    if len(values) < 2:
        raise InputError("values", list(values), "two trainings or more")
    mean, spread = float(np.mean(values)), float(np.std(values, ddof=1))
    half = float(special.stdtrit(len(values) - 1, (1 + confidence) / 2)) * spread / len(values) ** 0.5
    return Interval(value=mean, low=mean - half, high=mean + half, confidence=confidence)
