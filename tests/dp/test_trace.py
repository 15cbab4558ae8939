"""Traces survive crashes at any instruction, and both kinds lead to the same scores."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from dpaudit.dp import trace as traces
from dpaudit.dp.trace import AccumulatedTrace, AccumulatedTraceWriter, StoredTrace, StoredTraceWriter, open_trace
from dpaudit.errors import DamagedRunError, DpauditError
from dpaudit.likelihood import log_likelihood_ratio
from dpaudit.rng import Rng

if TYPE_CHECKING:
    from collections.abc import Callable

    from dpaudit.dp.trace import TraceWriter
    from dpaudit.mechanism import Mechanism

VALUES = Rng.from_seed(51).numpy().standard_normal((10, 4)).astype(np.float32)


class CrashError(Exception):
    pass


class Disk:
    """Takes `left` more changes (renames, removals, model checkpoints), then the power fails."""

    def __init__(self) -> None:
        self.left = 10**9

    def change(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise CrashError


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    result, replace, unlink = Disk(), Path.replace, Path.unlink

    def counted_replace(path: Path, target: Path) -> Path:
        result.change()
        return replace(path, target)

    def counted_unlink(path: Path) -> None:
        result.change()
        unlink(path)

    monkeypatch.setattr(Path, "replace", counted_replace)
    monkeypatch.setattr(Path, "unlink", counted_unlink)
    return result


def written(folder: Path, kind: str, mechanism: Mechanism) -> TraceWriter:
    return StoredTraceWriter(folder, 4) if kind == "stored" else AccumulatedTraceWriter(folder, 4, mechanism)


def train(writer: TraceWriter, valid: list[int], disk: Disk) -> None:
    """Record the steps after the last valid checkpoint, with a checkpoint every 3 that becomes valid a moment later."""
    writer.truncate(valid[-1])
    for step in range(valid[-1], 10):
        writer.record(VALUES[step])
        if step % 3 == 2 or step == 9:
            writer.checkpoint()
            disk.change()
            valid.append(step + 1)
    writer.compact()


def check(folder: Path, kind: str, mechanism: Mechanism) -> None:
    trace = open_trace(folder)
    assert len(trace) == 10
    assert len(list(folder.iterdir())) == 1
    if kind == "stored":
        assert isinstance(trace, StoredTrace)
        np.testing.assert_array_equal(np.stack(list(trace.steps())), VALUES)
    else:
        assert isinstance(trace, AccumulatedTrace)
        total = np.zeros(4)
        for row in VALUES:
            total += log_likelihood_ratio(row, mechanism)
        np.testing.assert_array_equal(trace.log_likelihood(), total)


@pytest.mark.parametrize("kind", ["stored", "accumulated"])
def test_what_was_recorded_is_read(kind: str, tmp_path: Path, mechanism_of: Callable[..., Mechanism]) -> None:
    train(written(tmp_path, kind, mechanism_of()), [0], Disk())
    check(tmp_path, kind, mechanism_of())


@pytest.mark.parametrize("kind", ["stored", "accumulated"])
def test_a_crash_at_any_change_of_the_disk_is_survived(
    kind: str, tmp_path: Path, mechanism_of: Callable[..., Mechanism], disk: Disk
) -> None:
    """Stop before the n-th change of the disk, for every n, go on from the last valid checkpoint, stop again, go on."""
    crashes = 0
    for first in range(1000):
        folder, valid, crashed = tmp_path / str(first), [0], False
        for disk.left in (first, first // 2, 10**9):
            try:
                train(written(folder, kind, mechanism_of()), valid, disk)
            except CrashError:
                crashed = True
        check(folder, kind, mechanism_of())
        crashes += crashed
        if not crashed:
            break
    assert crashes > 8


def test_a_crash_between_removals_leaves_no_gap(tmp_path: Path, disk: Disk) -> None:
    for allowed in range(6):
        disk.left, folder = 10**9, tmp_path / str(allowed)
        writer = StoredTraceWriter(folder, 4)
        for row in VALUES[:5]:
            writer.record(row)
            writer.checkpoint()
        disk.left = allowed
        try:
            writer.truncate(1)
        except CrashError:
            assert allowed < 4
        disk.left = 10**9
        StoredTraceWriter(folder, 4).truncate(1)
        assert len(StoredTrace(folder)) == 1


def test_a_compaction_that_stopped_half_way_is_read_once(tmp_path: Path, disk: Disk) -> None:
    writer = StoredTraceWriter(tmp_path, 4)
    for row in VALUES:
        writer.record(row)
        writer.checkpoint()
    disk.left = 3
    with pytest.raises(CrashError):
        writer.compact()
    assert len(list(tmp_path.iterdir())) == 8
    np.testing.assert_array_equal(np.stack(list(StoredTrace(tmp_path).steps())), VALUES)


def test_truncation_inside_a_file_keeps_its_first_steps(tmp_path: Path) -> None:
    writer = StoredTraceWriter(tmp_path, 4)
    for first, last in ((0, 4), (4, 8)):
        for row in VALUES[first:last]:
            writer.record(row)
        writer.checkpoint()
    resumed = StoredTraceWriter(tmp_path, 4)
    resumed.truncate(6)
    for row in VALUES[6:]:
        resumed.record(row)
    resumed.compact()
    np.testing.assert_array_equal(np.stack(list(StoredTrace(tmp_path).steps())), VALUES)


def test_steps_that_were_not_checkpointed_are_forgotten(tmp_path: Path) -> None:
    writer = StoredTraceWriter(tmp_path, 4)
    writer.record(VALUES[0])
    writer.checkpoint()
    writer.record(VALUES[1])
    writer.truncate(1)
    writer.compact()
    assert len(StoredTrace(tmp_path)) == 1


def test_a_long_wait_for_a_checkpoint_does_not_fill_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces, "_PENDING_BYTES", 40)
    writer = StoredTraceWriter(tmp_path, 4)
    for row in VALUES:
        writer.record(row)
    assert len(StoredTrace(tmp_path)) == 9
    writer.compact()
    np.testing.assert_array_equal(np.stack(list(StoredTrace(tmp_path).steps())), VALUES)


def test_a_trace_is_a_plain_npy_file_of_known_size(tmp_path: Path, mechanism_of: Callable[..., Mechanism]) -> None:
    train(written(tmp_path, "stored", mechanism_of()), [0], Disk())
    [path] = tmp_path.iterdir()
    np.testing.assert_array_equal(np.load(path, allow_pickle=False), VALUES)
    assert path.stat().st_size == 10 * 4 * 4 + 128


def test_recorded_values_may_be_reused_by_the_caller(tmp_path: Path) -> None:
    writer, buffer = StoredTraceWriter(tmp_path, 4), VALUES[0].copy()
    writer.record(buffer)
    buffer[:] = 0
    writer.compact()
    np.testing.assert_array_equal(next(StoredTrace(tmp_path).steps()), VALUES[0])


@pytest.mark.parametrize("kind", ["stored", "accumulated"])
def test_a_checkpoint_that_is_not_there_is_damage(
    kind: str, tmp_path: Path, mechanism_of: Callable[..., Mechanism]
) -> None:
    train(written(tmp_path, kind, mechanism_of()), [0], Disk())
    with pytest.raises(DamagedRunError, match="trace"):
        written(tmp_path, kind, mechanism_of()).truncate(11)


def test_a_gap_is_damage(tmp_path: Path) -> None:
    writer = StoredTraceWriter(tmp_path, 4)
    for row in VALUES:
        writer.record(row)
        writer.checkpoint()
    (tmp_path / "steps-000000004.npy").unlink()
    with pytest.raises(DamagedRunError, match="expected a file that starts at step 4"):
        StoredTrace(tmp_path)


def test_a_cut_file_is_damage(tmp_path: Path, mechanism_of: Callable[..., Mechanism]) -> None:
    train(written(tmp_path, "stored", mechanism_of()), [0], Disk())
    [path] = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DamagedRunError, match=path.name):
        StoredTrace(tmp_path)


def test_an_empty_folder_is_no_trace(tmp_path: Path) -> None:
    with pytest.raises(DamagedRunError, match="0 files"):
        open_trace(tmp_path)


@pytest.mark.parametrize("kind", ["stored", "accumulated"])
@pytest.mark.parametrize(
    "values", [VALUES[0, :3], VALUES[0].astype(np.float64), np.array([1, 2, np.nan, 4], dtype=np.float32)]
)
def test_wrong_values_are_refused(
    kind: str,
    values: np.ndarray[tuple[int], np.dtype[np.float32]],
    tmp_path: Path,
    mechanism_of: Callable[..., Mechanism],
) -> None:
    with pytest.raises(DpauditError, match="expected 4 finite float32"):
        written(tmp_path, kind, mechanism_of()).record(values)


def test_accumulated_steps_are_gone(tmp_path: Path, mechanism_of: Callable[..., Mechanism]) -> None:
    train(written(tmp_path, "accumulated", mechanism_of()), [0], Disk())
    with pytest.raises(DpauditError, match="stored trace"):
        open_trace(tmp_path).steps()


def test_the_size_decides(tmp_path: Path, mechanism_of: Callable[..., Mechanism]) -> None:
    mechanism = mechanism_of(steps=100)
    at_limit = traces.trace_writer(tmp_path / "a", mechanism, 5, limit_bytes=100 * 5 * 4)
    above = traces.trace_writer(tmp_path / "b", mechanism, 5, limit_bytes=100 * 5 * 4 - 1)
    assert isinstance(at_limit, StoredTraceWriter)
    assert isinstance(above, AccumulatedTraceWriter)
