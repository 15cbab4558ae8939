"""An interrupted run continues to the same bits: killed by the operating system, at random moments."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import dpaudit
from dpaudit.dp.step import DpStep
from dpaudit.errors import DamagedRunError
from dpaudit.training import checkpoint

if TYPE_CHECKING:
    from pathlib import Path

FILES = ("target-00/model.safetensors", "target-00/ledger.jsonl", "target-00/sealed/coins.npz")


def command(folder: Path, tiny: tuple[str, ...]) -> list[str]:
    settings = [*tiny, "reproducible=true", "privacy.steps=24", "canaries.coordinates=2"]
    flags = [flag for setting in settings for flag in ("--set", setting)]
    return [sys.executable, "-m", "dpaudit", "train", "quickstart", "--out", str(folder), "--quiet", *flags]


def killed(folder: Path, tiny: tuple[str, ...], rows: int, seconds: float) -> bool:
    """Start training and kill -9 it some moments after the ledger has so many rows; return whether it still ran."""
    ledger = folder / "target-00" / "ledger.jsonl"
    process = subprocess.Popen(command(folder, tiny), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not (ledger.exists() and ledger.read_bytes().count(b"\n") >= rows):
        time.sleep(0.002)
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in (*FILES, *traces(folder))}


def traces(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in (folder / "target-00" / "trace").rglob("*.npy"))


def check(tmp_path: Path, tiny: tuple[str, ...], kills: int, seed: int) -> None:
    subprocess.run(command(tmp_path / "whole", tiny), check=True, stdout=subprocess.DEVNULL)
    moments = np.random.default_rng(seed)
    rows = np.sort(moments.integers(1, 20, size=kills))
    interrupted = [killed(tmp_path / "pieces", tiny, int(row), float(moments.uniform(0, 0.1))) for row in rows]
    assert any(interrupted)
    subprocess.run(command(tmp_path / "pieces", tiny), check=True, stdout=subprocess.DEVNULL)
    assert contents(tmp_path / "pieces") == contents(tmp_path / "whole")


@pytest.mark.slow
def test_a_kill(tmp_path: Path, tiny: tuple[str, ...]) -> None:
    check(tmp_path, tiny, kills=1, seed=1)


@pytest.mark.slow
def test_five_kills(tmp_path: Path, tiny: tuple[str, ...]) -> None:
    check(tmp_path, tiny, kills=5, seed=2)


OPTIMIZERS = {
    "own": (),
    "sgd": ("optimizer={name: sgd, learning_rate: 0.1, momentum: 0.9, schedule: {name: cosine, warmup: 2}}",),
    "adamw": ("optimizer={name: adamw, learning_rate: 0.01}", "weights.ema_decay=0.9"),
    "lars": ("optimizer={name: lars, learning_rate: 1.0, weight_decay: 0.1}", "weights.ema_decay=0.9"),
}


def tensors(file: Path) -> dict[str, torch.Tensor]:
    return dict(sorted(load_file(file).items()))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_checkpoint_is_a_place_to_go_on(
    name: str, tmp_path: Path, tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped by an error after every single step in turn, a run still ends with the bits of one that never stopped.

    Of the last checkpoint every tensor is compared: weights, the optimizer's state, and their average.
    """
    settings = [*tiny, "reproducible=true", "privacy.steps=5", "canaries.coordinates=2", *OPTIMIZERS[name]]
    whole = dpaudit.train("quickstart", out=tmp_path / "whole", overrides=settings)
    original = DpStep.__call__
    for stop in range(5):

        def interrupted(self: DpStep, step: int, *rest: object, stop: int = stop) -> object:
            if step == stop:
                raise KeyboardInterrupt
            return original(self, step, *rest)  # type: ignore[arg-type]  # passed on as they came

        monkeypatch.setattr(DpStep, "__call__", interrupted)
        with pytest.raises(KeyboardInterrupt):
            dpaudit.train("quickstart", out=tmp_path / "pieces", overrides=settings)
    monkeypatch.setattr(DpStep, "__call__", original)
    pieces = dpaudit.train("quickstart", out=tmp_path / "pieces", overrides=settings)
    assert contents(pieces) == contents(whole)
    for file in ("checkpoint/state.safetensors", *(["ema.safetensors"] if name in ("adamw", "lars") else [])):
        one, other = tensors(whole / "target-00" / file), tensors(pieces / "target-00" / file)
        assert one.keys() == other.keys()
        assert all(torch.equal(tensor, other[key]) for key, tensor in one.items())
    kinds = {key.split("/")[0] for key in tensors(whole / "target-00" / "checkpoint" / "state.safetensors")}
    assert kinds == {"model", "optimizer", *(["average"] if name in ("adamw", "lars") else [])}


def test_a_checkpoint_without_the_average_that_is_asked_for_is_refused(tmp_path: Path) -> None:
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    checkpoint.save(tmp_path / "state", model, optimizer, {}, step=3, seconds=1.0)
    assert checkpoint.restore(tmp_path / "state", model, optimizer, {}) == (3, 1.0)
    with pytest.raises(DamagedRunError, match="averages of 0 tensors"):
        checkpoint.restore(tmp_path / "state", model, optimizer, {"weight": torch.zeros(1, 2)})
