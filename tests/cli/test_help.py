"""What every verb shares: examples that parse, --json, -v and -q, the command that continues, completion."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from dpaudit.cli import app
from dpaudit.cli.app import continuation
from dpaudit.cli.spoken import examples, summary, verbs
from dpaudit.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Cli = Callable[..., tuple[int, str, str]]
    Parse = Callable[[str], None]

VERBS = verbs()
#: verbs that show no progress: they answer from what is there, or in a moment
AT_ONCE = {"account", "gate", "compare", "list", "show", "doctor", "new", "check"}


def flags(command: Any) -> set[str]:
    return {name for parameter in command.params for name in parameter.opts}


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_an_example_that_parses_prints_json_and_says_more_or_less(verb: str, parse: Parse) -> None:
    found = examples(VERBS[verb])
    assert found, f"the help of {verb} has no example"
    for line in found:
        assert f"dpaudit {verb}" in line
        parse(line)
    assert "--json" in flags(VERBS[verb])
    if verb not in AT_ONCE:
        assert {"--quiet", "-q", "--verbose", "-v"} <= flags(VERBS[verb])


def test_all_verbs_are_listed_with_an_example(cli: Cli) -> None:
    code, out, _ = cli("list", "verbs")
    assert code == 0
    rows = [line.split("\t") for line in out.splitlines()]
    assert [row[0] for row in rows[1:]] == list(VERBS)
    for row in rows[1:]:
        assert row[1] == summary(VERBS[row[0]])
        assert row[2] in examples(VERBS[row[0]])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("dpaudit run", "Missing argument"),
        ("dpaudit run quickstart --sett a=1", "No such option"),
        ("dpaudit runn quickstart", "No such command"),
        ("dpaudit sweep quickstart --jobs 0", "greater than or equal to 1"),
        ("echo nothing", "dpaudit"),
    ],
)
def test_an_example_that_does_not_parse_is_found(line: str, message: str, parse: Parse) -> None:
    with pytest.raises(InputError, match=message):
        parse(line)


def test_a_shell_line_is_parsed_up_to_its_pipe(parse: Parse) -> None:
    parse("DPAUDIT_CACHE=/x dpaudit show quickstart > mine.yaml   # copy it")
    parse("torchrun --nproc-per-node 4 -m dpaudit train quickstart")
    parse("cat guesses | dpaudit bound - --method betting --canaries 9 --delta 1e-5")


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["/bin/dpaudit", "run", "a b.yaml", "--fresh"], "; this continues where it was: dpaudit run 'a b.yaml'"),
        (["x/__main__.py", "train", "q"], "; this continues where it was: python -m dpaudit train q"),
        (["dpaudit", "plan", "q"], ""),
        (["dpaudit"], ""),
    ],
)
def test_the_command_that_continues_is_printed_as_it_can_be_pasted(argv: list[str], said: str) -> None:
    assert continuation(argv) == said


def test_control_c_prints_the_command_that_continues(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(_: str | None) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(app, "application", stopped)
    code, out, err = cli("run", "quickstart", "--set", "privacy.epsilon=2", "--fresh")
    assert (code, out) == (130, "")
    assert err == "dpaudit: stopped; this continues where it was: dpaudit run quickstart --set privacy.epsilon=2\n"


def test_verbose_shows_where_a_failure_came_from_and_quiet_beside_it_is_refused(cli: Cli) -> None:
    code, _, err = cli("plan", "no-such-recipe", "-v")
    assert code == 2
    assert err.startswith("Traceback")
    assert err.splitlines()[-1].startswith("dpaudit: recipe = 'no-such-recipe'")
    code, _, err = cli("plan", "quickstart", "-v", "-q")
    assert code == 2
    assert err.endswith("dpaudit: --quiet = True: expected no --verbose beside it\n")
    _, _, err = cli("plan", "no-such-recipe")
    assert err.count("\n") == 1


def test_completion_is_installed_and_completes_verbs(tmp_path: Path) -> None:
    program = "import sys; sys.argv[0] = 'dpaudit'; from dpaudit.cli import main; main()"
    command, here = [sys.executable, "-c", program], os.environ | {"HOME": str(tmp_path)}
    here |= {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}  # a test may have no shell above it: it is named
    install = [*command, "--install-completion", "bash"]
    installed = subprocess.run(install, env=here, capture_output=True, text=True, check=True)
    assert "installed" in installed.stdout
    assert "_DPAUDIT_COMPLETE" in (tmp_path / ".bash_completions" / "dpaudit.sh").read_text()
    asked = {"_DPAUDIT_COMPLETE": "complete_bash", "COMP_WORDS": "dpaudit swe", "COMP_CWORD": "1"}
    answer = subprocess.run(command, env=here | asked, capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["sweep"]
