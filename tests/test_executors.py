"""Executors: in this process, in local ones, or on a Ray cluster where there is one."""

from __future__ import annotations

import importlib.util
import os

import pytest

from dpaudit.errors import InputError
from dpaudit.executors import Executor, executor


def process_of(item: int) -> tuple[int, int, str | None]:
    return item, os.getpid(), os.environ.get("OMP_NUM_THREADS")


@pytest.mark.parametrize(("jobs", "items"), [(1, [3, 1, 2]), (None, [3]), (2, [])])
def test_one_job_or_one_item_needs_no_other_process(jobs: int | None, items: list[int]) -> None:
    assert [(item, own) for item, own, _ in Executor(jobs=jobs).each(process_of, items)] == [
        (item, os.getpid()) for item in items
    ]


def test_local_processes_have_one_thread_each() -> None:
    found = list(Executor(jobs=2).each(process_of, list(range(4))))
    assert sorted(item for item, _, _ in found) == [0, 1, 2, 3]
    assert os.getpid() not in {own for _, own, _ in found}
    assert {threads for _, _, threads in found} == {"1"}


@pytest.mark.skipif(importlib.util.find_spec("ray") is not None, reason="ray is installed")
def test_ray_is_an_extra() -> None:
    with pytest.raises(InputError, match=r"--executor = 'ray': expected ray to be installed: pip install"):
        list(executor("ray", 2).each(process_of, [1, 2]))


@pytest.mark.slow
def test_a_local_ray_cluster_does_the_work() -> None:
    pytest.importorskip("ray")
    assert sorted(item for item, _, _ in executor("ray", 2).each(process_of, [1, 2, 3])) == [1, 2, 3]


def test_bad_use_is_refused() -> None:
    with pytest.raises(InputError, match="--executor = 'slurm': expected one of local, ray"):
        executor("slurm")
    with pytest.raises(InputError, match="--jobs = 0"):
        executor(jobs=0)
