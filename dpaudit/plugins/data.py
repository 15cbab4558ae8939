"""What a data set offers: records with stable ids in any order, and what only some of them can say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from dpaudit.data.examples import Examples
    from dpaudit.data.questions import Question
    from dpaudit.data.scenes.words import Exchange

__all__ = ["AsksQuestions", "Dataset", "KnowsTruth", "Misdescribes"]


@runtime_checkable
class Dataset(Protocol):
    """Records with random access and stable ids; one record = one privacy unit; pairing and captions are fixed here."""

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Class names by label, or None without labels."""

    def __len__(self) -> int: ...

    def ids(self) -> NDArray[np.str_]:
        """Return all ids, (N,) strings, always in the same order."""

    def __getitem__(self, ids: NDArray[np.str_]) -> Examples:
        """Return the records with these ids, in this order. A decoding error names the file."""

    def fingerprint(self) -> str:
        """Return a short hash that changes when the data changes, without decoding any image."""


@runtime_checkable
class AsksQuestions(Protocol):
    """A capability of a data set: questions about its images, with answers from a closed, public list."""

    @property
    def answers(self) -> tuple[str, ...]:
        """Return the list, which was fixed without looking at the records."""

    def questions(self, ids: NDArray[np.str_]) -> Sequence[tuple[Question, ...]]:
        """Return the questions about each record, in this order."""


@runtime_checkable
class Misdescribes(Protocol):
    """A capability of a data set: a true caption of a record beside a false one that differs by one exchange."""

    def misdescribed(self, ids: NDArray[np.str_], exchanged: Exchange) -> Sequence[tuple[str, str] | None]:
        """Return (true, false) for each record, None where there is nothing to exchange."""


@runtime_checkable
class KnowsTruth(Protocol):
    """A capability of a data set: the directions that its pairs share are known, (d, rank)."""

    @property
    def truth(self) -> NDArray[np.float64]:
        """Return them as orthonormal columns."""
