"""VQAv2's and VizWiz's JSON: one record per image, with its questions, and one line for what is wrong with a file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from dpaudit.data.questions import plain_answer
from dpaudit.data.vqa import Vqa
from dpaudit.errors import InputError
from dpaudit.plugins import AsksQuestions, Dataset

if TYPE_CHECKING:
    from pathlib import Path


def said(*answers: str) -> list[dict[str, Any]]:
    return [{"answer": each, "answer_confidence": "yes", "answer_id": n} for n, each in enumerate(answers, 1)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    images = tmp_path / "images"
    images.mkdir()
    for number in (7, 42, 9):
        pixels = np.full((12, 10, 3), number, dtype=np.uint8)
        Image.fromarray(pixels).save(images / f"COCO_train2014_{number:012d}.jpg")
    questions = [
        {"image_id": 42, "question": "What is this?", "question_id": 420},
        {"image_id": 42, "question": "How many?", "question_id": 421},
        {"image_id": 7, "question": "Is it raining?", "question_id": 70},
        {"image_id": 99, "question": "Where?", "question_id": 990},
    ]
    annotations = [
        {"question_id": 420, "image_id": 42, "multiple_choice_answer": "dog", "answers": said("dog", "dog", "cat")},
        {"question_id": 421, "image_id": 42, "multiple_choice_answer": "2", "answers": said("2", "2", "two")},
        {"question_id": 70, "image_id": 7, "multiple_choice_answer": "no", "answers": said("no", "no", "yes")},
        {"question_id": 990, "image_id": 99, "multiple_choice_answer": "here", "answers": said("here")},
    ]
    (tmp_path / "questions.json").write_text(json.dumps({"questions": questions}))
    (tmp_path / "annotations.json").write_text(json.dumps({"annotations": annotations}))
    rows = [
        {"image": f"COCO_train2014_{42:012d}.jpg", "question": "What?", "answers": said("soup", "can", "can")},
        {"image": "missing.jpg", "question": "What?", "answers": said("x")},
    ]
    (tmp_path / "vizwiz.json").write_text(json.dumps(rows))
    (tmp_path / "answers.txt").write_text("dog\ncat\n\n2\nno\ndog\n")
    return tmp_path


def vqav2(folder: Path, **options: Any) -> Vqa:
    given: dict[str, Any] = {
        "path": str(folder / "images"),
        "image_size": 8,
        "questions_file": str(folder / "questions.json"),
        "annotations_file": str(folder / "annotations.json"),
        "answers_file": str(folder / "answers.txt"),
    }
    return Vqa(**(given | options))


def vizwiz(folder: Path) -> Vqa:
    return vqav2(folder, layout="vizwiz", questions_file="", annotations_file=str(folder / "vizwiz.json"))


def test_vqav2_is_one_record_per_image_that_is_asked_about(folder: Path) -> None:
    data = vqav2(folder)
    assert isinstance(data, Dataset)
    assert isinstance(data, AsksQuestions)
    ids = data.ids()
    assert ids.tolist() == [f"COCO_train2014_{7:012d}.jpg", f"COCO_train2014_{42:012d}.jpg"]
    records = data[ids]
    assert records.images.shape == (2, 3, 8, 8)
    assert abs(int(records.images[1].mean()) - 42) < 3
    assert records.captions == ("Is it raining? no", "What is this? dog")
    questions = data.questions(ids[::-1])
    assert [[each.text for each in asked] for asked in questions] == [
        ["What is this?", "How many?"],
        ["Is it raining?"],
    ]
    assert questions[0][1].given == ("2", "2", "two")
    assert data.answers == ("dog", "cat", "2", "no")
    assert data.classes is None


def test_vizwiz_names_its_images_and_takes_the_commonest_answer(folder: Path) -> None:
    data = vizwiz(folder)
    (question,) = data.questions(data.ids())[0]
    assert (len(data), question.answer, question.given) == (1, "can", ("soup", "can", "can"))


def test_answers_may_be_a_json_list(folder: Path) -> None:
    (folder / "answers.txt").write_text('["yes", "no"]')
    assert vqav2(folder).answers == ("yes", "no")


def test_the_fingerprint_knows_questions_and_images(folder: Path) -> None:
    before = vqav2(folder).fingerprint()
    assert before == vqav2(folder).fingerprint() != vqav2(folder, image_size=9).fingerprint()
    (folder / "answers.txt").write_text("dog")
    assert vqav2(folder).fingerprint() != before


@pytest.mark.parametrize(
    ("name", "text", "refused"),
    [
        ("answers.txt", "\n", "answers_file = .*a public list of answers, not an empty one"),
        ("questions.json", "{}", "JSON as vqav2 has it \\(KeyError: 'questions'\\)"),
        ("questions.json", "{", "JSON as vqav2 has it \\(JSONDecodeError"),
        ("questions.json", '{"questions": []}', "the question 420"),
        (
            "annotations.json",
            '{"annotations": [{"image_id": 7}]}',
            "records as vqav2 has them \\(KeyError: 'question_id'",
        ),
        ("annotations.json", '{"annotations": []}', "a question about an image of the folder"),
    ],
)
def test_a_damaged_file_is_one_line(folder: Path, name: str, text: str, refused: str) -> None:
    (folder / name).write_text(text)
    data = vqav2(folder)
    with pytest.raises(InputError, match=refused):
        _ = data.ids(), data.answers


def test_what_is_missing_is_named(folder: Path) -> None:
    with pytest.raises(InputError, match="questions_file = '': expected the file with the questions"):
        vqav2(folder, questions_file="")
    with pytest.raises(InputError, match="vizwiz has one file"):
        vqav2(folder, layout="vizwiz")
    with pytest.raises(InputError, match=r"data id = 'x\.jpg'"):
        vqav2(folder).questions(np.array(["x.jpg"]))


def test_answers_are_compared_plainly() -> None:
    assert plain_answer("An  Apple!") == "apple"
    assert plain_answer("3.5") == "3.5"
    assert plain_answer("THE end.") == "end"
    assert plain_answer("ten o'clock") == "10 o'clock"
