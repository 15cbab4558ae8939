"""The documents are true: commands parse, recipes are recipes, Python runs, the API page is made, links lead on."""

from __future__ import annotations

import json
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from dpaudit.calls.sweeps import grid
from dpaudit.recipes.recipe import load_recipe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
#: Python blocks that are excerpts of the code, to be read
EXCERPTS = {"docs/design.md"}
COMMAND = re.compile(r"\s*(?:\$ )?(?:\w+=\S+ )*(?:torchrun [^#]*-m |python -m |[\w./ -]+ \| )?dpaudit [a-z-]+(?: |$)")
TRAINS = re.compile(r"dpaudit\.(run|train|sweep|report|attack|probe)\(")


def blocks(page: Path) -> Iterator[tuple[str, str]]:
    """Yield language and text of every fenced block."""
    for found in re.finditer(r"^```([\w-]*)\n(.*?)^```", page.read_text(), re.M | re.S):
        yield found[1], found[2]


def shell_lines(text: str) -> Iterator[str]:
    """Yield the commands of this tool in a block, or among the lines of a page that are indented as code."""
    for line in text.replace("\\\n", " ").splitlines():
        for part in re.split(r"\s&&\s|;\s", line):
            if COMMAND.match(part):
                yield part.strip().removeprefix("$ ")


def commands() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        name = page.relative_to(ROOT).as_posix()
        whole = page.read_text().replace("\\\n", " ")
        indented = "\n".join(line for line in whole.splitlines() if line.startswith("    "))
        texts = [text for language, text in blocks(page) if language in ("", "sh", "bash", "console", "shell")]
        for text in (*texts, indented):
            for line in shell_lines(text):
                yield name, line


def python_pages(*, trains: bool) -> list[Path]:
    """Return the pages whose Python trains, or does not: a page is run as a whole, its blocks in order."""
    pages = [page for page in PAGES if page.relative_to(ROOT).as_posix() not in EXCERPTS]
    return [page for page in pages if (code := python_of(page)) and bool(TRAINS.search(code)) == trains]


def python_of(page: Path) -> str:
    return "\n".join(text for language, text in blocks(page) if language == "python")


def run_page(page: Path, folder: Path) -> None:
    script = folder / "page.py"
    script.write_text(python_of(page))
    answer = subprocess.run([sys.executable, script.name], cwd=folder, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr


def test_every_command_of_the_documents_parses(parse: Callable[[str], None]) -> None:
    found = list(commands())
    assert len(found) > 60
    wrong = []
    for page, line in found:
        try:
            parse(line)
        except Exception as error:  # all of them are told, not the first alone
            wrong.append(f"{page}: {line}: {error}")
    assert not wrong, "\n".join(wrong)


def test_a_command_that_is_wrong_would_be_found() -> None:
    text = "pip install x && dpaudit run q\nit says: dpaudit run q\nA=1 dpaudit list\nx | dpaudit bound -"
    assert list(shell_lines(text)) == ["dpaudit run q", "A=1 dpaudit list", "x | dpaudit bound -"]


def settings_of(section: str, value: object) -> Iterator[str]:
    """Yield a section of a recipe as overrides: of data and privacy each key, for both have keys without a default."""
    if section in ("data", "privacy") and isinstance(value, dict):
        for key, inner in value.items():
            yield f"{section}.{key}={json.dumps(inner)}"
    else:
        yield f"{section}={json.dumps(value)}"


def test_every_yaml_block_is_a_recipe_or_part_of_one() -> None:
    found = 0
    for page in PAGES:
        for language, text in blocks(page):
            if language in ("yaml", "yml"):
                recipe = yaml.safe_load(text)
                if "attacks" in recipe and "bounds" not in recipe:
                    recipe["bounds"] = {"decide": []}  # those of the quickstart name its own attacks
                load_recipe("quickstart", [setting for each in recipe.items() for setting in settings_of(*each)])
                found += 1
    assert found


@pytest.mark.parametrize("page", python_pages(trains=False), ids=lambda page: page.name)
def test_python_of_a_page_runs(page: Path, tmp_path: Path) -> None:
    run_page(page, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("page", python_pages(trains=True), ids=lambda page: page.name)
def test_python_of_a_page_that_trains_runs(page: Path, tmp_path: Path) -> None:
    run_page(page, tmp_path)


def test_the_sweeps_of_the_tutorial_are_grids() -> None:
    assert len(grid("quickstart", {"trainer": [{"name": "vip", "size": "micro"}, "dp-cap"]})) == 2


def test_the_api_page_is_made_from_the_docstrings() -> None:
    made = runpy.run_path(str(ROOT / "docs" / "api.py"))["page"]()
    assert (ROOT / "docs" / "api.md").read_text() == made, "python docs/api.py > docs/api.md"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)", page.read_text()):
        file = (page.parent / target).resolve() if target else page
        assert file.exists(), f"{page.name} links to {target}"
        if anchor:
            titles = re.findall(r"^#+ (.+)$", file.read_text(), re.M)
            assert anchor in {re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-") for title in titles}


def test_every_page_is_in_the_navigation_and_links_stay_inside_the_site() -> None:
    listed = set(re.findall(r": ([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.M))
    assert listed == {page.relative_to(ROOT / "docs").as_posix() for page in (ROOT / "docs").rglob("*.md")}
    for page in (ROOT / "docs").rglob("*.md"):
        for target in re.findall(r"\]\((?!https?:)([^)#\s]+)", page.read_text()):
            assert (page.parent / target).resolve().is_relative_to(ROOT / "docs"), f"{page.name} links to {target}"


@pytest.mark.skipif(shutil.which("mkdocs") is None, reason="the extra docs is not installed")
def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    command = ["mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    assert (tmp_path / "site" / "choosing.html").is_file()
