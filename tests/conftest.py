"""What several folders of tests share: a recipe small enough to run whole in seconds, and where real CIFAR-10 lies."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

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
