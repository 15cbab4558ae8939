"""The bounds by name, for the command line and for lists: what each takes, what it tests and what it is worth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from dpaudit.bounds.auc import auc_bound
from dpaudit.bounds.clopper_pearson import Confusion, clopper_pearson_bound
from dpaudit.bounds.family import Family, any_family, gaussian_family
from dpaudit.bounds.gaussian_moments import gaussian_moments_bound
from dpaudit.bounds.joint.adaptive import AdaptiveCount
from dpaudit.bounds.joint.count import JointCount
from dpaudit.bounds.joint.pooled import PooledCount
from dpaudit.bounds.joint_beta import joint_beta_estimate
from dpaudit.bounds.max_p import OneRunTest, PlannedTest, max_p_bound
from dpaudit.bounds.one_run import Steinke
from dpaudit.bounds.one_run_fdp import FdpRecursion
from dpaudit.bounds.order_statistics import OrderStatistics
from dpaudit.bounds.ratio import Limit, adjusted_log, bailey, inverse_sinh, katz_log, ratio_estimate
from dpaudit.bounds.strategies import Dkw
from dpaudit.bounds.tradeoff import EpsilonDelta, Gaussian
from dpaudit.bounds.trials import bound_trials
from dpaudit.errors import InputError
from dpaudit.recipes.refusals import nearest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dpaudit.bounds.clopper_pearson import Trials
    from dpaudit.bounds.guesses import Guesses
    from dpaudit.bounds.tradeoff import TradeOff
    from dpaudit.results import Bound, GuaranteeKind
    from dpaudit.scores import LabelledScores

__all__ = [
    "METHODS",
    "Method",
    "Question",
    "Takes",
    "bound_from_guesses",
    "bound_from_rates",
    "bound_from_scores",
    "method_named",
    "one_run_test",
]

Takes: TypeAlias = Literal["guesses", "rates", "scores", "stream", "cosines"]

_GUESS_TESTS: dict[str, OneRunTest[Any]] = {
    test.method: test
    for test in (Steinke(), FdpRecursion(), JointCount(), PooledCount(), AdaptiveCount(), OrderStatistics())
}
_RATIOS: dict[str, Limit] = {
    "katz-log": katz_log,
    "adjusted-log": adjusted_log,
    "bailey": bailey,
    "inverse-sinh": inverse_sinh,
}


@dataclass(frozen=True, kw_only=True)
class Method:
    """One bound, as `dpaudit list bounds` shows it.

    takes: guesses (canaries, guesses and correct of each run), rates (counts of "in" in two worlds), scores (one
    table), stream (right or wrong, in order) or cosines. hypotheses: those that need no mechanism. guarantee: the best
    it can give; independent trials become `under_independence` when they are the canaries of one run.
    """

    name: str
    takes: Takes
    hypotheses: tuple[str, ...]
    guarantee: GuaranteeKind
    summary: str
    source: str

    @property
    def testable(self) -> tuple[str, ...]:
        """Return `hypotheses`, with `accountant` where any curve can be tested: that one needs a mechanism.

        >>> METHODS["one-run-fdp"].testable, METHODS["one-run"].testable
        (('any', 'gaussian', 'accountant'), ('any',))
        """
        return (*self.hypotheses, "accountant") if {"any", "gaussian"} <= set(self.hypotheses) else self.hypotheses


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked of a bound: under which hypothesis (`any`, `gaussian` or `accountant`), at which delta, how surely.

    strategy: how thresholds or numbers of guesses were chosen, in words. promise: a curve whose p-value is wanted.
    accountant: the family of the hypothesis `accountant`, from who knows the mechanism.
    """

    hypothesis: str
    delta: float
    confidence: float
    strategy: str
    promise: TradeOff | None = None
    accountant: Family[Any] | None = None

    def family(self, method: Method) -> Family[Any]:
        """Return the family of the hypothesis, if `method` can test it."""
        if self.hypothesis not in method.testable:
            expected = f"{' or '.join(method.testable)}, which {method.name} can test"
            raise InputError("hypothesis", self.hypothesis, expected)
        if self.hypothesis == "accountant":
            if self.accountant is None:
                raise InputError("hypothesis", "accountant", "a mechanism that it is about")
            return self.accountant
        if method.name in _EPSILON_DELTA_ONLY and not isinstance(self.promise, EpsilonDelta | None):
            raise InputError("promise", self.promise, f"an (epsilon, delta) promise, which {method.name} can test")
        return any_family(delta=self.delta) if self.hypothesis == "any" else gaussian_family(delta=self.delta)


def method_named(name: str) -> Method:
    """Return the bound of this name.

    >>> method_named("one-run").source
    'Steinke, Nasr, Jagielski 2023, Theorem 5.2'
    """
    if name not in METHODS:
        raise InputError("method", name, nearest(name, METHODS))
    return METHODS[name]


def one_run_test(name: str) -> OneRunTest[Any]:
    """Return the test of this name that takes guesses.

    >>> one_run_test("one-run")
    Steinke()
    """
    return _GUESS_TESTS[_taking(name, "guesses").name]


def bound_from_guesses(name: str, runs: Sequence[Guesses], question: Question) -> Bound:
    """Return the bound of this name from the counts of R runs.

    >>> from dpaudit.bounds.guesses import Guesses
    >>> question = Question(hypothesis="any", delta=1e-5, confidence=0.95, strategy="100 guesses, fixed")
    >>> round(bound_from_guesses("one-run", [Guesses(canaries=1000, guesses=100, correct=90)], question).epsilon, 4)
    1.6261
    """
    method = _taking(name, "guesses")
    planned = PlannedTest[Any](
        test=one_run_test(name),
        family=question.family(method),
        confidence=question.confidence,
        promise=question.promise,
    )
    return max_p_bound(planned, runs, strategy=question.strategy)


def bound_from_rates(name: str, confusion: Confusion, question: Question) -> Bound:
    """Return the bound or estimate of this name from how often "in" was said in two worlds.

    >>> confusion = Confusion(true_positives=90, in_trials=100, false_positives=8, out_trials=100)
    >>> question = Question(hypothesis="gaussian", delta=1e-5, confidence=0.95, strategy="threshold 0, fixed")
    >>> bound_from_rates("clopper-pearson", confusion, question).guarantee
    'certified'
    """
    family = question.family(_taking(name, "rates"))
    if name == "clopper-pearson":
        return clopper_pearson_bound(
            family, confusion, confidence=question.confidence, strategy=question.strategy, promise=question.promise
        )
    if name == "joint-beta":
        return joint_beta_estimate(
            confusion, delta=question.delta, confidence=question.confidence, strategy=question.strategy
        )
    if question.delta != 0:
        raise InputError("delta", question.delta, f"0: {name} estimates pure epsilon")
    return ratio_estimate(name, _RATIOS[name], confusion, confidence=question.confidence, strategy=question.strategy)


def bound_from_scores(name: str, labelled: LabelledScores, question: Question, trials: Trials) -> Bound:
    """Return the bound of this name that uses the whole table of scores, one row per trial.

    Two Gaussians are taken for canaries of one run, whatever `trials` says: no label makes their law true.
    """
    family, confidence = question.family(_taking(name, "scores")), question.confidence
    if name == "dkw":
        return bound_trials(family, labelled, Dkw(), confidence=confidence, trials=trials, promise=question.promise)
    if name == "auc-kl":
        return auc_bound(family, labelled, confidence=confidence, trials=trials, promise=question.promise)
    if not isinstance(question.promise, Gaussian | None):
        raise InputError("promise", question.promise, f"a Gaussian one, which {name} can test")
    return gaussian_moments_bound(family, labelled, confidence=confidence, promise=question.promise)


def _taking(name: str, takes: Takes) -> Method:
    method = method_named(name)
    if method.takes != takes:
        expected = ", ".join(other.name for other in METHODS.values() if other.takes == takes)
        raise InputError("method", name, f"one that takes {takes}: {expected}")
    return method


def _catalogue(*methods: Method) -> dict[str, Method]:
    return {method.name: method for method in methods}


_EPSILON_DELTA_ONLY = ("one-run", "betting", "joint-beta", *_RATIOS)

METHODS = _catalogue(
    Method(
        name="one-run",
        takes="guesses",
        hypotheses=("any",),
        guarantee="certified",
        summary="right guesses of fair coins against (epsilon, delta)-DP",
        source="Steinke, Nasr, Jagielski 2023, Theorem 5.2",
    ),
    Method(
        name="one-run-fdp",
        takes="guesses",
        hypotheses=("any", "gaussian"),
        guarantee="certified",
        summary="right guesses of fair coins against any trade-off curve, by a recursion",
        source="Mahloujifar, Melis, Chaudhuri 2025, Theorem 10",
    ),
    Method(
        name="one-run-joint",
        takes="guesses",
        hypotheses=("any", "gaussian"),
        guarantee="certified",
        summary="the same, by a linear program with a certificate; the tightest that assumes nothing",
        source="proof in docs/statistics/joint-bound.md",
    ),
    Method(
        name="one-run-pooled",
        takes="guesses",
        hypotheses=("any", "gaussian"),
        guarantee="certified",
        summary="errors of several runs together, by backward induction over such programs; slow",
        source="proof in docs/statistics/joint-bound.md",
    ),
    Method(
        name="one-run-adaptive",
        takes="guesses",
        hypotheses=("any", "gaussian"),
        guarantee="certified",
        summary="the same counts where later guesses may use coins already seen; their number is fixed",
        source="proof in docs/statistics/joint-bound.md",
    ),
    Method(
        name="betting",
        takes="stream",
        hypotheses=("any",),
        guarantee="certified",
        summary="stop at any time: wealth that grows with every right guess",
        source="Ville 1939; proof in dpaudit.bounds.betting",
    ),
    Method(
        name="clopper-pearson",
        takes="rates",
        hypotheses=("any", "gaussian"),
        guarantee="certified",
        summary="limits of two error rates from independent runs, at a threshold that was fixed or chosen elsewhere",
        source="Jagielski, Ullman, Oprea 2020; Nasr et al. 2023",
    ),
    Method(
        name="dkw",
        takes="scores",
        hypotheses=("any", "gaussian"),
        guarantee="certified",
        summary="limits of two error rates at all thresholds at once, from independent runs",
        source="Massart 1990, Corollary 1",
    ),
    Method(
        name="auc-kl",
        takes="scores",
        hypotheses=("any", "gaussian"),
        guarantee="certified",
        summary="area under the ROC curve of independent runs: no threshold to choose",
        source="Hoeffding 1963, section 5; proof in dpaudit.bounds.auc",
    ),
    Method(
        name="order-statistics",
        takes="guesses",
        hypotheses=("any", "gaussian"),
        guarantee="under_independence",
        summary="errors among the surest guesses of canaries that do not interact",
        source="Xiang et al. 2025, arXiv 2509.08704",
    ),
    Method(
        name="gaussian-moments",
        takes="scores",
        hypotheses=("gaussian",),
        guarantee="under_independence",
        summary="gap of the means of two Gaussians with one spread",
        source="Johnson and Welch 1940",
    ),
    Method(
        name="one-shot",
        takes="cosines",
        hypotheses=("none",),
        guarantee="estimate",
        summary="a Gaussian fitted to the cosines of random canaries",
        source="Andrew et al. 2024",
    ),
    Method(
        name="joint-beta",
        takes="rates",
        hypotheses=("any",),
        guarantee="estimate",
        summary="Bayesian credible interval with Jeffreys priors",
        source="Zanella-Béguelin et al. 2023",
    ),
    *(
        Method(
            name=name,
            takes="rates",
            hypotheses=("any",),
            guarantee="estimate",
            summary="approximate lower limit of TPR / FPR, delta = 0",
            source=source,
        )
        for name, source in (
            ("katz-log", "Katz et al. 1978; Lu et al. 2022"),
            ("adjusted-log", "Walter 1975"),
            ("bailey", "Bailey 1987"),
            ("inverse-sinh", "Newcombe 2001"),
        )
    ),
)
