"""Run folders: files are whole or absent, finished stages are recognised, damage is named."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from dpaudit.errors import DamagedRunError, DpauditError, InputError
from dpaudit.runs import RunFolder, content_key, read_json, write_atomically, write_json

if TYPE_CHECKING:
    from pathlib import Path


def test_equal_values_have_equal_keys_and_others_do_not() -> None:
    assert content_key({"a": 1, "b": [2]}) == content_key({"b": [2], "a": 1})
    assert len({content_key(value) for value in ({"a": 1}, {"a": 2}, {"a": "1"}, {"b": 1}, [1], 1)}) == 6


def test_a_full_disk_leaves_the_previous_file_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "value.json"
    write_json(path, {"state": "old"})

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DpauditError, match=r"no space left on the disk; the previous state is whole"):
        write_json(path, {"state": "new"})
    assert read_json(path) == {"state": "old"}
    assert [entry.name for entry in tmp_path.iterdir()] == ["value.json"]


def test_a_stage_is_done_only_with_its_key_and_untouched_outputs(tmp_path: Path) -> None:
    folder, output = RunFolder(tmp_path), tmp_path / "weights.bin"
    write_atomically(output, b"weights")
    assert not folder.done("train", "key")
    folder.finish("train", "key", [output], seconds=1.5)
    assert folder.done("train", "key")
    assert not folder.done("train", "another key")
    assert folder.facts("train")["seconds"] == 1.5


@pytest.mark.parametrize("damage", ["truncate", "edit", "delete"])
def test_a_damaged_output_is_named(tmp_path: Path, damage: str) -> None:
    folder, output = RunFolder(tmp_path), tmp_path / "model.safetensors"
    write_atomically(output, b"0123456789")
    folder.finish("train", "key", [output])
    match damage:
        case "truncate":
            output.write_bytes(b"01234")
        case "edit":
            output.write_bytes(b"0123456780")
        case "delete":
            output.unlink()
    with pytest.raises(DamagedRunError, match=r"model\.safetensors") as caught:
        folder.done("train", "key")
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


def test_half_a_json_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"run": "target-')
    with pytest.raises(DamagedRunError, match=r"manifest\.json"):
        read_json(tmp_path / "manifest.json")


def test_a_second_process_is_told_that_the_folder_is_taken(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib\nfrom dpaudit.runs import RunFolder\nfrom dpaudit.errors import InputError\n"
        "try:\n    with RunFolder(pathlib.Path(sys.argv[1])).lock(): pass\n"
        "except InputError as error:\n    print(error)\n"
    )
    with RunFolder(tmp_path).lock():
        answer = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True
        )
    assert "no other dpaudit process is working in" in answer.stdout


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"--out"), RunFolder(tmp_path / "file" / "run").lock():
        raise AssertionError("the lock must not be had")
