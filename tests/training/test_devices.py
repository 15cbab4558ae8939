"""A run computes where it is told to, keeps what it promises there, and says where it was."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import dpaudit
from dpaudit.dp import devices
from dpaudit.dp.devices import CPU, device_of
from dpaudit.dp.ledger import read_ledger
from dpaudit.dp.step import DpStep
from dpaudit.dp.tensors import beside, home, in_float64
from dpaudit.errors import InputError
from dpaudit.pipeline.order import open_audit
from dpaudit.training import place

if TYPE_CHECKING:
    from collections.abc import Callable

PRETEND = Path(__file__).with_name("pretend_gpu.py")
QUICK = ("of supervised", "step of vip, bookkeeping")
ROUNDING = 2e-3  # of weights behind AdamW, which divides rounding by rounding where a gradient is almost 0


def pretended(*arguments: str) -> object:
    """Return what a process says that has a GPU made of tensors which refuse to meet the CPU's."""
    command = [sys.executable, str(PRETEND), *arguments]
    settings = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=settings)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def there() -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = pretended(*QUICK)  # type: ignore[assignment]  # as `pretend_gpu.main` prints it
    return found


def test_nothing_of_a_step_stays_behind_on_the_cpu(there: dict[str, dict[str, float]]) -> None:
    """Each engine, micro-batches, canaries, noise, optimizer, average, checkpoint, signals, public stage, replay."""
    assert len(there["distances"]) == 7
    assert max(there["distances"].values()) < ROUNDING, there["distances"]


def test_what_stays_behind_is_found_out(there: dict[str, dict[str, float]]) -> None:
    caught = dict(there["caught"])
    assert caught.pop("nothing") is False
    assert len(caught) == 5
    assert all(caught.values()), caught


@pytest.mark.slow
def test_every_trainer_and_every_engine_work_there() -> None:
    found: dict[str, dict[str, float]] = pretended("of")  # type: ignore[assignment]  # as above
    assert len(found["distances"]) > 20
    assert max(found["distances"].values()) < ROUNDING, found["distances"]


@pytest.mark.slow
def test_a_whole_audit_works_there(tmp_path: Path, tiny: tuple[str, ...]) -> None:
    settings = [*tiny, "reproducible=true", "privacy.physical_batch_size=20", "canaries.coordinates=2"]
    assert pretended("audit", str(tmp_path), *settings) < 1e-5  # type: ignore[operator]  # a number
    ledgers = [read_ledger(tmp_path / name / "target-00" / "ledger.jsonl") for name in ("here", "there")]
    assert [row.drawn for row in ledgers[0]] == [row.drawn for row in ledgers[1]]
    manifest = json.loads((tmp_path / "there" / "target-00" / "manifest.json").read_text())
    assert manifest["compute"]["devices"] == [{"from_step": 0, "device": "gpu:0"}]


def gpus(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)


def test_auto_is_a_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus(monkeypatch, 0)
    assert device_of("auto") == CPU
    gpus(monkeypatch, 2)
    assert [str(device_of(name)) for name in ("auto", "cuda", "cuda:1", "cpu")] == ["cuda:0", "cuda:0", "cuda:1", "cpu"]
    assert [str(each) for each in devices.devices() if each.type != "mps"] == ["cuda:0", "cuda:1", "cpu"]


def test_each_process_of_a_machine_has_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus(monkeypatch, 2)
    found = []
    for rank in range(3):
        monkeypatch.setenv("LOCAL_RANK", str(rank))
        found.append((str(device_of("cuda")), str(device_of("auto")), str(device_of("cuda:1"))))
    assert found == [("cuda:0", "cuda:0", "cuda:1"), ("cuda:1", "cuda:1", "cuda:1"), ("cuda:0", "cuda:0", "cuda:1")]


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:7", "mps", "tpu"])
def test_a_device_that_is_not_here_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    gpus(monkeypatch, 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(InputError, match=f"compute.device = '{name}': expected a device that is here: cpu$"):
        device_of(name)


def test_the_key_of_a_run_holds_the_precision_and_not_the_device(tmp_path: Path) -> None:
    audits = {
        setting: open_audit("vip-micro", out=tmp_path, overrides=[setting])
        for setting in ("compute.device=auto", "compute.device=cuda:3", "compute.precision=bf16")
    }
    keys = {setting: (audit.key, audit.start_key) for setting, audit in audits.items()}
    assert keys["compute.device=auto"] == keys["compute.device=cuda:3"]
    assert not set(keys["compute.device=auto"]) & set(keys["compute.precision=bf16"])


def test_a_run_that_goes_on_elsewhere_says_so_and_ends_as_it_was_begun(
    tmp_path: Path, tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, original = [*tiny, "reproducible=true"], DpStep.__call__

    def interrupted(self: DpStep, step: int, *rest: object) -> object:
        if step == 3:
            raise KeyboardInterrupt
        return original(self, step, *rest)  # type: ignore[arg-type]  # passed on as they came

    monkeypatch.setattr(DpStep, "__call__", interrupted)
    monkeypatch.setattr(place, "in_words", lambda _: "cuda:0 (a GPU)")
    with pytest.raises(KeyboardInterrupt):
        dpaudit.train("quickstart", out=tmp_path, overrides=[*settings, "compute.device=auto"])
    monkeypatch.undo()
    dpaudit.train("quickstart", out=tmp_path, overrides=[*settings, "compute.device=cpu"])  # no refusal: same key
    manifest = json.loads((tmp_path / "target-00" / "manifest.json").read_text())
    assert manifest["compute"]["devices"] == [
        {"from_step": 0, "device": "cuda:0 (a GPU)"},
        {"from_step": 2, "device": "cpu"},
    ]
    assert "last bits" in manifest["compute"]["resume"]


def test_a_folder_of_a_gpu_is_attacked_on_a_cpu(
    tmp_path: Path, tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A finished run whose recipe asks for a device that is not here is refused in one line, and attacked elsewhere."""
    gpus(monkeypatch, 0)
    dpaudit.train("quickstart", out=tmp_path, overrides=[*tiny, "compute.device=cuda"], device="cpu")
    with pytest.raises(InputError, match=r"compute.device = 'cuda': .*; --device computes elsewhere \(.*recipe.yaml"):
        dpaudit.attack(tmp_path)
    assert "audit_block" in dpaudit.attack(tmp_path, device="cpu")


def test_a_batch_follows_its_model() -> None:
    model = torch.nn.Linear(2, 1)
    assert home(model) == CPU == home(torch.nn.Identity())
    batch = {"x": torch.zeros(3, 2)}
    assert beside(model, batch)["x"] is batch["x"]
    assert in_float64(batch["x"]).dtype == torch.float64


RECIPES: dict[str, Callable[[tuple[str, ...]], list[str]]] = {
    "float32": lambda tiny: [*tiny, "reproducible=true"],
    "bf16": lambda tiny: [*tiny, "reproducible=true", "compute.precision=bf16"],
}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", list(RECIPES))
def test_a_gpu_trains_what_the_cpu_trains(precision: str, tmp_path: Path, tiny: tuple[str, ...]) -> None:
    """The same records, noise and coins; weights and losses up to rounding."""
    settings = RECIPES[precision](tiny)
    runs = {
        name: dpaudit.train("quickstart", out=tmp_path / name, overrides=settings, device=name) / "target-00"
        for name in ("cpu", "cuda")
    }
    rows = {name: read_ledger(run / "ledger.jsonl") for name, run in runs.items()}
    assert [row.drawn for row in rows["cpu"]] == [row.drawn for row in rows["cuda"]]
    loose = 1e-4 if precision == "float32" else 3e-2
    for one, other in zip(rows["cpu"], rows["cuda"], strict=True):
        assert other.loss == pytest.approx(one.loss, rel=loose)
        assert other.noise_sum_of_squares == pytest.approx(one.noise_sum_of_squares, rel=1e-5)
        assert other.max_clipped_norm is not None
        assert other.max_clipped_norm <= other.clip_norm * (1 + 1e-5)
    here, there = (load_file(run / "model.safetensors") for run in runs.values())
    assert here.keys() == there.keys()
    for name, tensor in here.items():
        error = float((tensor - there[name]).abs().max())
        assert error <= 100 * loose * np.sqrt(float(tensor.square().mean())) + loose, name
