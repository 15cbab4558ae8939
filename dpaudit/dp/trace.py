"""What an attacker who sees all steps saw of a family of gradient canaries, kept on disk, one folder per family.

Either every released value, T x m x 4 bytes, or only each candidate's running log likelihood ratio, m x 8 bytes. Both
survive a crash between any two instructions: a file is whole or it is not there, and what was recorded after the last
checkpoint is forgotten on resume.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from dpaudit.errors import DamagedRunError, DpauditError
from dpaudit.likelihood import log_likelihood_ratio

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from dpaudit.mechanism import Mechanism

__all__ = [
    "AccumulatedTrace",
    "AccumulatedTraceWriter",
    "StoredTrace",
    "StoredTraceWriter",
    "TraceWriter",
    "open_trace",
    "trace_writer",
]

_STEPS, _SUMS = "steps", "sums"
_PENDING_BYTES = 1 << 26


class TraceWriter(Protocol):
    """Records one family of candidates, step by step."""

    def record(self, values: NDArray[np.float32]) -> None:
        """Take the released values of the next step, (m,)."""

    def checkpoint(self) -> None:
        """Put all that was recorded on disk. To be called before the model's own checkpoint becomes valid."""

    def truncate(self, steps: int) -> None:
        """Go back to the first `steps` steps. To be called on every start, with the model checkpoint's steps or 0."""

    def compact(self) -> None:
        """Put all that was recorded in one file. To be called when the model's last checkpoint is valid."""


def trace_writer(folder: Path, mechanism: Mechanism, candidates: int, limit_bytes: int = 1 << 30) -> TraceWriter:
    """Return a writer that stores every step, or one that accumulates where that would take more than `limit_bytes`."""
    if mechanism.steps * candidates * 4 > limit_bytes:
        return AccumulatedTraceWriter(folder, candidates, mechanism)
    return StoredTraceWriter(folder, candidates)


def open_trace(folder: Path) -> StoredTrace | AccumulatedTrace:
    """Return the trace that a writer has left in a folder."""
    return AccumulatedTrace(folder) if _numbered(folder, _SUMS) else StoredTrace(folder)


class StoredTrace:
    """A trace of all steps, memory-mapped; its length is their number."""

    def __init__(self, folder: Path) -> None:
        self._chunks = [_read(path) for _, path in _chain(folder)]
        if len({chunk.shape[1:] for chunk in self._chunks}) != 1:
            raise DamagedRunError(f"trace {folder.name}", f"{len(self._chunks)} files", "files of one width")

    def __len__(self) -> int:
        return sum(len(chunk) for chunk in self._chunks)

    def steps(self) -> Iterator[NDArray[np.float32]]:
        """Yield the released values of each step, (m,)."""
        for chunk in self._chunks:
            yield from chunk


class AccumulatedTrace:
    """A trace of which only sums over steps were kept; its length is the number of steps."""

    def __init__(self, folder: Path) -> None:
        self._length, path = _numbered(folder, _SUMS)[-1]
        self._sums: NDArray[np.float64] = np.array(_read(path))

    def __len__(self) -> int:
        return self._length

    def log_likelihood(self) -> NDArray[np.float64]:
        """Return each candidate's log likelihood ratio over all steps, (m,), higher = more likely a member."""
        return self._sums.copy()

    def steps(self) -> Iterator[NDArray[np.float32]]:
        """Raise DpauditError: the steps are gone."""
        raise DpauditError("this trace holds sums over steps only; an attack that reads steps needs a stored trace")


class StoredTraceWriter:
    """Keeps every step: files `steps-N.npy`, float32 (steps in it, m), N the first step in it."""

    def __init__(self, folder: Path, candidates: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._candidates = folder, candidates
        self._pending: list[NDArray[np.float32]] = []
        self._written = sum(len(_read(path)) for _, path in _chain(folder))

    def record(self, values: NDArray[np.float32]) -> None:
        """Take the released values of the next step, (m,)."""
        self._pending.append(_checked(values, self._candidates))
        if len(self._pending) * values.nbytes > _PENDING_BYTES:
            self.checkpoint()

    def checkpoint(self) -> None:
        """Write what was recorded since the last file."""
        if self._pending:
            _write(_path(self._folder, _STEPS, self._written), np.stack(self._pending))
            self._written += len(self._pending)
            self._pending.clear()

    def truncate(self, steps: int) -> None:
        """Go back to the first `steps` steps. Later files go first, so that what is left never has a gap."""
        if self._written < steps:
            raise DamagedRunError(f"trace {self._folder.name}", f"{self._written} steps", f"at least {steps}")
        kept = [(first, path) for first, path in _chain(self._folder) if first < steps]
        _keep(self._folder, _STEPS, [path for _, path in kept])
        if kept:
            first, path = kept[-1]
            rows = _read(path)
            if first + len(rows) > steps:
                _write(path, rows[: steps - first])
        self._pending.clear()
        self._written = steps

    def compact(self) -> None:
        """Join all files into the first, which then overlaps the others until they are gone."""
        self.checkpoint()
        parts = [_read(path) for _, path in _chain(self._folder)]
        target = _path(self._folder, _STEPS, 0)
        if len(parts) != 1:
            _write_rows(target, parts, (self._written, self._candidates), np.dtype(np.float32))
        _keep(self._folder, _STEPS, [target])


class AccumulatedTraceWriter:
    """Keeps the running log likelihood ratio of each candidate: files `sums-N.npy`, float64 (m,), after N steps.

    The last two stay: the newer may belong to a checkpoint that never became valid.
    """

    def __init__(self, folder: Path, candidates: int, mechanism: Mechanism) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._mechanism = folder, mechanism
        self._sums = np.zeros(candidates, dtype=np.float64)
        self._steps = 0

    def record(self, values: NDArray[np.float32]) -> None:
        """Add the evidence of the next step's released values, (m,)."""
        self._sums += log_likelihood_ratio(_checked(values, len(self._sums)), self._mechanism)
        self._steps += 1

    def checkpoint(self) -> None:
        """Write the sums as they are."""
        _write(_path(self._folder, _SUMS, self._steps), self._sums)
        _keep(self._folder, _SUMS, [path for _, path in _numbered(self._folder, _SUMS)[-2:]])

    def truncate(self, steps: int) -> None:
        """Go back to the first `steps` steps, after which there was a checkpoint."""
        found = dict(_numbered(self._folder, _SUMS))
        if steps and steps not in found:
            raise DamagedRunError(f"trace {self._folder.name}", f"sums after {sorted(found)} steps", f"after {steps}")
        self._sums = np.array(_read(found[steps])) if steps else np.zeros_like(self._sums)
        self._steps = steps
        _keep(self._folder, _SUMS, [found[steps]] if steps else [])

    def compact(self) -> None:
        """Keep the sums after the last step only."""
        self.checkpoint()
        _keep(self._folder, _SUMS, [_path(self._folder, _SUMS, self._steps)])


def _checked(values: NDArray[np.float32], candidates: int) -> NDArray[np.float32]:
    if values.shape != (candidates,) or values.dtype != np.float32 or not np.isfinite(values).all():
        raise DpauditError(f"released values {values.dtype} {values.shape}: expected {candidates} finite float32")
    return values.copy()


def _path(folder: Path, stem: str, number: int) -> Path:
    return folder / f"{stem}-{number:09d}.npy"


def _numbered(folder: Path, stem: str) -> list[tuple[int, Path]]:
    return sorted((int(path.stem.removeprefix(f"{stem}-")), path) for path in folder.glob(f"{stem}-*.npy"))


def _chain(folder: Path) -> list[tuple[int, Path]]:
    """Return the files that follow each other without gap; what a stopped compaction left overlaps and is out."""
    chain, end = [], 0
    for first, path in _numbered(folder, _STEPS):
        if first > end:
            raise DamagedRunError(f"trace {folder.name}", path.name, f"a file that starts at step {end}")
        if first == end:
            chain.append((first, path))
            end += len(_read(path))
    return chain


def _keep(folder: Path, stem: str, paths: list[Path]) -> None:
    for _, path in reversed(_numbered(folder, stem)):
        if path not in paths:
            path.unlink()
    for path in folder.glob("*.tmp"):
        path.unlink()


def _read(path: Path) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise DamagedRunError(path.name, str(error), "a whole npy file") from error
    return array.view(np.ndarray)


def _write(path: Path, array: NDArray[Any]) -> None:
    _write_rows(path, [array], array.shape, array.dtype)


def _write_rows(path: Path, parts: Iterable[NDArray[Any]], shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Write the parts as one npy file under a temporary name, wait for the disk, and give it its name."""
    temporary = path.with_name(path.name + ".tmp")
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    with temporary.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for part in parts:
            file.write(np.ascontiguousarray(part).data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
