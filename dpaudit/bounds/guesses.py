"""From scores to guesses: the highest scores are guessed in, the lowest out, and the coins say how many were right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dpaudit.errors import InputError
from dpaudit.results import Counts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dpaudit.scores import LabelledScores

__all__ = ["Guesses", "counts_of", "guess", "surest_first"]


@dataclass(frozen=True, kw_only=True)
class Guesses:
    """What one run showed: of `canaries` fair coins `guesses` were guessed, `correct` of them rightly.

    canaries counts every coin tossed, guessed or not. guesses_in, guesses_out: how the guesses divide, where known.
    surest, surest_correct: how many of the guesses are in the first of two rank groups, and how many of those right.
    """

    canaries: int
    guesses: int
    correct: int
    guesses_in: int | None = None
    guesses_out: int | None = None
    surest: int = 0
    surest_correct: int = 0

    def __post_init__(self) -> None:
        if self.canaries < 1:
            raise InputError("canaries", self.canaries, "at least 1")
        if not 0 <= self.guesses <= self.canaries:
            raise InputError("guesses", self.guesses, f"a number from 0 to the {self.canaries} canaries")
        if not 0 <= self.correct <= self.guesses:
            raise InputError("correct", self.correct, f"a number from 0 to the {self.guesses} guesses")
        errors, surest_errors = self.guesses - self.correct, self.surest - self.surest_correct
        possible = 0 <= surest_errors <= min(self.surest, errors) and self.surest_correct <= self.correct
        if not possible or self.surest > self.guesses:
            expected = f"counts among {self.guesses} guesses of which {self.correct} are right"
            raise InputError("surest, of them correct", (self.surest, self.surest_correct), expected)


def guess(labelled: LabelledScores, *, guesses_in: int, guesses_out: int, surest: tuple[int, int] = (0, 0)) -> Guesses:
    """Return how many of the `guesses_in` highest scores are in and of the `guesses_out` lowest are out.

    The two numbers must be fixed before any coin is seen. Ties are broken by a fixed shuffle of the rows: it depends
    on no coin, and leaks none even when the rows come sorted by membership. surest: how many of the highest and of the
    lowest scores are the first rank group, fixed as well.

    >>> from dpaudit.scores import LabelledScores
    >>> labelled = LabelledScores(scores=np.array([3.0, 1.0, 2.0, 0.0]), member=np.array([True, False, False, True]))
    >>> guess(labelled, guesses_in=1, guesses_out=2).correct
    2
    """
    if guesses_in < 0 or guesses_out < 0 or guesses_in + guesses_out > len(labelled):
        raise InputError(
            "guesses in, out", (guesses_in, guesses_out), f"numbers that add up to at most {len(labelled)}"
        )
    if not (0 <= surest[0] <= guesses_in and 0 <= surest[1] <= guesses_out):
        raise InputError("surest in, out", surest, f"at most the {guesses_in} and {guesses_out} guesses")
    member = labelled.member[labelled.ascending]

    def right(inside: int, outside: int) -> int:
        return int(member[len(member) - inside :].sum()) + outside - int(member[:outside].sum())

    return Guesses(
        canaries=len(labelled),
        guesses=guesses_in + guesses_out,
        correct=right(guesses_in, guesses_out),
        guesses_in=guesses_in,
        guesses_out=guesses_out,
        surest=sum(surest),
        surest_correct=right(*surest),
    )


def surest_first(labelled: LabelledScores) -> NDArray[np.bool_]:
    """Return whether each guess is right, (n,), when candidates are guessed from both ends of the ranking inwards.

    The upper half is guessed in, the lower half out. Order and guesses depend on scores alone, ties on a fixed shuffle.

    >>> from dpaudit.scores import LabelledScores
    >>> labelled = LabelledScores(scores=np.array([3.0, 1.0, 2.0, 0.0]), member=np.array([True, False, False, True]))
    >>> surest_first(labelled).tolist()  # 0 is guessed out, 3 in, 1 out, 2 in
    [False, True, True, False]
    """
    member = labelled.member[labelled.ascending]
    from_middle = 2 * np.arange(len(member)) - (len(member) - 1)
    right = member == (from_middle > 0)
    return np.asarray(right[np.argsort(-np.abs(from_middle), kind="stable")], dtype=np.bool_)


def counts_of(runs: Sequence[Guesses]) -> Counts:
    """Return the counts of every run, in order, as a report shows them."""
    sides = [(run.guesses_in, run.guesses_out) for run in runs]
    known = [(inside, outside) for inside, outside in sides if inside is not None and outside is not None]
    known = known if len(known) == len(runs) else []
    return Counts(
        canaries=tuple(run.canaries for run in runs),
        guesses=tuple(run.guesses for run in runs),
        correct=tuple(run.correct for run in runs),
        guesses_in=tuple(inside for inside, _ in known),
        guesses_out=tuple(outside for _, outside in known),
    )
