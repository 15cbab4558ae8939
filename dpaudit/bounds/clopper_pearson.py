"""Two confidence limits against a trade-off curve (Jagielski, Ullman, Oprea 2020; for mu-GDP Nasr et al. 2023).

Trials in one world are counted when the attack says "in". Each error rate is below its Clopper-Pearson (1934) limit
except with chance alpha/2, so with chance 1 - alpha both are; then a curve f with f(limit of FPR) > limit of FNR
cannot be the mechanism's. For f_(epsilon, delta) this is epsilon < max( ln((1 - FNR - delta) / FPR), ln((1 - FPR -
delta) / FNR) ) at the limits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeVar

from scipy.special import betainccinv

from dpaudit.bounds.significance import check_confidence, smallest_level
from dpaudit.errors import InputError
from dpaudit.results import Bound, Counts

if TYPE_CHECKING:
    from dpaudit.bounds.family import Family
    from dpaudit.bounds.tradeoff import TradeOff
    from dpaudit.results import GuaranteeKind

__all__ = [
    "Confusion",
    "Trials",
    "clopper_pearson_bound",
    "rate_limits",
    "refutes_by_rates",
    "upper_rate",
]

Trials: TypeAlias = Literal["independent runs", "canaries of one run"]
Curve = TypeVar("Curve", bound="TradeOff")


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """How often an attack with a threshold fixed beforehand said "in": of `in_trials` and of `out_trials`.

    trials: canaries of one run are counted as if they were independent runs, which they are not.
    """

    true_positives: int
    in_trials: int
    false_positives: int
    out_trials: int
    trials: Trials = "independent runs"

    def __post_init__(self) -> None:
        for name, count, total in (
            ("true_positives", self.true_positives, self.in_trials),
            ("false_positives", self.false_positives, self.out_trials),
        ):
            if total < 1:
                raise InputError(f"trials of {name}", total, "at least 1")
            if not 0 <= count <= total:
                raise InputError(name, count, f"a number from 0 to its {total} trials")

    @property
    def false_negatives(self) -> int:
        """Return how often a member was called out."""
        return self.in_trials - self.true_positives

    @property
    def guarantee(self) -> GuaranteeKind:
        """Return what a bound from these counts is worth."""
        return "certified" if self.trials == "independent runs" else "under_independence"

    def counts(self) -> Counts:
        """Return the counts as a report shows them: every trial is guessed."""
        trials = self.in_trials + self.out_trials
        positives = self.true_positives + self.false_positives
        return Counts(
            canaries=(trials,),
            guesses=(trials,),
            correct=(self.true_positives + self.out_trials - self.false_positives,),
            guesses_in=(positives,),
            guesses_out=(trials - positives,),
        )


def upper_rate(count: int, trials: int, level: float) -> float:
    """Return the rate that is below the true one with chance at most `level`.

    >>> round(1 - upper_rate(0, 500, 0.005), 9)
    0.989459312
    """
    return 1.0 if count == trials else float(betainccinv(count + 1, trials - count, level))


def rate_limits(confusion: Confusion, level: float) -> tuple[float, float]:
    """Return the upper limits of the false-positive and the false-negative rate, each at level / 2."""
    return (
        upper_rate(confusion.false_positives, confusion.out_trials, level / 2),
        upper_rate(confusion.false_negatives, confusion.in_trials, level / 2),
    )


def refutes_by_rates(curve: TradeOff, confusion: Confusion, level: float) -> bool:
    """Return whether the two limits refute `curve`."""
    false_positive, false_negative = rate_limits(confusion, level)
    return curve.inverse_blow_up(1 - false_positive) > false_negative


def clopper_pearson_bound(
    family: Family[Curve],
    confusion: Confusion,
    *,
    confidence: float,
    strategy: str,
    promise: Curve | None = None,
) -> Bound:
    """Return the largest curve of `family` that the two error rates refute, and the p-value of `promise`.

    >>> from dpaudit.bounds.family import any_family
    >>> confusion = Confusion(true_positives=500, in_trials=500, false_positives=0, out_trials=500)
    >>> bound = clopper_pearson_bound(any_family(delta=0.0), confusion, confidence=0.99, strategy="fixed")
    >>> round(bound.epsilon, 6)
    4.541916
    """
    check_confidence(confidence)
    refuted = family.largest_refuted(lambda curve: refutes_by_rates(curve, confusion, 1 - confidence))
    return Bound(
        method="clopper-pearson",
        hypothesis=family.hypothesis,
        guarantee=confusion.guarantee,
        epsilon=refuted.epsilon,
        delta=family.delta,
        confidence=confidence,
        strategy=strategy,
        counts=confusion.counts(),
        parameter=refuted.parameter,
        p_value=None if promise is None else smallest_level(lambda level: refutes_by_rates(promise, confusion, level)),
    )
