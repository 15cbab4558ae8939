"""The data set `vqa`: images with questions and answers, in the JSON files of VQAv2 or of VizWiz.

Goyal et al. 2017 (arXiv 1612.00837); Gurari et al. 2018 (arXiv 1802.08218). One record is an image with all its
questions: they tell of the same picture, and belong to one privacy unit.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from dpaudit.data.annotations import Index, Indexed
from dpaudit.data.decode import check_image_size, decode
from dpaudit.data.files import IMAGE_SUFFIXES, existing, fingerprint, walk
from dpaudit.data.questions import Question
from dpaudit.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from dpaudit.data.examples import Examples

__all__ = ["Vqa"]

_NUMBER = re.compile(r"(\d+)$")


@dataclass(frozen=True, kw_only=True)
class Vqa(Indexed):
    """Images with questions. One record = one image that is asked about, its id the path below the folder.

    path: folder of images. layout: vqav2 (questions and annotations in two files, an image known by the number at its
    name's end) or vizwiz (one file, an image known by its name; leave `questions` empty). answers: a public list of
    answers, a JSON list or one per line: it must not be counted in private records. Caption: the first question with
    its answer. No labels.
    """

    path: str
    image_size: int
    annotations_file: str
    answers_file: str
    questions_file: str = ""
    layout: Literal["vqav2", "vizwiz"] = "vqav2"

    def __post_init__(self) -> None:
        check_image_size(self.image_size)
        if (self.layout == "vqav2") != bool(self.questions_file):
            expected = "the file with the questions" if self.layout == "vqav2" else "nothing: vizwiz has one file"
            raise InputError("questions_file", self.questions_file, expected)

    def __getitem__(self, ids: NDArray[np.str_]) -> Examples:
        """Return the records with these ids, in this order."""
        positions = self._index.positions(ids)
        files = ((str(self._folder / name), self._folder / name) for name in self._index.ids[positions].tolist())
        return self._index.examples(positions, decode(files, len(positions), self.image_size))

    def fingerprint(self) -> str:
        """Return a hash of the options and of every file's name, size and edges; decodes nothing."""
        texts = [(name, existing("data file", name)) for name in self._texts]
        images = [(name, self._folder / name) for name in self.ids().tolist()]
        return fingerprint(("vqa", self.image_size, self.layout), [*texts, *images])

    def questions(self, ids: NDArray[np.str_]) -> list[tuple[Question, ...]]:
        """Return the questions about each record, in this order."""
        self._index.positions(ids)  # names the first id that is not here
        return [self._asked[name] for name in np.asarray(ids, dtype=np.str_).tolist()]

    @cached_property
    def answers(self) -> tuple[str, ...]:
        """The public list; InputError where it is empty."""
        text = existing("answers_file", self.answers_file).read_text(encoding="utf-8")
        listed = json.loads(text) if text.lstrip().startswith("[") else text.splitlines()
        found = tuple(dict.fromkeys(str(each).strip() for each in listed if str(each).strip()))
        if not found:
            raise InputError("answers_file", self.answers_file, "a public list of answers, not an empty one")
        return found

    @property
    def _texts(self) -> list[str]:
        return [name for name in (self.questions_file, self.annotations_file, self.answers_file) if name]

    @cached_property
    def _folder(self) -> Path:
        folder = existing("data path", self.path)
        if not folder.is_dir():
            raise InputError("data path", str(folder), "a folder of images")
        return folder

    @cached_property
    def _asked(self) -> dict[str, tuple[Question, ...]]:
        found: dict[str, list[Question]] = {}
        try:
            for name, question in self._of_vqav2() if self.layout == "vqav2" else self._of_vizwiz():
                found.setdefault(name, []).append(question)
        except (KeyError, TypeError) as error:
            expected = f"records as {self.layout} has them ({type(error).__name__}: {error})"
            raise InputError("annotations_file", self.annotations_file, expected) from error
        if not found:
            raise InputError("annotations_file", self.annotations_file, "a question about an image of the folder")
        return {name: tuple(found[name]) for name in sorted(found)}

    @cached_property
    def _index(self) -> Index:
        captions = [f"{questions[0].text} {questions[0].answer}".strip() for questions in self._asked.values()]
        return Index(ids=np.array(list(self._asked)), captions=captions)

    def _of_vqav2(self) -> Iterator[tuple[str, Question]]:
        texts = {each["question_id"]: each["question"] for each in self._read(self.questions_file, "questions")}
        files = self._by_number()
        for each in self._read(self.annotations_file, "annotations"):
            if each["question_id"] not in texts:
                raise InputError("questions_file", self.questions_file, f"the question {each['question_id']}")
            if each["image_id"] in files:
                given = tuple(answer["answer"] for answer in each.get("answers", ()))
                question = Question(text=texts[each["question_id"]], answer=each["multiple_choice_answer"], given=given)
                yield files[each["image_id"]], question

    def _of_vizwiz(self) -> Iterator[tuple[str, Question]]:
        there = set(walk(self._folder, IMAGE_SUFFIXES))
        for each in self._read(self.annotations_file):
            given = tuple(answer["answer"] for answer in each.get("answers", ()))
            if each["image"] in there and given:
                yield each["image"], Question(text=each["question"], answer=_commonest(given), given=given)

    def _by_number(self) -> dict[int, str]:
        names = sorted(walk(self._folder, IMAGE_SUFFIXES))
        found = ((_NUMBER.search(Path(name).stem), name) for name in names)
        return {int(number[1]): name for number, name in found if number}

    def _read(self, name: str, key: str | None = None) -> list[dict[str, Any]]:
        path = existing("data file", name)
        try:
            whole = json.loads(path.read_text(encoding="utf-8"))
            rows: list[dict[str, Any]] = whole if key is None else whole[key]
            return [dict(row) for row in rows]
        except (ValueError, KeyError, TypeError) as error:
            expected = f"JSON as {self.layout} has it ({type(error).__name__}: {error})"
            raise InputError("data file", str(path), expected) from error


def _commonest(given: tuple[str, ...]) -> str:
    """Return what most people said, the first of equals."""
    return max(dict.fromkeys(given), key=given.count)
