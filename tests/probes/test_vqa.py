"""Visual question answering from vectors: beside question alone and the commonest answer, on a closed list."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from dpaudit.data.digits import Digits
from dpaudit.data.questions import Question
from dpaudit.data.scenes.source import Scenes
from dpaudit.data.tokens.words import SCENES
from dpaudit.errors import InputError
from dpaudit.plugins import AsksQuestions, Probe, ProbeData, ReadsQuestions
from dpaudit.probes.vqa import Vqa
from dpaudit.rng import Rng

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dpaudit.data.examples import Examples

KEY = Rng.from_seed(2)
SOURCE = Scenes(size=180, image_size=8)


class Sees:
    """Image vectors that tell a scene's shape and number; texts as bags of words."""

    def __init__(self, *, blind: bool) -> None:
        self.blind = blind

    def __call__(self, examples: Examples, /) -> NDArray[np.float32]:
        if self.blind:
            return np.random.default_rng(0).normal(size=(len(examples), 64)).astype(np.float32)
        rows = [self._bag(caption) for caption in examples.captions or ()]
        return np.array(rows, dtype=np.float32)

    def texts(self, captions: Sequence[str], /) -> NDArray[np.float32]:
        return np.array([self._bag(caption) for caption in captions], dtype=np.float32)

    def _bag(self, text: str) -> list[float]:
        words = SCENES.words
        said = text.replace(",", "").replace("?", "").split()
        vector = np.array([said.count(word) for word in words] + [0] * (64 - len(words)), dtype=np.float64)
        return list(vector / max(float(np.linalg.norm(vector)), 1e-9))


def halves() -> ProbeData:
    ids = SOURCE.ids()
    return ProbeData(train=SOURCE[ids[:120]], test=SOURCE[ids[120:]], classes=SOURCE.classes, source=SOURCE)


def test_it_is_a_probe_that_reads_questions() -> None:
    assert isinstance(Vqa(), Probe)
    assert isinstance(Vqa(), ReadsQuestions)
    assert isinstance(SOURCE, AsksQuestions)
    assert not isinstance(Digits(), AsksQuestions)


def test_an_image_answers_more_than_the_question_and_a_blind_model_does_not() -> None:
    result = Vqa().measure({"trained": Sees(blind=False), "untrained": Sees(blind=True)}, halves(), KEY)
    scores = {each.features: each.score for each in result.measurements}
    assert list(scores) == [
        *("trained", "untrained"),
        *("trained, question alone", "untrained, question alone"),
        "commonest answer",
    ]
    assert scores["trained"].low > scores["trained, question alone"].high
    assert scores["untrained"].value < scores["trained, question alone"].high
    assert scores["trained, question alone"].low > scores["commonest answer"].value
    assert scores["trained, question alone"] == scores["untrained, question alone"]
    questions = SOURCE.questions(SOURCE.ids()[120:])
    assert result.test_size == sum(map(len, questions))


def test_the_interval_counts_images_not_questions() -> None:
    result = Vqa().measure({"trained": Sees(blind=False)}, halves(), KEY)
    score = result.measurements[0].score
    naive = 1.96 * np.sqrt(score.value * (1 - score.value) / result.test_size)
    assert score.low < score.value < score.high
    assert (score.high - score.low) / 2 > 0.9 * naive


def test_an_answer_outside_the_list_is_no_lesson_and_never_right() -> None:
    data = halves()
    result = Vqa(answers=("yes", "no")).measure({"trained": Sees(blind=False)}, data, KEY)
    whole = [question for each in SOURCE.questions(data.test.ids) for question in each]
    share = np.mean([question.answer in {"yes", "no"} for question in whole])
    assert result.test_size == len(whole)
    assert all(each.score.value <= share for each in result.measurements)


@pytest.mark.parametrize(
    ("options", "expected"),
    [({"penalty": 0.0}, "penalty"), ({"most_questions": 0}, "most_questions"), ({"confidence": 1.0}, "confidence")],
)
def test_bad_options_are_named(options: dict[str, float], expected: str) -> None:
    with pytest.raises(InputError, match=f"^{expected} = "):
        Vqa(**options)  # type: ignore[arg-type]  # on purpose


class Mute(Scenes):
    """Scenes whose list of answers is empty."""

    @property
    def answers(self) -> tuple[str, ...]:
        return ()


def test_an_empty_list_of_answers_is_one_line() -> None:
    data, features = halves(), {"trained": Sees(blind=True)}
    mute = ProbeData(train=data.train, test=data.test, classes=data.classes, source=Mute(size=180, image_size=8))
    with pytest.raises(InputError, match=r"^answers = \(\): expected a public list of answers, not an empty one$"):
        Vqa().measure(features, mute, KEY)
    with pytest.raises(InputError, match="0 different answers to learn"):
        Vqa(answers=("purple",)).measure(features, data, KEY)
    digits = ProbeData(train=data.train, test=data.test, classes=(), source=Digits())
    with pytest.raises(InputError, match="a data set that asks questions"):
        Vqa().measure(features, digits, KEY)


def test_credit_is_the_official_one() -> None:
    people = Question(text="what?", answer="dog", given=("dog",) * 2 + ("A dog.",) + ("cat",) * 2 + ("x",) * 5)
    assert people.credit("the dog") == pytest.approx(0.9)  # 7 of ten choices of nine hold three, 3 hold two
    assert people.credit("cat") == pytest.approx((2 * 1 / 3 + 8 * 2 / 3) / 10)
    assert people.credit("x") == 1.0
    assert people.credit("y") == 0.0
    assert Question(text="how many?", answer="two").credit("2") == 1.0
