"""Where to compute, as the command line asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dpaudit.calls.doctor import _devices
from dpaudit.dp.devices import device_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--device", "cuda:9"], "--device = 'cuda:9': expected a device that is here:"),
        (["--set", "compute.device=cuda:9"], "compute.device = 'cuda:9': expected a device that is here:"),
        (["--set", "compute.device=gpu"], "compute.device = 'gpu': expected auto, cpu, cuda, cuda:N or mps (--set)"),
        (["--set", "compute.precision=fp16"], "compute.precision = 'fp16': expected one of 'float32' or 'bf16'"),
        (
            ["--device", "cpu", "--set", "compute.precision=bf16", "--set", "privacy.engine=functional"],
            "compute.precision = 'bf16': expected float32, or privacy.engine bookkeeping",
        ),
    ],
)
def test_bad_input_is_one_line_before_anything_is_written(
    arguments: list[str], line: str, tmp_path: Path, cli: Callable[..., tuple[int, str, str]]
) -> None:
    code, out, err = cli("train", "quickstart", "--quiet", *arguments)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert line in err
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_needs_no_device(cli: Callable[..., tuple[int, str, str]]) -> None:
    code, out, _ = cli("train", "vip-micro", "--dry-run", "--quiet", "--set", "compute.device=cuda:9")
    assert code == 0
    assert "nothing was trained or written" in out


def test_the_doctor_lists_the_devices() -> None:
    found = _devices()
    assert found.fine
    assert found.finding.endswith(f"auto is {device_of('auto')}")
    assert "cpu" in found.finding
