"""How thresholds and numbers of guesses are chosen: closed types without a default.

Choosing on the coins that then test costs confidence, so each strategy says where it chooses and what it pays.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

import numpy as np

from dpaudit.errors import InputError
from dpaudit.scores import LabelledScores

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dpaudit.results import Surest

__all__ = [
    "Bonferroni",
    "Dkw",
    "FixedGuesses",
    "FixedThreshold",
    "GuessStrategy",
    "KFold",
    "Split",
    "ThresholdStrategy",
]


@dataclass(frozen=True, kw_only=True)
class FixedGuesses:
    """So many guesses in and out, fixed before any coin was seen, for example by the planner: costs nothing.

    surest: of two rank groups the first, and what an error in it weighs, as fixed as the rest.
    """

    guesses_in: int
    guesses_out: int
    surest: Surest | None = None

    def __post_init__(self) -> None:
        if self.guesses_in < 0 or self.guesses_out < 0:
            raise InputError("guesses in, out", (self.guesses_in, self.guesses_out), "numbers of at least 0")

    def __str__(self) -> str:
        words = f"fixed: {self.guesses_in} in, {self.guesses_out} out"
        if self.surest is None:
            return words
        first = f"{self.surest.guesses_in} in and {self.surest.guesses_out} out"
        return f"{words}; an error among the surest {first} counts {self.surest.weight}"


@dataclass(frozen=True, kw_only=True)
class FixedThreshold:
    """A score above `threshold` means "in"; fixed before any coin was seen: costs nothing."""

    threshold: float

    def __post_init__(self) -> None:
        if not math.isfinite(self.threshold):
            raise InputError("threshold", self.threshold, "a finite number")

    def __str__(self) -> str:
        return f"fixed: in above {self.threshold:g}"


@dataclass(frozen=True, kw_only=True)
class Split:
    """Choose on a random part of the rows, test on the rest: costs the rows of the part.

    fraction: of the rows, on which to choose. seed: of the split, fixed before any coin was seen.
    """

    fraction: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.fraction < 1:
            raise InputError("fraction", self.fraction, "a number between 0 and 1, both excluded")

    def __str__(self) -> str:
        return f"split: chosen on {self.fraction:.0%} of the rows, tested on the rest"

    def parts(self, labelled: LabelledScores) -> tuple[LabelledScores, LabelledScores]:
        """Return the rows to choose on and the rows to test on; the split depends on the number of rows alone.

        >>> rows = LabelledScores(scores=np.arange(10.0), member=np.ones(10, dtype=np.bool_))
        >>> [len(part) for part in Split(fraction=0.3).parts(rows)]
        [3, 7]
        """
        shuffled = np.random.default_rng(self.seed).permutation(len(labelled))
        chosen = round(self.fraction * len(labelled))
        if not 0 < chosen < len(labelled):
            expected = f"at least one of {len(labelled)} rows to choose on and one to test on"
            raise InputError("fraction", self.fraction, expected)
        return _rows(labelled, shuffled[:chosen]), _rows(labelled, shuffled[chosen:])


@dataclass(frozen=True, kw_only=True)
class KFold:
    """Choose on each of `folds` random parts in turn, test on the others at alpha / folds: costs a factor on alpha.

    Every choice is tested on (folds - 1) / folds of the rows, where `Split` tests one choice on what it left.
    """

    folds: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        if self.folds < 2:
            raise InputError("folds", self.folds, "at least 2")

    def __str__(self) -> str:
        return f"{self.folds} folds: chosen on each in turn, tested on the others at alpha / {self.folds}"

    def parts(self, labelled: LabelledScores) -> list[tuple[LabelledScores, LabelledScores]]:
        """Return, for each fold, the rows to choose on and the rows to test on."""
        shuffled = np.random.default_rng(self.seed).permutation(len(labelled))
        folds = np.array_split(shuffled, self.folds)
        others = [np.concatenate([fold for fold in folds if fold is not chosen]) for chosen in folds]
        return [(_rows(labelled, chosen), _rows(labelled, rest)) for chosen, rest in zip(folds, others, strict=True)]


@dataclass(frozen=True, kw_only=True)
class Dkw:
    """All thresholds at once, inside the band of Dvoretzky, Kiefer and Wolfowitz with Massart's constant (1990).

    Costs sqrt(ln(2 / alpha) / (2 n)) on each error rate. For independent trials only.
    """

    def __str__(self) -> str:
        return "all thresholds at once (DKW band)"


Choice = TypeVar("Choice", FixedGuesses, FixedThreshold)


@dataclass(frozen=True, kw_only=True)
class Bonferroni(Generic[Choice]):
    """Each of a list of choices that was fixed before any coin was seen, at alpha / length."""

    choices: tuple[Choice, ...]

    def __post_init__(self) -> None:
        if not self.choices:
            raise InputError("choices", self.choices, "at least one")

    def __str__(self) -> str:
        return f"the best of {len(self.choices)} fixed choices, each at alpha / {len(self.choices)}"


GuessStrategy: TypeAlias = FixedGuesses | Split | KFold | Bonferroni[FixedGuesses]
ThresholdStrategy: TypeAlias = FixedThreshold | Split | KFold | Dkw | Bonferroni[FixedThreshold]


def _rows(labelled: LabelledScores, rows: NDArray[np.intp]) -> LabelledScores:
    return LabelledScores(scores=labelled.scores[rows], member=labelled.member[rows])
