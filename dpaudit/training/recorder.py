"""What a run leaves on disk while it trains: traces, ledger, and last the state that says how far they go."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dpaudit.dp.ledger import LedgerRow, append_ledger, truncate_ledger
from dpaudit.training import checkpoint

if TYPE_CHECKING:
    from pathlib import Path

    from dpaudit.canaries import Family
    from dpaudit.dp.step import Release
    from dpaudit.dp.trace import TraceWriter
    from dpaudit.training.learner import Learner

__all__ = ["Recorder", "checkpoint_file"]


def checkpoint_file(run: Path) -> Path:
    """Return where a run's last checkpoint is, if it has one."""
    return run / "checkpoint" / "state.safetensors"


@dataclass(kw_only=True)
class Recorder:
    """The files of one run. Of several processes only the leader has one."""

    run: Path
    traces: dict[Family, TraceWriter]
    rows: list[LedgerRow] = field(default_factory=list)

    def forget_after(self, steps: int) -> None:
        """Drop what was recorded after the first `steps` steps, from which the run goes on."""
        for trace in self.traces.values():
            trace.truncate(steps)
        if steps or (self.run / "ledger.jsonl").exists():
            truncate_ledger(self.run / "ledger.jsonl", steps)

    def record(self, release: Release) -> None:
        """Take what a step released."""
        self.rows.append(release.row)
        for family, trace in self.traces.items():
            trace.record(release.canaries[family])

    def checkpoint(self, learner: Learner, *, step: int, seconds: float) -> None:
        """Write what an interrupted run needs after `step` steps."""
        for trace in self.traces.values():
            trace.checkpoint()
        append_ledger(self.run / "ledger.jsonl", self.rows)
        self.rows = []
        checkpoint_file(self.run).parent.mkdir(exist_ok=True)
        learner.save(checkpoint_file(self.run), step=step, seconds=seconds)

    def finish(self, learner: Learner) -> list[Path]:
        """Write weights and whole traces; return the run's files."""
        for trace in self.traces.values():
            trace.compact()
        weights = {"model.safetensors": learner.model.state_dict()}
        if learner.average is not None:
            weights["ema.safetensors"] = learner.average.state
        for name, state in weights.items():
            checkpoint.save_model(self.run / name, state)
        traced = [path for family in self.traces for path in sorted((self.run / "trace" / family).iterdir())]
        files = [self.run / name for name in ("manifest.json", "ledger.jsonl", *weights)]
        return [*files, *(path for path in traced if path.is_file())]
