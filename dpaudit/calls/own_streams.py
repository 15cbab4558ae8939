"""Bounds from what has no coins beside scores: guesses in the order of their revealing, and cosines of canaries."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dpaudit.bounds.betting import BettingTest, betting_bound, watch
from dpaudit.bounds.guesses import surest_first
from dpaudit.bounds.methods import method_named
from dpaudit.bounds.one_shot import one_shot_estimate
from dpaudit.bounds.significance import check_confidence
from dpaudit.bounds.tradeoff import EpsilonDelta
from dpaudit.calls.own_scores import numbers, read_columns, read_scores, zero_or_one
from dpaudit.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from dpaudit.calls.own_scores import Asked
    from dpaudit.results import Bound

__all__ = ["Watched", "bound_cosines", "bound_stream", "guesses_of_lines", "read_cosines", "read_guesses"]


@dataclass(frozen=True, kw_only=True)
class Watched:
    """What a stream of guesses showed: its bound, and after how many guesses the promise was refuted.

    promise: None = none was named. refuted_at: None = it was not refuted.
    """

    bound: Bound
    promise: float | None
    refuted_at: int | None


def bound_stream(rights: Iterable[bool], asked: Asked) -> Watched:
    """Return the bound of a stream of guesses; nothing is read beyond the guess that refutes the promise.

    >>> from dpaudit.calls.own_scores import Asked
    >>> asked = Asked(method="betting", delta=0.0, promise=1.0, canaries=100)
    >>> bound_stream([True] * 50, asked).refuted_at
    15
    """
    _check(asked)
    if asked.canaries is None or asked.canaries < 1:
        raise InputError("--canaries", asked.canaries, "the number of coins that were tossed, guessed or not")
    refuted_at, p_value, read = None, None, []
    if asked.promise is None:
        read = list(rights)
    else:
        test = BettingTest(promise=EpsilonDelta(asked.promise, asked.delta), canaries=asked.canaries)
        refuted_at = watch(test, _noting(rights, read), 1 - asked.confidence)
        p_value = test.p_value
    bound = betting_bound(read, canaries=asked.canaries, delta=asked.delta, confidence=asked.confidence)
    return Watched(bound=bound.model_copy(update={"p_value": p_value}), promise=asked.promise, refuted_at=refuted_at)


def bound_cosines(cosines: NDArray[np.float64], asked: Asked) -> Bound:
    """Return the estimate from the cosines of canaries that were in, (n,)."""
    _check(asked)
    if asked.dimension is None:
        raise InputError("--dimension", None, "the dimension of the space in which the canaries are directions")
    return one_shot_estimate(cosines, asked.dimension, delta=asked.delta)


def read_guesses(path: Path, *, lower_is_member: bool = False) -> tuple[NDArray[np.bool_], int | None]:
    """Return whether each guess was right, (n,), and the number of canaries where the file tells it.

    The column `correct` has them in order. From the columns `score` and `member` they are made, the surest first.
    """
    columns = read_columns(path)
    if "correct" in columns or "score" not in columns:
        column = read_columns(path, needed=("correct",))["correct"]
        return zero_or_one(column, f"{path}: correct"), None
    labelled = read_scores(path, lower_is_member=lower_is_member)
    return surest_first(labelled), len(labelled)


def read_cosines(path: Path) -> NDArray[np.float64]:
    """Return the column `cosine`, (n,), of the rows whose `member` is 1, if there is such a column."""
    columns = read_columns(path, needed=("cosine",))
    cosines = numbers(columns["cosine"], f"{path}: cosine")
    if "member" not in columns:
        return cosines
    member = zero_or_one(columns["member"], f"{path}: member")
    if member.shape != cosines.shape:
        raise InputError(f"{path}: cosine, member", (cosines.shape, member.shape), "two columns of one length")
    return cosines[member]


def guesses_of_lines(lines: Iterable[str]) -> Iterator[bool]:
    """Yield the column `correct` of csv lines as they come: nothing is read ahead."""
    reader = csv.DictReader(lines)
    try:
        found = list(reader.fieldnames or ())
        if "correct" not in found:
            expected = "a first line with the column correct"
            raise InputError("standard input", f"columns {', '.join(found) or 'none'}", expected)
        for row in reader:
            value = str(row["correct"] or "").strip()
            if value.lower() not in _WORDS:
                raise InputError(f"standard input, line {reader.line_num}: correct", value, "0 or 1")
            yield _WORDS[value.lower()]
    except (csv.Error, UnicodeError) as error:
        raise InputError("standard input", str(error), "lines of csv") from error


_WORDS = {"1": True, "true": True, "0": False, "false": False}


def _check(asked: Asked) -> None:
    """Refuse a hypothesis, delta or confidence that the method does not know, before anything is read."""
    check_confidence(asked.confidence)
    if not 0 <= asked.delta < 1:
        raise InputError("delta", asked.delta, "a number of at least 0 and below 1")
    if asked.promise is not None and not 0 <= asked.promise < math.inf:
        raise InputError("--promise", asked.promise, "a finite number of at least 0")
    ((name, hypothesis),) = asked.requests()
    known = method_named(name).hypotheses
    if hypothesis not in known:
        raise InputError("hypothesis", hypothesis, f"{' or '.join(known)}, which {name} can test")


def _noting(rights: Iterable[bool], read: list[bool]) -> Iterator[bool]:
    for right in rights:
        read.append(right)
        yield right
