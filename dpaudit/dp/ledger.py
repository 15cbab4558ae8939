"""What each step executed, one JSON line per step: the evidence for the assumptions of the promise. Private."""

from __future__ import annotations

import json
import math
import os
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from dpaudit.errors import DamagedRunError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["LedgerRow", "append_ledger", "read_ledger", "truncate_ledger"]

_INFINITY = "Infinity"


@dataclass(frozen=True, kw_only=True)
class LedgerRow:
    """One executed step.

    drawn: real records in the step. clip_norm: C, infinity = nothing clipped. noise_std: of the noise on the sum.
    divisor: what the noisy sum was divided by. loss: mean over the drawn, None if none was. clipped_fraction: share of
    the drawn whose norm was above C. max_clipped_norm: largest norm that entered the sum, None if none was clipped.
    Both are None for a trainer of whole batches, whose records have no norm of their own.
    noise_sum_of_squares, noise_count: of what was added to all tensors; their ratio estimates noise_std^2.
    """

    step: int
    drawn: int
    clip_norm: float
    noise_std: float
    sampling_rate: float
    divisor: int
    loss: float | None
    clipped_fraction: float | None
    max_clipped_norm: float | None
    noise_sum_of_squares: float
    noise_count: int

    def to_json(self) -> str:
        """Return one line of JSON; every float is written so that it reads back bit for bit."""
        row = {name: _INFINITY if value == math.inf else value for name, value in asdict(self).items()}
        return json.dumps(row, allow_nan=False)

    @classmethod
    def from_json(cls, line: str) -> LedgerRow:
        """Return the row of a line. Raises DamagedRunError for anything that `to_json` does not write."""
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DamagedRunError("ledger line", line, "a line of JSON") from error
        if not isinstance(row, dict) or list(row) != [field.name for field in fields(cls)]:
            raise DamagedRunError("ledger line", line, "exactly the fields of a ledger row")
        values: dict[str, Any] = {name: math.inf if value == _INFINITY else value for name, value in row.items()}
        for field in fields(cls):
            _check(field.name, str(field.type), values[field.name])
        return cls(**values)


def append_ledger(path: Path, rows: Iterable[LedgerRow]) -> None:
    """Append rows and wait until they are on disk."""
    with path.open("a", encoding="utf-8") as file:
        file.writelines(row.to_json() + "\n" for row in rows)
        file.flush()
        os.fsync(file.fileno())


def read_ledger(path: Path) -> tuple[LedgerRow, ...]:
    """Return all rows; they must be steps 0, 1, ... without gap."""
    rows = tuple(LedgerRow.from_json(line) for line in path.read_text(encoding="utf-8").splitlines())
    for step, row in enumerate(rows):
        if row.step != step:
            raise DamagedRunError(f"{path.name} line {step + 1}", row.step, f"step {step}")
    return rows


def truncate_ledger(path: Path, steps: int) -> None:
    """Keep the first `steps` rows: on resume, all that was written after the checkpoint goes, half a line included."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    kept = [line for line in lines[:steps] if line.endswith("\n")]
    if len(kept) < steps:
        raise DamagedRunError(path.name, f"{len(kept)} steps", f"at least the {steps} of the checkpoint")
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.writelines(kept)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _check(name: str, kind: str, value: Any) -> None:
    types: dict[str, tuple[type, ...]] = {
        "int": (int,),
        "float": (int, float),
        "float | None": (int, float, type(None)),
    }
    if not isinstance(value, types[kind]) or isinstance(value, bool):
        raise DamagedRunError(f"ledger field {name}", value, kind)
