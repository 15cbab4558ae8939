"""Executors: in this process, in local ones, or on a Ray cluster where there is one."""

from __future__ import annotations

import importlib.util
import os
import shutil
from typing import TYPE_CHECKING

import pytest

import dpaudit
from dpaudit.errors import InputError
from dpaudit.executors import Executor, executor

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


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


RECIPE = """
name: cluster
data: {name: digits, image_size: 8, limit: 60, split: {audit_pool: 40, probe_train: 10, probe_test: 10}}
trainer: {name: supervised, model: cnn, image_size: 8, width: 2, peak_learning_rate: 0.5}
privacy: {epsilon: 8, clip_norm: 1, batch_size: 16, steps: 3}
canaries: {block: 0}
references: {count: 2}
attacks: [{name: reference_difference, family: pool}]
bounds: {decide: []}
"""


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield the pool of a local Ray cluster of two processes, which know where it lies."""
    ray = pytest.importorskip("ray")
    monkeypatch.setenv("DPAUDIT_CACHE", str(tmp_path / "pool"))
    ray.init(num_cpus=2, include_dashboard=False)
    yield tmp_path / "pool"
    ray.shutdown()


@pytest.mark.slow
def test_a_local_ray_cluster_does_the_work(cluster: Path, tmp_path: Path) -> None:
    on_ray = executor("ray", 2)
    found = list(on_ray.each(process_of, [1, 2, 3]))
    assert sorted(item for item, _, _ in found) == [1, 2, 3]
    assert os.getpid() not in {own for _, own, _ in found}
    assert {threads for _, _, threads in found} == {"1"}
    recipe = tmp_path / "cluster.yaml"
    recipe.write_text(RECIPE)
    assert dpaudit.train_references(recipe, out=tmp_path / "run", executor=on_ray) == (2, 2)
    assert len(list(cluster.rglob("model.safetensors"))) == 2
    trained = weights(cluster)
    shutil.rmtree(cluster)
    assert dpaudit.train_references(recipe, out=tmp_path / "run", executor=executor(jobs=1)) == (2, 2)
    assert weights(cluster) == trained


def weights(pool: Path) -> dict[str, bytes]:
    """Return the files of weights in a pool by their folders."""
    return {path.parent.name: path.read_bytes() for path in pool.rglob("model.safetensors")}


def test_bad_use_is_refused() -> None:
    with pytest.raises(InputError, match="--executor = 'slurm': expected one of local, ray"):
        executor("slurm")
    with pytest.raises(InputError, match="--jobs = 0"):
        executor(jobs=0)
