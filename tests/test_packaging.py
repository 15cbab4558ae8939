"""The package as it is installed: every folder is in it, links lead where they should, types are seen through."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_every_package_folder_is_listed() -> None:
    listed = set(SETTINGS["tool"]["setuptools"]["packages"])
    found = {
        ".".join(["dpaudit", *path.parent.relative_to(base).parts])
        for base in (ROOT / "dpaudit",)
        for path in base.rglob("__init__.py")
    }
    found |= {f"dpaudit.{name}" for name in ("attacks", "trainers", "reports")}
    assert found == listed


@pytest.mark.parametrize("name", ["attacks", "trainers", "reports"])
def test_links_are_relative_and_lead_to_the_top_level_folder(name: str) -> None:
    link = ROOT / "dpaudit" / name
    assert link.is_symlink()
    assert link.readlink() == Path("..") / name


def test_a_type_error_inside_an_attack_is_seen_by_mypy(tmp_path: Path) -> None:
    planted = tmp_path / "planted.py"
    planted.write_text("from dpaudit.attacks.loss import Loss\nvalue: int = Loss().needs\n")
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", str(ROOT / "pyproject.toml"), str(planted)]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 1
    assert 'expression has type "Needs", variable has type "int"' in answer.stdout


def test_readme_holds_the_two_commands() -> None:
    readme = (ROOT / "README.md").read_text()
    assert "\npip install -e . && dpaudit run quickstart\n" in readme
    assert '\npip install -e ".[test]" && python -m pytest\n' in readme


def test_importing_dpaudit_imports_no_torch() -> None:
    program = "import dpaudit, dpaudit.cli, sys; assert 'torch' not in sys.modules; print(dpaudit.__version__)"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == SETTINGS["project"]["version"]
