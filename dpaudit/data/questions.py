"""Questions about an image, and how answers are compared (Antol et al. 2015, arXiv 1505.00468)."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["Question", "plain_answer"]

_AGREEING = 3  # people that make an answer fully right
_ARTICLES = frozenset({"a", "an", "the"})
_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_DIGITS = {word: str(number) for number, word in enumerate(_NUMBERS)}
_MARKS = re.compile(r"(?<!\d)[.,](?!\d)|[^\w\s.,:'%$/-]")


@dataclass(frozen=True, kw_only=True)
class Question:
    """A question and its answer. given: what each of several people said, empty where the answer is beyond doubt."""

    text: str
    answer: str
    given: tuple[str, ...] = ()

    def credit(self, answer: str) -> float:
        """Return how right an answer is, 0 to 1: min(1, people who said so / 3), or whether it is the one answer.

        The official measure takes the mean of that over all choices of nine of ten people; so does this one.

        >>> Question(text="how many?", answer="2", given=("2",) * 2 + ("two",) + ("3",) * 7).credit("Two")
        0.9
        """
        said = plain_answer(answer)
        if not self.given:
            return float(said == plain_answer(self.answer))
        alike = [plain_answer(each) == said for each in self.given]
        left_out = [min(1.0, (sum(alike) - one) / _AGREEING) for one in alike] if len(alike) > 1 else [float(alike[0])]
        return round(sum(left_out) / len(left_out), 12)


def plain_answer(answer: str) -> str:
    """Return an answer in small letters without articles and marks, numbers up to ten as digits.

    >>> plain_answer("The  Two dogs.")
    '2 dogs'
    """
    words = _MARKS.sub("", answer.lower()).split()
    return " ".join(_DIGITS.get(word, word) for word in words if word not in _ARTICLES)
