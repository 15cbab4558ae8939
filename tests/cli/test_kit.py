"""`dpaudit new` writes what works and overwrites nothing; `dpaudit check` says so by its exit code."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING

import pytest

import dpaudit
from dpaudit.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path


def command(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dpaudit", *words], cwd=folder, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a package of every kind."""
    folder = tmp_path_factory.mktemp("kit")
    for kind in ("attack", "trainer", "probe"):
        written = dpaudit.new(kind, f"own-{kind}", folder / kind)
        assert sorted(path.name for path in written.iterdir()) == sorted(
            [f"own_{kind}.py", "pyproject.toml", f"test_own_{kind}.py"]
        )
    return folder


def test_every_package_declares_its_entry_point(packages: Path) -> None:
    for kind in ("attack", "trainer", "probe"):
        settings = tomllib.loads((packages / kind / "pyproject.toml").read_text())
        points = settings["project"]["entry-points"][f"dpaudit.{kind}s"]
        assert points == {f"own-{kind}": f"own_{kind}:Own{kind.capitalize()}"}
        assert settings["tool"]["setuptools"]["py-modules"] == [f"own_{kind}"]


def test_the_tests_that_are_written_pass(packages: Path) -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "attack", "trainer", "probe"],
        cwd=packages,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stdout
    assert "3 passed" in answer.stdout


@pytest.mark.parametrize(
    ("kind", "name", "expected"),
    [
        ("thing", "mine", "one of attack, trainer, probe"),
        ("attack", "Mine", "small letters and digits"),
        ("attack", "../mine", "small letters and digits"),
        ("attack", "1st", "small letters and digits"),
        ("attack", "lambda", "no word of Python"),
        ("attack", "loss", "a name that none of the attacks has"),
        ("trainer", "vip", "a name that none of the trainers has"),
        ("probe", "numpy", "a module numpy is installed"),
    ],
)
def test_bad_names_are_refused_and_nothing_is_written(
    kind: str, name: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=expected):
        dpaudit.new(kind, name)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(InputError, match="nothing is overwritten"):
        dpaudit.new("attack", "mine", tmp_path / "mine")
    assert list((tmp_path / "mine").iterdir()) == []


REVERSED = """
from dataclasses import dataclass
from dpaudit.plugins import SIGNALS, Needs

@dataclass(frozen=True)
class Reversed:
    sign: float = 1.0
    needs = Needs(access="outputs", families=("pool",), capabilities=(SIGNALS["loss"].capability,))

    def score(self, view):
        return self.sign * view.target.signal("loss", view.candidates.records, view.rng)
"""


def test_check_leaves_with_3_where_something_fails_and_with_2_where_nothing_can_be_checked(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(REVERSED)
    wrong = command("check", "./mine.py:Reversed", folder=tmp_path)
    assert wrong.returncode == 3
    assert "FAIL  direction: members score lower" in wrong.stdout
    assert wrong.stderr == "dpaudit: ./mine.py:Reversed fails: direction\n"
    right = command("check", "./mine.py:Reversed", "--set", "sign=-1.0", "--json", folder=tmp_path)
    assert right.returncode == 0
    found = json.loads(right.stdout)
    assert {each["status"] for each in found} == {"passed"}
    assert [each["check"] for each in found][:3] == ["contract", "shape", "finite"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("nothing-of-the-kind", "the name of an attack, trainer or probe"),
        ("./nowhere.py:Mine", "a file that exists"),
        ("dpaudit.rng:Rng", "it lacks .* must have"),
    ],
)
def test_what_is_no_plug_in_is_refused(name: str, expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        dpaudit.check(name)
