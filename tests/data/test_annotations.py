"""Records that lack what a trainer reads of them are named."""

from __future__ import annotations

import numpy as np
import pytest

from dpaudit.data.annotations import check_complete
from dpaudit.data.examples import Examples
from dpaudit.errors import InputError


def records(captions: tuple[str, ...] | None = None, labels: tuple[int, ...] | None = None) -> Examples:
    return Examples(
        ids=np.array(["a", "b"]),
        images=np.zeros((2, 3, 4, 4), dtype=np.uint8),
        captions=captions,
        labels=None if labels is None else np.array(labels, dtype=np.int64),
    )


@pytest.mark.parametrize(
    ("found", "read", "refused"),
    [
        (records(), {"image", "label"}, "data labels = None"),
        (records(labels=(0, 1)), {"image", "caption"}, "data captions = None"),
        (records(captions=("a dog", "\n\t ")), {"caption"}, "caption of b = "),
    ],
)
def test_what_is_missing_is_named(found: Examples, read: set[str], refused: str) -> None:
    with pytest.raises(InputError, match=refused):
        check_complete(found, frozenset(read))


@pytest.mark.parametrize("read", [{"image"}, {"image", "caption"}, {"label"}, {"image", "caption", "label"}])
def test_whole_records_pass_and_what_is_not_read_may_be_missing(read: set[str]) -> None:
    check_complete(records(captions=("a dog", "a cat"), labels=(0, 1)), frozenset(read))
    check_complete(records(captions=("", "")), frozenset({"image"}))
