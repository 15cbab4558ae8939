"""Bounds from scores or counts that were made elsewhere, by any framework."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias
from zipfile import BadZipFile, ZipFile

import numpy as np

from dpaudit.bounds.max_p import PlannedTest
from dpaudit.bounds.methods import (
    METHODS,
    Question,
    bound_from_guesses,
    bound_from_rates,
    bound_from_scores,
    method_named,
    one_run_test,
)
from dpaudit.bounds.scored import bound_scores
from dpaudit.bounds.strategies import FixedGuesses, FixedThreshold, Split
from dpaudit.bounds.trials import bound_trials, confusion_at
from dpaudit.errors import InputError
from dpaudit.recipes.refusals import any_of
from dpaudit.scores import LabelledScores

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from dpaudit.bounds.clopper_pearson import Confusion, Trials
    from dpaudit.bounds.guesses import Guesses
    from dpaudit.bounds.methods import Takes
    from dpaudit.mechanism import Mechanism
    from dpaudit.results import Bound

__all__ = ["NEEDS", "Asked", "bound_counts", "bound_table", "numbers", "read_columns", "read_scores", "zero_or_one"]

Column: TypeAlias = "np.ndarray[Any, Any]"
#: what a kind of method needs, from counts or from a file
NEEDS: dict[Takes, str] = {
    "guesses": "--canaries, --guesses and --correct, or a file of scores",
    "rates": "--tp, --fn, --fp and --tn, or a file of scores (with --threshold)",
    "scores": "a file of scores",
    "stream": "a file of guesses in their order (column correct) and --canaries, or a file of scores",
    "cosines": "a file of cosines (column cosine) and --dimension",
}
#: what is asked -> its options on the command line, and the kind of method that they are for
_FOR: dict[str, tuple[str, Takes]] = {
    "guesses": ("--guesses-in, --guesses-out", "guesses"),
    "threshold": ("--threshold", "rates"),
    "promise": ("--promise", "stream"),
    "dimension": ("--dimension", "cosines"),
}
#: what a file of scores is bounded by when no method is named: the canaries of one run, and independent runs
_ONE_RUN = (("one-run-fdp", "any"), ("one-run-fdp", "gaussian"), ("one-run", "any"), ("order-statistics", "gaussian"))
_RUNS = (("clopper-pearson", "any"), ("clopper-pearson", "gaussian"), ("dkw", "gaussian"), ("auc-kl", "gaussian"))


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is asked of scores or counts.

    method, hypothesis: None = the usual ones. guesses: how many in and out, fixed before any coin was seen; None =
    chosen on a random half, tested on the other. threshold: the same for scores. independent_runs: each row is a run of
    its own, not a canary of one. promise: the epsilon claimed, canaries: coins tossed, of a stream of guesses.
    dimension: of the space that cosines were taken in. mechanism: what the hypothesis `accountant` is about; its own
    curve is the promise of which a p-value is given.
    """

    delta: float
    confidence: float = 0.95
    method: str | None = None
    hypothesis: str | None = None
    guesses: FixedGuesses | None = None
    threshold: float | None = None
    independent_runs: bool = False
    promise: float | None = None
    canaries: int | None = None
    dimension: int | None = None
    mechanism: Mechanism | None = None

    def __post_init__(self) -> None:
        """Refuse an option that the method would ignore."""
        kinds = {method_named(method).takes for method, _ in self.requests()}
        for field, (options, kind) in _FOR.items():
            if getattr(self, field) is not None and kind not in kinds:
                known = ", ".join(method.name for method in METHODS.values() if method.takes == kind)
                raise InputError(options, str(getattr(self, field)), f"a method that uses it: {known}")

    @property
    def trials(self) -> Trials:
        """Return what one row is."""
        return "independent runs" if self.independent_runs else "canaries of one run"

    def requests(self) -> list[tuple[str, str]]:
        """Return the (method, hypothesis) pairs to answer."""
        if self.method is None:
            usual = list(_RUNS if self.independent_runs else _ONE_RUN)
            if self.mechanism is not None:
                usual.append((usual[0][0], "accountant"))
            pairs = [pair for pair in usual if self.hypothesis in (None, pair[1])]
            if not pairs:
                raise InputError("--hypothesis", self.hypothesis, any_of(sorted({pair[1] for pair in usual})))
            return pairs
        method = method_named(self.method)
        known = method.hypotheses if self.mechanism is None else method.testable
        return [(self.method, self.hypothesis)] if self.hypothesis else [(self.method, name) for name in known]

    def question(self, hypothesis: str, strategy: str) -> Question:
        """Return the question as a bound takes it."""
        question = Question(hypothesis=hypothesis, delta=self.delta, confidence=self.confidence, strategy=strategy)
        if hypothesis != "accountant" or self.mechanism is None:
            return question
        from dpaudit.pipeline.hypotheses import mechanism_curve, mechanism_family  # noqa: PLC0415 (the others need no accountant)

        family = mechanism_family(self.mechanism, self.delta)
        return replace(question, accountant=family, promise=mechanism_curve(self.mechanism))


def read_scores(path: Path, *, lower_is_member: bool = False) -> LabelledScores:
    """Return the columns `score` and `member` (0 or 1) of a csv, parquet or npz file.

    Scores are turned round when lower means member. InputError names what is missing and what was found.
    """
    columns = read_columns(path, needed=("score", "member"))
    scores = numbers(columns["score"], f"{path}: score")
    member = zero_or_one(columns["member"], f"{path}: member")
    inside = int(np.sum(member))
    if inside in (0, len(member)):
        raise InputError(f"{path}: member", f"{inside} of {len(member)} rows", "members and non-members")
    return LabelledScores(scores=-scores if lower_is_member else scores, member=member)


def numbers(column: Column, field: str) -> NDArray[np.float64]:
    """Return a column of numbers as float64, (n,); InputError names `field` if it is none."""
    _check_rows(column, field)
    if column.dtype.kind not in "iuf":
        raise InputError(field, str(column.dtype), "a column of numbers")
    return column.astype(np.float64)


def zero_or_one(column: Column, field: str) -> NDArray[np.bool_]:
    """Return a column of 0 and 1, or of false and true, as bool, (n,); InputError names `field` if it is none."""
    _check_rows(column, field)
    if column.dtype.kind not in "biuf" or not np.isin(column, (0, 1)).all():
        wrong = [value for value in column.tolist() if value not in (0, 1, "0", "1", b"0", b"1")]
        raise InputError(field, wrong[0] if wrong else str(column.dtype), "0 or 1 (or false, true) in every row")
    return column.astype(np.bool_)


def _check_rows(column: Column, field: str) -> None:
    if column.ndim != 1 or not len(column):
        raise InputError(field, f"an array of shape {column.shape}", "one column with at least one row")


def bound_table(labelled: LabelledScores, asked: Asked) -> list[Bound]:
    """Return the bounds of a table of scores, one per (method, hypothesis) asked for.

    >>> rng = np.random.default_rng(0)
    >>> member = rng.random(1000) < 0.5
    >>> table = LabelledScores(scores=rng.normal(size=1000) + 1.67 * member, member=member)
    >>> [bound.guarantee for bound in bound_table(table, Asked(delta=1e-5, method="one-run-fdp"))]
    ['certified', 'certified']
    """
    return [_bound_table(labelled, asked, method, hypothesis) for method, hypothesis in asked.requests()]


def bound_counts(asked: Asked, *, runs: Sequence[Guesses] = (), confusion: Confusion | None = None) -> Bound:
    """Return the bound of counts: the guesses of one run or of several, or rates in two worlds."""
    if asked.method is None:
        raise InputError("--method", None, f"one of {', '.join(METHODS)}")
    takes, pairs = method_named(asked.method).takes, asked.requests()
    question = asked.question(pairs[0][1], "counts as given")
    if takes == "guesses" and runs:
        return bound_from_guesses(asked.method, runs, question)
    if takes == "rates" and confusion is not None:
        return bound_from_rates(asked.method, confusion, question)
    raise InputError("--method", asked.method, f"what this method needs: {NEEDS[takes]}")


def _bound_table(labelled: LabelledScores, asked: Asked, method: str, hypothesis: str) -> Bound:
    takes = method_named(method).takes
    if takes == "guesses":
        question = asked.question(hypothesis, "")
        planned = PlannedTest[Any](
            test=one_run_test(method),
            family=question.family(method_named(method)),
            confidence=asked.confidence,
            promise=question.promise,
        )
        return bound_scores(planned, [labelled], asked.guesses or Split())
    if takes == "scores":
        return bound_from_scores(method, labelled, asked.question(hypothesis, "all scores"), asked.trials)
    if takes == "rates":
        return _by_rates(labelled, asked, method, hypothesis)
    raise InputError("--method", method, f"what this method needs: {NEEDS[takes]}")


def _by_rates(labelled: LabelledScores, asked: Asked, method: str, hypothesis: str) -> Bound:
    """Return the bound at the threshold that was fixed; only Clopper-Pearson can choose one on half of the rows."""
    fixed = None if asked.threshold is None else FixedThreshold(threshold=asked.threshold)
    if method == "clopper-pearson":
        question = asked.question(hypothesis, "")
        return bound_trials(
            question.family(method_named(method)),
            labelled,
            fixed or Split(),
            confidence=asked.confidence,
            trials=asked.trials,
            promise=question.promise,
        )
    if fixed is None:
        raise InputError("--threshold", None, f"a number that was fixed beforehand, which {method} needs")
    confusion = confusion_at(labelled, fixed.threshold, asked.trials)
    return bound_from_rates(method, confusion, asked.question(hypothesis, str(fixed)))


def read_columns(path: Path, *, needed: Sequence[str] = ()) -> dict[str, Column]:
    """Return the columns of a csv, parquet or npz file by name; InputError names what is missing and what was found."""
    columns = _columns(path)
    missing = [name for name in needed if name not in columns]
    if missing:
        found = ", ".join(columns) or "none"
        expected = f"the column{'s' * (len(needed) > 1)} {' and '.join(needed)} ({', '.join(missing)} missing)"
        raise InputError(str(path), f"columns {found}", expected)
    return columns


def _columns(path: Path) -> dict[str, Column]:
    import pyarrow as pa  # noqa: PLC0415 (counts do without)
    import pyarrow.csv as pacsv  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    readers = {".csv": pacsv.read_csv, ".parquet": pq.read_table, ".npz": _npz}
    if path.suffix not in readers:
        raise InputError("file", str(path), f"a file that ends in {', '.join(readers)}")
    try:
        if path.suffix == ".npz":
            return _npz(path)
        table = readers[path.suffix](path)
        return {name: table[name].to_numpy(zero_copy_only=False) for name in table.column_names}
    except (OSError, EOFError, ValueError, KeyError, BadZipFile, zlib.error, pa.ArrowException) as error:
        why = " ".join(str(error).split("\n")[0].split()) or type(error).__name__
        raise InputError("file", str(path), f"a readable {path.suffix} file ({why})") from error


def _npz(path: Path) -> dict[str, Column]:
    with path.open("rb") as stream, ZipFile(stream):  # a bare .npy would be read, too
        stream.seek(0)
        with np.load(stream, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
