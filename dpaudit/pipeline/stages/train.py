"""Train one run: secrets, commitment, steps, weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dpaudit.pipeline.spending import with_spending
from dpaudit.training.train import train

if TYPE_CHECKING:
    from pathlib import Path

    from dpaudit.pipeline.audit import Audit
    from dpaudit.progress import Progress

__all__ = ["train_run"]


def train_run(audit: Audit, name: str, progress: Progress) -> tuple[list[Path], dict[str, float]]:
    """Train a run, or go on where it stopped; return its files and facts for the stage's record."""
    outputs, seconds = train(audit.job(name), with_spending(progress, audit.planned.promise))
    return outputs, {"seconds": round(seconds, 3)}
