"""Visual question answering from frozen vectors: an answer out of a closed list, from an image and a question."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dpaudit.data.questions import plain_answer
from dpaudit.errors import DpauditError, InputError
from dpaudit.plugins import AsksQuestions
from dpaudit.probes.linear import WORTH_THREADS, wilson
from dpaudit.results import Interval, Measurement, ProbeResult

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from dpaudit.data.examples import Examples
    from dpaudit.data.questions import Question
    from dpaudit.plugins import ProbeData, SharedSpace
    from dpaudit.rng import Rng

__all__ = ["Vqa"]


@dataclass(frozen=True, kw_only=True)
class Vqa:
    """Logistic regression from [image vector, question vector, their product] to the answers of a public list.

    answers: the list, empty = the data set's own. penalty: inverse L2 penalty C. most_questions: to learn from, the
    first of the probe's training records. confidence: of the interval, over draws of test images (their questions
    are drawn together). Beside each model stands what its question vectors alone answer; beside all, the commonest
    answer. Credit for an answer: `dpaudit.data.questions.Question.credit`; none where it is not in the list.

    >>> Vqa().reads_text, Vqa().reads_questions
    (True, True)
    """

    answers: tuple[str, ...] = ()
    penalty: float = 0.1
    max_iter: int = 1000
    most_questions: int = 20_000
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if not 0 < self.penalty < np.inf:
            raise InputError("penalty", self.penalty, "a positive number")
        for name in ("max_iter", "most_questions"):
            if getattr(self, name) < 1:
                raise InputError(name, getattr(self, name), "a positive number")
        if not 0 < self.confidence < 1:
            raise InputError("confidence", self.confidence, "a number between 0 and 1, both excluded")

    @property
    def reads_text(self) -> bool:
        """Return that `measure` takes unit vectors of images and texts."""
        return True

    @property
    def reads_questions(self) -> bool:
        """Return that `measure` asks the data set for questions."""
        return True

    def measure(self, features: Mapping[str, SharedSpace], data: ProbeData, rng: Rng) -> ProbeResult:  # noqa: ARG002 (a contract)
        """Return the mean credit of every model, of its question vectors alone, and of the commonest answer."""
        if not isinstance(data.source, AsksQuestions):
            raise InputError("probe data", type(data.source).__name__, "a data set that asks questions")
        known = self._known(data.source)
        train = _asked(data.source, data.train).answered(known).first(self.most_questions)
        test = _asked(data.source, data.test)
        classes, commonest = np.unique(train.targets(known), return_counts=True)
        if len(classes) < 2 or not len(test.questions):
            found = f"{len(classes)} different answers to learn, {len(test.questions)} questions to test"
            raise InputError("probe data, questions", found, "two answers of the list or more, and one question")
        said = {"commonest answer": np.full(len(test.questions), classes[commonest.argmax()])}
        detail: dict[str, float | int | str] = {"answers in the list": len(known)}
        for name, space in features.items():
            for label, kind in ((name, _joined), (f"{name}, question alone", _question_alone)):
                x, held = (kind(*each.vectors(name, space)) for each in (train, test))
                said[label], stopped = self._fitted(x, train.targets(known), held)
                detail[f"fits not converged ({label})"] = stopped
        return ProbeResult(
            probe="vqa",
            run="",
            metric="accuracy",
            measurements=tuple(
                Measurement(features=name, score=self._score(test, [known[k] for k in answers.tolist()]))
                for name, answers in _models_first(said).items()
            ),
            train_size=len(train.questions),
            test_size=len(test.questions),
            detail=detail,
        )

    def _known(self, source: AsksQuestions) -> tuple[str, ...]:
        known = tuple(dict.fromkeys(plain_answer(answer) for answer in self.answers or source.answers))
        if not known:
            raise InputError("answers", self.answers, "a public list of answers, not an empty one")
        return known

    def _fitted(
        self, x: NDArray[np.float32], y: NDArray[np.int64], held: NDArray[np.float32]
    ) -> tuple[NDArray[np.int64], int]:
        """Return the answers to the held-out rows, as places in the list, and whether the fit stopped early."""
        from sklearn.exceptions import ConvergenceWarning  # noqa: PLC0415  # sklearn takes a second to import
        from sklearn.linear_model import LogisticRegression  # noqa: PLC0415  # as above
        from sklearn.pipeline import make_pipeline  # noqa: PLC0415  # as above
        from sklearn.preprocessing import StandardScaler  # noqa: PLC0415  # as above
        from threadpoolctl import threadpool_limits  # noqa: PLC0415  # as above

        model = make_pipeline(StandardScaler(), LogisticRegression(C=self.penalty, max_iter=self.max_iter))
        threads = 1 if x.size < WORTH_THREADS else None
        with warnings.catch_warnings(record=True) as caught, threadpool_limits(threads, user_api="blas"):
            warnings.simplefilter("always", ConvergenceWarning)  # told in the result instead
            model.fit(x.astype(np.float64), y)
        answers: NDArray[np.int64] = model.predict(held.astype(np.float64))
        return answers, int(any(issubclass(warning.category, ConvergenceWarning) for warning in caught))

    def _score(self, asked: _Asked, answers: Sequence[str]) -> Interval:
        """Return the mean credit; its interval is Wilson's at the number of questions that images are worth."""
        credit = np.array([question.credit(answer) for question, answer in zip(asked.questions, answers, strict=True)])
        mean, images = float(credit.mean()), int(asked.rows.max()) + 1
        by_image = np.bincount(asked.rows, weights=credit - mean, minlength=images)
        variance = float(np.square(by_image).sum()) / len(credit) ** 2
        worth = mean * (1 - mean) / variance if variance > 0 else len(np.unique(asked.rows))
        worth = min(worth, len(credit))
        return wilson(mean * worth, worth, self.confidence)


class _Asked(NamedTuple):
    """Questions, each with the row (n,) of the record that it is about."""

    records: Examples
    questions: tuple[Question, ...]
    rows: NDArray[np.int64]

    def answered(self, known: tuple[str, ...]) -> _Asked:
        """Return the questions whose answer is in the list."""
        kept = [k for k, question in enumerate(self.questions) if plain_answer(question.answer) in known]
        return _Asked(self.records, tuple(self.questions[k] for k in kept), self.rows[kept])

    def first(self, count: int) -> _Asked:
        return _Asked(self.records, self.questions[:count], self.rows[:count])

    def targets(self, known: tuple[str, ...]) -> NDArray[np.int64]:
        """Return where each answer stands in the list."""
        places = {answer: place for place, answer in enumerate(known)}
        return np.array([places[plain_answer(question.answer)] for question in self.questions], dtype=np.int64)

    def vectors(self, name: str, space: SharedSpace) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the vectors of each question's image and text, both (n, d)."""
        seen, asked = space(self.records)[self.rows], space.texts([question.text for question in self.questions])
        if not (np.isfinite(seen).all() and np.isfinite(asked).all()):
            raise DpauditError(f"probe vqa: vectors ({name}) are not finite")
        return seen, asked


def _asked(source: AsksQuestions, records: Examples) -> _Asked:
    def pairs() -> Iterator[tuple[int, Question]]:
        for row, questions in enumerate(source.questions(records.ids)):
            yield from ((row, question) for question in questions)

    found = list(pairs())
    rows = np.array([row for row, _ in found], dtype=np.int64)
    return _Asked(records, tuple(question for _, question in found), rows)


def _joined(seen: NDArray[np.float32], asked: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.concatenate([seen, asked, seen * asked], axis=1)


def _question_alone(seen: NDArray[np.float32], asked: NDArray[np.float32]) -> NDArray[np.float32]:  # noqa: ARG001 (as above)
    return asked


def _models_first(said: dict[str, NDArray[np.int64]]) -> dict[str, NDArray[np.int64]]:
    """Return models, then what they say of questions alone, then the commonest answer."""
    return dict(sorted(said.items(), key=lambda each: (each[0] == "commonest answer", "alone" in each[0])))
