"""The command line as a person uses it: exit codes, one line for every failure, JSON, and a fast --help."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING

import pytest

from dpaudit.discovery import available

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Cli = Callable[..., tuple[int, str, str]]


def flags(settings: tuple[str, ...] | list[str]) -> list[str]:
    return [flag for setting in settings for flag in ("--set", setting)]


def test_help_lists_the_verbs_and_imports_no_torch() -> None:
    program = (
        "import sys\nsys.argv = ['dpaudit', '--help']\nfrom dpaudit.cli import main\n"
        "try: main()\nexcept SystemExit: pass\nassert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    for verb in ("run", "train", "attack", "bound", "account", "plan", "probe", "report", "list", "show", "doctor"):
        assert f"\n  {verb} " in answer.stdout


def test_the_version_is_that_of_the_package(cli: Cli) -> None:
    assert cli("--version") == (0, f"dpaudit {version('dpaudit')}\n", "")


def test_a_whole_audit_and_its_exit_codes(cli: Cli, tmp_path: Path, tiny: tuple[str, ...]) -> None:
    settings = [*tiny, "privacy.noise_multiplier=0.3", "privacy.claimed_epsilon=1"]
    code, out, err = cli("run", "quickstart", "--out", str(tmp_path / "run"), *flags(settings))
    assert code == 3
    assert "VIOLATED" in out
    assert "report:" in out
    assert err.endswith("dpaudit: verdict VIOLATED\n")
    assert "coins committed before step one, SHA-256" in err
    code, out, _ = cli("report", str(tmp_path / "run"), "--json", "--quiet")
    assert code == 3
    assert json.loads(out)["verdict"]["word"] == "VIOLATED"
    code, out, _ = cli("bound", str(tmp_path / "run"), "--quiet")
    assert code == 0
    assert out.splitlines()[0].split("\t")[0] == "threat model"
    code, out, _ = cli("probe", str(tmp_path / "run"), "--quiet", "--json")
    assert code == 0
    assert {row["features"] for row in json.loads(out)[0]["measurements"]} == {"trained", "untrained", "raw pixels"}


def test_a_finished_run_is_recognised_without_torch(cli: Cli, tmp_path: Path, tiny: tuple[str, ...]) -> None:
    program = (
        "import sys\nfrom dpaudit.cli import main\n"
        "try: main()\nexcept SystemExit as done: code = done.code\n"
        "else: code = 0\n"
        "print('TORCH' if 'torch' in sys.modules else 'NO TORCH'); sys.exit(code)"
    )
    arguments = ["run", "quickstart", "--out", str(tmp_path / "run"), *flags(tiny)]
    assert cli(*arguments)[0] == 0
    again = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert again.stdout.endswith("NO TORCH\n")
    assert again.stderr == ""


def test_shuffled_batches_earn_no_promise(cli: Cli, tmp_path: Path, tiny: tuple[str, ...]) -> None:
    settings = [*tiny, "privacy.sampling=shuffle", "probes=[]"]
    code, out, _ = cli("run", "quickstart", "--out", str(tmp_path / "run"), "-q", *flags(settings))
    assert code == 3
    assert "UNSOUND" in out or "VIOLATED" in out


def test_noise_from_a_public_seed_is_unsound(cli: Cli, tmp_path: Path, tiny: tuple[str, ...]) -> None:
    settings = [*tiny, "reproducible=true", "probes=[]"]
    code, out, _ = cli("run", "quickstart", "--out", str(tmp_path / "run"), "-q", *flags(settings))
    assert code == 3
    assert "UNSOUND" in out
    assert "secret" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "no-such-recipe"), "no-such-recipe"),
        (("run", "quickstart", "--set", "privacy.epsilonn=3"), "privacy.epsilonn"),
        (("run", "quickstart", "--set", "privacy.epsilon=-1"), "privacy.epsilon = -1"),
        (("run", "quickstart", "--set", "privacy.delta=2"), "privacy.delta = 2"),
        (("run", "quickstart", "--set", "privacy.steps=many"), "privacy.steps = 'many'"),
        (("bound", "no-such-folder"), "no-such-folder"),
        (("list", "nonsense"), "nonsense"),
        (("show", "nonsense"), "nonsense"),
        (
            ("account", "--noise-multiplier=1", "--batch-size=9", "--dataset-size=3", "--steps=1", "--delta=1e-5"),
            "--batch-size = 9",
        ),
        (
            ("account", "--noise-multiplier=1", "--batch-size=1", "--dataset-size=3", "--steps=1", "--delta=2"),
            "--delta = 2",
        ),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(cli: Cli, arguments: tuple[str, ...], message: str) -> None:
    code, out, err = cli(*arguments)
    assert code == 2
    assert out == ""
    assert err.startswith("dpaudit: ")
    assert err.count("\n") == 1
    assert message in err


def test_account_prints_every_accountant(cli: Cli) -> None:
    numbers = ("--noise-multiplier=1.2", "--batch-size=50", "--dataset-size=1000", "--steps=100", "--delta=1e-5")
    code, out, _ = cli("account", *numbers, "--json")
    assert code == 0
    statement = json.loads(out)
    found = {answer["accountant"]: answer["epsilon"] for answer in statement["guarantees"]}
    assert statement["event"]["kind"] == "SelfComposed"
    assert {premise["status"] for premise in statement["assumptions"]} == {"unknown"}
    assert found["PLD"] <= found["RDP"]
    assert found["PRV"] == pytest.approx(found["PLD"], rel=0.01)


def test_account_as_a_table_names_orders_estimate_and_premises(cli: Cli) -> None:
    numbers = ("--noise-multiplier=1.2", "--batch-size=50", "--dataset-size=1000", "--steps=100", "--delta=1e-5")
    code, out, _ = cli("account", *numbers, "--tuning-runs=1")
    assert code == 0
    lines = [line.split("\t") for line in out.splitlines()]
    assert [line[0] for line in lines if len(line) == 3] == [
        *("accountant", "PLD", "RDP", "PRV", "estimate"),
        *("accountant", "PLD", "RDP", "PRV"),
    ]
    assert "orders 1.1 to 10.9" in next(line[2] for line in lines if line[0] == "RDP")
    text = " ".join(out.split())
    assert "Together with 1 tuning run on the same data" in text
    assert "neither an upper nor a lower bound" in text
    assert "privacy unit; records do not mix; pre-training data is public." in text


def test_account_finds_what_a_target_allows(cli: Cli) -> None:
    sizes = ("--batch-size=1000", "--dataset-size=1000", "--sampling=full", "--delta=1e-5")
    code, out, _ = cli("account", "--epsilon=4.38", "--steps=16", *sizes, "--json")
    assert code == 0
    assert json.loads(out)["found"] == ["noise_multiplier"]
    assert json.loads(out)["mechanism"]["noise_multiplier"] == pytest.approx(4.0, rel=0.01)
    _, out, _ = cli("account", "--epsilon=4.38", "--noise-multiplier=4", *sizes)
    assert "found: steps = 16" in " ".join(out.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--epsilon=4",), "--noise-multiplier and --batch-size and --steps = None: expected one number left open"),
        (("--steps=3", "--batch-size=10"), "--noise-multiplier = None: expected a number, or a target epsilon"),
        (("--epsilon=4", "--steps=3", "--batch-size=10", "--noise-multiplier=1"), "--epsilon = 4.0: expected none"),
        (("--epsilon=0", "--steps=3", "--batch-size=10"), "--epsilon = 0.0: expected a number above 0"),
        (
            ("--sampling=full", "--steps=3", "--batch-size=10", "--noise-multiplier=1"),
            "--batch-size = 10: expected 100",
        ),
        (("--sampling=shuffle", "--epsilon=3", "--steps=3", "--batch-size=10"), "sound account"),
    ],
)
def test_account_says_which_number_is_missing_or_too_much(cli: Cli, arguments: tuple[str, ...], message: str) -> None:
    code, out, err = cli("account", "--dataset-size=100", "--delta=1e-5", *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("what", ["recipes", "attacks", "trainers", "datasets", "probes", "bounds"])
def test_list_names_what_there_is(cli: Cli, what: str) -> None:
    code, out, _ = cli("list", what)
    assert code == 0
    assert len(out.splitlines()) >= 2
    assert "broken" not in out


def test_show_prints_a_recipe_that_runs_and_a_schema(cli: Cli, tmp_path: Path) -> None:
    _, out, _ = cli("show", "quickstart")
    (tmp_path / "mine.yaml").write_text(out)
    code, out, _ = cli("show", str(tmp_path / "mine.yaml"), "--json")
    assert code == 0
    assert json.loads(out)["name"] == "quickstart"
    _, out, _ = cli("show", "schema")
    assert "privacy" in json.loads(out)["properties"]


def test_doctor_finds_nothing_wrong_here(cli: Cli) -> None:
    code, out, err = cli("doctor")
    assert code == 0, out + err
    assert "FAIL" not in out
    assert len(out.splitlines()) == 9 + len(available("trainers"))
