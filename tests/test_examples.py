"""Documented examples run, at a smaller size, on the data that they name."""

from __future__ import annotations

from pathlib import Path

import dpaudit

EXAMPLES = Path(__file__).resolve().parents[1] / "docs" / "examples"


def test_cifar10(cifar10: Path, tmp_path: Path) -> None:
    settings = [
        f"data.path={cifar10 / 'train.parquet'}",
        "data.limit=600",
        "data.split={audit_pool: 120, probe_train: 100, probe_test: 80}",
        "privacy.steps=4",
        "privacy.batch_size=32",
        "canaries.block=3000",
        "canaries.inputs.noise=20",
    ]
    result = dpaudit.run(EXAMPLES / "cifar10.yaml", out=tmp_path / "run", overrides=settings)
    assert {attack.attack for attack in result.attacks} == {"audit_block", "loss-pool", "loss-inputs"}
    assert result.runs[0].facts["candidates of inputs"] == 20
    assert result.probes[0].test_size == 80
