"""Run folders: every file is written whole or not at all, and every stage is remembered by what it depended on.

A stage is done when `stages/NAME.json` holds its key and the hashes of its outputs. The record is written last, so a
stage that was interrupted is simply not done. Nothing here imports torch: deciding that nothing is to do is fast.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from dpaudit.errors import DamagedRunError, DpauditError, InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

__all__ = ["RunFolder", "content_key", "read_json", "write_atomically", "write_json"]


def content_key(*parts: Any) -> str:
    """Return a hash of JSON values, equal exactly when they are equal.

    >>> content_key("train", {"a": 1, "b": 2}) == content_key("train", {"b": 2, "a": 1})
    True
    """
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def write_atomically(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Write a file under a temporary name and rename it, so that a reader sees the old state or the new, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        reason = "no space left on the disk" if error.errno == errno.ENOSPC else error.strerror or str(error)
        raise DpauditError(f"cannot write {path}: {reason}; the previous state is whole") from error


def write_json(path: Path, value: Any, *, mode: int = 0o644) -> None:
    """Write a JSON file atomically, keys in the order given."""
    write_atomically(path, (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode(), mode=mode)


def read_json(path: Path) -> Any:
    """Return the JSON value of a file of a run folder; a damaged one is named."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise DamagedRunError(str(path), "missing", "a file that the run wrote") from error
    except (ValueError, OSError) as error:
        raise DamagedRunError(str(path), str(error), "the JSON that the run wrote") from error


@dataclass(frozen=True)
class RunFolder:
    """One audit on disk."""

    path: Path

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder alone; a second process is told so instead of writing into the same files."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError("--out", str(self.path), f"a folder that can be made ({error.strerror})") from error
        lock = FileLock(self.path / ".lock", timeout=0)
        try:
            lock.acquire()
        except Timeout as error:
            raise InputError("--out", str(self.path), "a folder no other dpaudit process is working in") from error
        except OSError as error:
            raise InputError("--out", str(self.path), f"a folder that can be written ({error.strerror})") from error
        try:
            yield
        finally:
            lock.release()

    def done(self, stage: str, key: str) -> bool:
        """Return whether the stage was finished with this key; DamagedRunError if an output is not what it wrote."""
        record_path = self._record(stage)
        if not record_path.exists():
            return False
        record = read_json(record_path)
        if record.get("key") != key:
            return False
        self.verify(stage)
        return True

    def verify(self, stage: str) -> None:
        """Raise DamagedRunError, naming the file, unless every output of a finished stage is as it was written."""
        record = read_json(self._record(stage))
        for name, digest in record["outputs"].items():
            output = self.path / name
            if not output.exists():
                raise DamagedRunError(str(output), "missing", f"a file that {stage} wrote; --fresh starts over")
            if _digest(output) != digest:
                raise DamagedRunError(
                    str(output), "changed or cut short", f"the file that {stage} wrote; --fresh starts over"
                )

    def finish(self, stage: str, key: str, outputs: Iterable[Path], **facts: Any) -> None:
        """Remember a finished stage with the hashes of its outputs. The last thing a stage does."""
        hashes = {str(output.relative_to(self.path)): _digest(output) for output in sorted(outputs)}
        write_json(self._record(stage), {"key": key, "outputs": hashes, **facts})

    def forget(self, stage: str) -> None:
        """Drop a stage's record, so that it runs again."""
        self._record(stage).unlink(missing_ok=True)

    def facts(self, stage: str) -> dict[str, Any]:
        """Return the record of a finished stage: key, outputs and what the stage noted."""
        record: dict[str, Any] = read_json(self._record(stage))
        return record

    def _record(self, stage: str) -> Path:
        return self.path / "stages" / f"{stage}.json"


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
