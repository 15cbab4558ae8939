"""The pool of reference models: one folder per reference, named by the hash of all that decides its training.

FOLDER/references/KEY/reference.json says what was trained and is written last; beside it lie model.safetensors (unless
only signals are kept), signals/*.npz, and work/ while it is trained. KEY.lock is held by whoever is at work in it; the
system lets go of a lock when its process dies, so any number of processes and machines that see the folder cooperate.
What lies here was made from the private records, so it is as private as they are.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import shutil
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock, Timeout

from dpaudit.errors import DamagedRunError, InputError
from dpaudit.runs import read_json, write_atomically, write_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["Entry", "Pool", "cache_folder", "open_pool"]

_PRIVATE = 0o700


def cache_folder() -> Path:
    """Return the cache folder: DPAUDIT_CACHE, or where this platform keeps what can be made again."""
    if chosen := os.environ.get("DPAUDIT_CACHE"):
        return Path(chosen).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "dpaudit"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "dpaudit" / "Cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dpaudit"


@dataclass(frozen=True)
class Entry:
    """One reference on disk."""

    path: Path

    @property
    def weights(self) -> Path:
        """Return where its weights are, if they are kept."""
        return self.path / "model.safetensors"

    @property
    def work(self) -> Path:
        """Return the folder in which it is trained."""
        return self.path / "work"

    @contextlib.contextmanager
    def lock(self, *, patience: float = -1) -> Iterator[bool]:
        """Yield whether this process has the reference to itself; it waits so many seconds, -1 = until it has."""
        lock = FileLock(self.path.with_suffix(".lock"), timeout=patience)
        try:
            self.path.parent.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
            lock.acquire()
        except Timeout:
            yield False
            return
        except OSError as error:
            raise InputError(
                "DPAUDIT_CACHE", str(self.path), f"a folder that can be written ({error.strerror})"
            ) from error
        try:
            yield True
        finally:
            lock.release()

    @property
    def trained(self) -> bool:
        """Return whether it was trained, its weights kept or not. A record that cannot be read says no."""
        return self.fault() is None

    def fault(self) -> str | None:
        """Return why it does not count as trained, without reading its weights; None if it does."""
        try:
            record = read_json(self.path / "reference.json")
        except DamagedRunError as error:
            return "never trained" if error.value == "missing" else f"reference.json is damaged: {error.value}"
        if not isinstance(record, dict) or not {"key", "weights sha256"} <= record.keys():
            return "reference.json is damaged: a part is missing"
        return None if record["key"] == self.path.name else f"reference.json is of another reference, {record['key']}"

    def facts(self) -> dict[str, Any]:
        """Return what was written of it when it was trained."""
        record: dict[str, Any] = read_json(self.path / "reference.json")
        return record

    def finish(self, weights: Path, **facts: Any) -> None:
        """Take the weights of a finished training and what is to be known of it; the folder of work is deleted."""
        digest = _sha256(weights)
        weights.replace(self.weights)
        write_json(self.path / "reference.json", {"key": self.path.name, "weights sha256": digest, **facts})
        shutil.rmtree(self.work, ignore_errors=True)

    def weights_fault(self) -> str | None:
        """Return why its weights cannot be read: not kept, or not what was written; None if they can."""
        if not self.weights.exists():
            return "its weights were not kept"
        if _sha256(self.weights) != self.facts()["weights sha256"]:
            return "model.safetensors is not what was written"
        return None

    def forget_weights(self) -> None:
        """Delete the weights; signals stay."""
        self.weights.unlink(missing_ok=True)

    def forget(self) -> None:
        """Delete all that is there."""
        shutil.rmtree(self.path, ignore_errors=True)

    def signal(self, name: str) -> tuple[NDArray[np.generic] | None, str | None]:
        """Return (a kept signal, None), or (None, why it cannot be read); (None, None) if it was never kept."""
        path = self._signal(name)
        try:
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
                return arrays["values"], None
        except FileNotFoundError:
            return None, None
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            return None, f"{path.name} is damaged: {str(error).splitlines()[0]}"

    def keep_signal(self, name: str, values: NDArray[np.generic]) -> None:
        """Write a signal."""
        buffer = io.BytesIO()
        np.savez_compressed(buffer, values=values)
        write_atomically(self._signal(name), buffer.getvalue(), mode=0o600)

    def _signal(self, name: str) -> Path:
        return self.path / "signals" / f"{name}.npz"


@dataclass(frozen=True)
class Pool:
    """All references of a cache folder."""

    path: Path

    def entry(self, key: str) -> Entry:
        """Return the place of a reference, which need not be there."""
        return Entry(self.path / key)


def open_pool() -> Pool:
    """Return the pool of the cache folder, readable by its owner alone; it is made when a reference first is."""
    return Pool(cache_folder() / "references")


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
