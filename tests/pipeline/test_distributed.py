"""Several processes give the model and the ledger of one; when one of them is killed, the others say so and stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import dpaudit
from dpaudit.dp.devices import one_thread
from dpaudit.dp.processes import Alone, current
from dpaudit.errors import DpauditError
from dpaudit.pipeline.distributed import follows, shared

if TYPE_CHECKING:
    from collections.abc import Sequence

SETTINGS = (
    "reproducible=true",
    "canaries.block=200",
    "canaries.coordinates=1",
    "privacy.physical_batch_size=6",
    "weights.ema_decay=0.9",
)
#: one thread each: torch splits a matrix product by threads, and its last bits with it
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("TORCHELASTIC")} | {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}


def command(processes: int, folder: Path, settings: Sequence[str]) -> list[str]:
    flags = [flag for setting in settings for flag in ("--set", setting)]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    return [sys.executable, *launcher, "-m", "dpaudit", "train", "quickstart", "--out", str(folder), *flags]


def alone(folder: Path, settings: Sequence[str]) -> None:
    with one_thread():
        dpaudit.train("quickstart", out=folder, overrides=settings)


def trained(processes: int, folder: Path, settings: Sequence[str]) -> tuple[int, str, str]:
    done = subprocess.run(
        command(processes, folder, settings), capture_output=True, text=True, check=False, env=ENVIRONMENT
    )
    return done.returncode, done.stdout, done.stderr


def files(folder: Path) -> list[Path]:
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file() and path.name != ".lock")


def distance(one: Path, other: Path, name: str) -> float:
    first, second = load_file(one / "target-00" / name), load_file(other / "target-00" / name)
    assert first.keys() == second.keys()
    return max(float((tensor - second[key]).abs().max()) for key, tensor in first.items())


def check_same(one: Path, other: Path) -> None:
    """Check that two runs are one: ledger and trace to the bit, weights and their average to 1e-5."""
    assert files(one) == files(other)
    for name in ("ledger.jsonl", "trace/block/steps-000000000.npy"):
        assert (one / "target-00" / name).read_bytes() == (other / "target-00" / name).read_bytes(), name
    for name in ("model.safetensors", "ema.safetensors"):
        assert distance(one, other, name) <= 1e-5


def test_two_processes_train_as_one(tmp_path: Path, tiny: tuple[str, ...]) -> None:
    settings = [*tiny, *SETTINGS, "privacy.steps=4"]
    alone(tmp_path / "one", settings)
    code, out, err = trained(2, tmp_path / "two", settings)
    assert code == 0, err
    assert (out.count("trained:"), err.count("coins committed")) == (1, 1)  # the leader alone speaks
    check_same(tmp_path / "one", tmp_path / "two")
    ledger = (tmp_path / "one" / "target-00" / "ledger.jsonl").read_text().splitlines()
    assert len(ledger) == 4


@pytest.mark.slow
def test_the_leader_alone_makes_the_public_stage_and_all_start_from_it(tmp_path: Path, tiny: tuple[str, ...]) -> None:
    start = "start={pretrain: {data: {name: procedural, size: 40}, batch_size: 8, steps: 6}}"
    settings = [*tiny, *SETTINGS, "privacy.steps=2", start]
    alone(tmp_path / "one", settings)
    code, _, err = trained(2, tmp_path / "two", settings)
    assert code == 0, err
    assert err.count("train public stage: done") == 1
    one, two = (tmp_path / name / "start" / "model.safetensors" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
    assert distance(tmp_path / "one", tmp_path / "two", "model.safetensors") <= 1e-5


@pytest.mark.slow
def test_bad_input_is_one_line_of_one_process(tmp_path: Path) -> None:
    code, _, err = trained(2, tmp_path / "run", ["privacy.stepz=4"])
    assert code != 0
    assert [line for line in err.splitlines() if line.startswith("dpaudit:")] == [
        "dpaudit: privacy.stepz = 4: expected a known name; did you mean 'steps'? (--set)"
    ]
    assert not (tmp_path / "run").exists()


def test_one_process_leads_itself_and_joins_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert not follows()
    with shared() as leads:
        assert leads
        assert (current().rank, current().size) == (0, 1)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert follows()
    monkeypatch.setenv("RANK", "0")
    assert not follows()


def test_alone_a_sum_is_what_it_was_and_an_error_is_raised() -> None:
    tensor = torch.ones(2)
    Alone().add([tensor])
    assert tensor.tolist() == [1, 1]
    Alone().check(None)
    with pytest.raises(DpauditError, match="mine"):
        Alone().check(DpauditError("mine"))


@pytest.mark.slow
def test_fifty_steps_of_two_and_four_processes_are_those_of_one(tmp_path: Path, tiny: tuple[str, ...]) -> None:
    settings = [*tiny, *SETTINGS, "privacy.steps=50", "runs.checkpoint_every=10", "privacy.batch_size=40"]
    alone(tmp_path / "1", settings)
    for processes in (2, 4):
        assert trained(processes, tmp_path / str(processes), settings)[0] == 0
        check_same(tmp_path / "1", tmp_path / str(processes))


@pytest.mark.slow
def test_processes_share_the_batches_of_a_stream(tmp_path: Path, tiny: tuple[str, ...]) -> None:
    stream = ["privacy.sampling=shuffle", "privacy.shuffle_buffer=7", "privacy.adjacency=replace-one"]
    settings = [*tiny, *SETTINGS, *stream, "privacy.steps=20", "runs.checkpoint_every=10"]
    alone(tmp_path / "1", settings)
    for processes in (2, 3):
        code, _, err = trained(processes, tmp_path / str(processes), settings)
        assert code == 0, err
        check_same(tmp_path / "1", tmp_path / str(processes))


@pytest.mark.slow
def test_a_killed_process_ends_the_run_and_any_number_resumes_it(tmp_path: Path, tiny: tuple[str, ...]) -> None:
    settings = [*tiny, *SETTINGS, "privacy.steps=40", "runs.checkpoint_every=3"]
    whole, pieces = tmp_path / "whole", tmp_path / "pieces"
    alone(whole, settings)
    for kill, processes in ((1, 3), (0, 2)):
        code, err = killed(pieces, settings, kill=kill, processes=processes)
        assert code != 0
        lines = [line for line in err.splitlines() if line.startswith("dpaudit:")]
        survivors = [rank for rank in range(processes) if rank != kill]
        assert len(lines) == len(survivors)
        for rank in survivors:
            assert sum(f"process {rank} of {processes} " in line for line in lines) == 1
        assert all("the same command continues at the last checkpoint" in line for line in lines)
        assert not (pieces / "target-00" / "model.safetensors").exists()
    assert trained(2, pieces, settings)[0] == 0
    check_same(whole, pieces)


def killed(folder: Path, settings: Sequence[str], *, kill: int, processes: int) -> tuple[int, str]:
    """Start a run, kill -9 one of its processes some rows on, and return the exit code and what was said."""
    ledger = folder / "target-00" / "ledger.jsonl"
    before = ledger.read_bytes().count(b"\n") if ledger.exists() else 0
    started = subprocess.Popen(
        command(processes, folder, settings),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )
    while started.poll() is None and not (ledger.exists() and ledger.read_bytes().count(b"\n") > before):
        time.sleep(0.01)
    os.kill(child(started.pid, kill), signal.SIGKILL)
    _, err = started.communicate(timeout=120)
    return started.returncode, err


def child(launcher: int, rank: int) -> int:
    """Return the process of a rank, among the children of the launcher."""
    tasks = Path(f"/proc/{launcher}/task").glob("*/children")
    pids = [int(pid) for task in tasks for pid in task.read_text().split()]
    ranks = {pid: Path(f"/proc/{pid}/environ").read_bytes().split(b"\0") for pid in pids}
    return next(pid for pid, lines in ranks.items() if f"RANK={rank}".encode() in lines)


def test_the_check_sees_a_weight_that_differs(tmp_path: Path) -> None:
    for name in ("a", "b"):
        folder = tmp_path / name / "target-00"
        (folder / "trace" / "block").mkdir(parents=True)
        np.save(folder / "trace" / "block" / "steps-000000000.npy", np.zeros(3))
        (folder / "ledger.jsonl").write_text("{}\n")
        for weights in ("model", "ema"):
            save_file({"w": torch.zeros(2)}, folder / f"{weights}.safetensors")
    check_same(tmp_path / "a", tmp_path / "b")
    save_file({"w": torch.tensor([0.0, 2e-5])}, tmp_path / "b" / "target-00" / "ema.safetensors")
    with pytest.raises(AssertionError):
        check_same(tmp_path / "a", tmp_path / "b")
