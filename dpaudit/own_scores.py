"""Bounds from scores or counts that were made elsewhere, by any framework."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dpaudit.bounds.max_p import PlannedTest
from dpaudit.bounds.methods import (
    METHODS,
    Question,
    bound_from_guesses,
    bound_from_rates,
    bound_from_scores,
    method_named,
)
from dpaudit.bounds.one_run import Steinke
from dpaudit.bounds.one_run_fdp import FdpRecursion
from dpaudit.bounds.order_statistics import OrderStatistics
from dpaudit.bounds.scored import bound_scores
from dpaudit.bounds.strategies import FixedGuesses, Split
from dpaudit.bounds.trials import bound_trials
from dpaudit.errors import InputError
from dpaudit.scores import LabelledScores

if TYPE_CHECKING:
    from pathlib import Path

    from dpaudit.bounds.clopper_pearson import Confusion, Trials
    from dpaudit.bounds.guesses import Guesses
    from dpaudit.bounds.strategies import GuessStrategy
    from dpaudit.results import Bound

__all__ = ["Asked", "bound_counts", "bound_table", "read_scores"]

_TESTS: dict[str, Any] = {test.method: test for test in (Steinke(), FdpRecursion(), OrderStatistics())}
#: what a file of scores is bounded by when no method is named: the canaries of one run, and independent runs
_ONE_RUN = (("one-run-fdp", "any"), ("one-run-fdp", "gaussian"), ("one-run", "any"), ("order-statistics", "gaussian"))
_RUNS = (("clopper-pearson", "any"), ("clopper-pearson", "gaussian"), ("dkw", "gaussian"), ("auc-kl", "gaussian"))


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is asked of scores or counts.

    method, hypothesis: None = the usual ones. guesses: how many in and out, fixed before any coin was seen; None =
    chosen on a random half, tested on the other. independent_runs: each row is a run of its own, not a canary of one.
    """

    delta: float
    confidence: float = 0.95
    method: str | None = None
    hypothesis: str | None = None
    guesses: FixedGuesses | None = None
    independent_runs: bool = False

    @property
    def trials(self) -> Trials:
        """Return what one row is."""
        return "independent runs" if self.independent_runs else "canaries of one run"

    def requests(self) -> list[tuple[str, str]]:
        """Return the (method, hypothesis) pairs to answer."""
        if self.method is None:
            pairs = _RUNS if self.independent_runs else _ONE_RUN
            return [pair for pair in pairs if self.hypothesis in (None, pair[1])]
        known = method_named(self.method).hypotheses
        return [(self.method, self.hypothesis)] if self.hypothesis else [(self.method, name) for name in known]

    def question(self, hypothesis: str, strategy: str) -> Question:
        """Return the question as a bound takes it."""
        return Question(hypothesis=hypothesis, delta=self.delta, confidence=self.confidence, strategy=strategy)


def read_scores(path: Path, *, lower_is_member: bool = False) -> LabelledScores:
    """Return the columns `score` and `member` (0 or 1) of a csv, parquet or npz file.

    Scores are turned round when lower means member. InputError names what is missing and what was found.
    """
    columns = _columns(path)
    missing = [name for name in ("score", "member") if name not in columns]
    if missing:
        found = ", ".join(columns) or "none"
        raise InputError(str(path), f"columns {found}", f"the columns score and member ({', '.join(missing)} missing)")
    scores, member = columns["score"], columns["member"]
    if not np.issubdtype(scores.dtype, np.number):
        raise InputError(f"{path}: score", str(scores.dtype), "a column of numbers")
    if not (np.issubdtype(member.dtype, np.number) or member.dtype == np.bool_) or not np.isin(member, (0, 1)).all():
        shown = np.unique(member[:1000])[:5].tolist()
        raise InputError(f"{path}: member", shown, "0 or 1 (or false, true) in every row")
    inside = int(np.sum(member))
    if inside in (0, len(member)):
        raise InputError(f"{path}: member", f"{inside} of {len(member)} rows", "members and non-members")
    values = scores.astype(np.float64)
    return LabelledScores(scores=-values if lower_is_member else values, member=member.astype(np.bool_))


def bound_table(labelled: LabelledScores, asked: Asked) -> list[Bound]:
    """Return the bounds of a table of scores, one per (method, hypothesis) asked for.

    >>> rng = np.random.default_rng(0)
    >>> member = rng.random(1000) < 0.5
    >>> table = LabelledScores(scores=rng.normal(size=1000) + 1.67 * member, member=member)
    >>> [bound.guarantee for bound in bound_table(table, Asked(delta=1e-5, method="one-run-fdp"))]
    ['certified', 'certified']
    """
    return [_bound_table(labelled, asked, method, hypothesis) for method, hypothesis in asked.requests()]


def bound_counts(
    asked: Asked, *, guesses: Guesses | None = None, confusion: Confusion | None = None, runs: int = 1
) -> Bound:
    """Return the bound of counts: guesses of one run (or of `runs` runs that look the same), or rates in two worlds."""
    if asked.method is None:
        raise InputError("--method", None, f"one of {', '.join(METHODS)}")
    takes, pairs = method_named(asked.method).takes, asked.requests()
    question = asked.question(pairs[0][1], "counts as given")
    if takes == "guesses" and guesses is not None:
        return bound_from_guesses(asked.method, [guesses] * runs, question)
    if takes == "rates" and confusion is not None:
        return bound_from_rates(asked.method, confusion, question)
    needed = {"guesses": "--canaries, --guesses and --correct", "rates": "--tp, --fn, --fp and --tn"}
    raise InputError("--method", asked.method, needed.get(takes, "a file of scores, which this method needs"))


def _bound_table(labelled: LabelledScores, asked: Asked, method: str, hypothesis: str) -> Bound:
    takes = method_named(method).takes
    if takes == "guesses":
        family = asked.question(hypothesis, "").family(method_named(method))
        planned = PlannedTest[Any](test=_TESTS[method], family=family, confidence=asked.confidence)
        chosen: GuessStrategy = asked.guesses or Split()
        return bound_scores(planned, [labelled], chosen)
    if takes == "scores":
        return bound_from_scores(method, labelled, asked.question(hypothesis, "all scores"), asked.trials)
    if method == "clopper-pearson":
        family = asked.question(hypothesis, "").family(method_named(method))
        return bound_trials(family, labelled, Split(), confidence=asked.confidence, trials=asked.trials)
    raise InputError("--method", method, "a method that takes a table of scores; this one takes counts")


def _columns(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    import pyarrow as pa  # noqa: PLC0415 (counts do without)
    import pyarrow.csv as pacsv  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    readers = {".csv": pacsv.read_csv, ".parquet": pq.read_table, ".npz": _npz}
    if path.suffix not in readers:
        raise InputError("scores", str(path), f"a file that ends in {', '.join(readers)}")
    try:
        if path.suffix == ".npz":
            return _npz(path)
        table = readers[path.suffix](path)
        return {name: table[name].to_numpy(zero_copy_only=False) for name in table.column_names}
    except (OSError, ValueError, pa.ArrowException) as error:
        raise InputError(
            "scores", str(path), f"a readable {path.suffix} file ({str(error).splitlines()[0]})"
        ) from error


def _npz(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    with path.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}
