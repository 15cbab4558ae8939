"""The fingerprint of large files: both edges and the size are seen, and they are read once each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from dpaudit.data.files import fingerprint

if TYPE_CHECKING:
    from pathlib import Path

EDGE = 64 * 1024


@pytest.mark.parametrize("size", [0, 1, EDGE - 1, EDGE, EDGE + 1, 2 * EDGE - 1, 2 * EDGE, 2 * EDGE + 1, 5 * EDGE])
def test_size_and_edges_are_seen(size: int, tmp_path: Path) -> None:
    content = np.random.default_rng(size).integers(0, 256, size=size, dtype=np.uint8)
    path = tmp_path / "file"

    def of(data: bytes) -> str:
        path.write_bytes(data)
        return fingerprint((), [("file", path)])

    base = of(content.tobytes())
    assert of(content.tobytes()) == base
    assert of(content.tobytes() + b"\0") != base
    places = {0, size // 2 if size <= 2 * EDGE else 0, min(EDGE, size) - 1, max(size - EDGE, 0), size - 1}
    for place in places if size else ():
        changed = content.copy()
        changed[place] ^= 1
        assert of(changed.tobytes()) != base, place


def test_names_and_options_are_seen(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x")
    answers = {
        fingerprint((), []),
        fingerprint((), [("a", path)]),
        fingerprint((), [("b", path)]),
        fingerprint((), [("a", path), ("a", path)]),
        fingerprint((1,), [("a", path)]),
        fingerprint(("1",), [("a", path)]),
    }
    assert len(answers) == 6
