"""What several folders of tests share: a recipe small enough to run whole in seconds."""

from __future__ import annotations

import pytest


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
