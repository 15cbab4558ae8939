"""What several folders of tests share: a recipe small enough to run whole in seconds, and where real CIFAR-10 lies."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dpaudit.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Parse = Callable[[str], None]

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is loaded, as the command line does
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # a process per core


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache folder of the tests' own: they share a pool of references, and leave none behind."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DPAUDIT_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def tiny() -> tuple[str, ...]:
    """Return settings that turn the quickstart into an audit of a few seconds."""
    return (
        "name=tiny",
        "privacy.steps=6",
        "privacy.batch_size=32",
        "runs.checkpoint_every=2",
        "data.limit=400",
        "data.split.audit_pool=60",
        "data.split.probe_train=80",
        "data.split.probe_test=60",
        "canaries.block=5000",
        "canaries.inputs.noise=10",
        "report.pictures=2",
    )


@pytest.fixture(scope="session")
def cifar10() -> Path:
    """The folder with train.parquet and test.parquet, or a skip."""
    beside = Path(__file__).parents[2] / "shared" / "data" / "cifar10"
    found = Path(os.environ.get("DPAUDIT_TEST_CIFAR10", beside))
    if not (found / "train.parquet").is_file():
        pytest.skip("no CIFAR-10 here: set DPAUDIT_TEST_CIFAR10 to a folder with train.parquet")
    return found


@pytest.fixture(scope="session")
def parse() -> Parse:
    """A function that reads one line of a shell as the command line would; InputError says what does not parse."""
    from typer.main import get_command  # noqa: PLC0415 (other tests do without)

    from dpaudit.cli.app import application  # noqa: PLC0415

    root: Any = get_command(application())
    end = re.compile(r"\s(?:[|>&;]|#)|\s<\s")

    def read(line: str) -> None:
        command = line.rpartition("| ")[2] if "| dpaudit " in line else line
        words = shlex.split(end.split(command)[0])
        if "dpaudit" not in words:
            raise InputError("line", line, "a command `dpaudit ...`")
        words, group, name = words[words.index("dpaudit") + 1 :], root, "dpaudit"
        try:
            context = group.make_context(name, list(words), resilient_parsing=not words or words[0].startswith("-"))
            while hasattr(group, "commands") and words and not words[0].startswith("-"):
                name, group, words = group.resolve_command(context, words)
                context = group.make_context(name, list(words), parent=context)
        except Exception as error:
            if not hasattr(error, "format_message"):
                raise
            raise InputError("line", line, f"a command that parses ({error.format_message()})") from error

    return read
