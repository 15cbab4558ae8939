"""What a DP step costs beside an ordinary one and beside Opacus: time, memory and rounding error of five models.

Times: all steps of a row in one process, in turns; ratios within a round, then their median. glibc would hand large
blocks back to the kernel at every step and slow down most what allocates most, so that its settings there favour us:
TIMING keeps the blocks. Memory: one process per step, and every large block its own mapping, so that resident memory is
live memory. Both are settings that glibc reads when a process starts, hence the child processes.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from dpaudit.bench.engine_cases import CASES, ON_GPU, QUICK
from dpaudit.bench.engine_steps import ORDINARY, OURS, VARIANTS
from dpaudit.dp.devices import device_of, in_words
from dpaudit.dp.engines import engine
from dpaudit.dp.precision import Precision
from dpaudit.environment import environment
from dpaudit.errors import DpauditError, InputError
from dpaudit.progress import Silent
from dpaudit.results import Value

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dpaudit.bench.engine_cases import Case
    from dpaudit.progress import Progress, Task

__all__ = ["CANARIES", "MEMORY", "ROUNDS", "TIMING", "EngineBench", "EngineRow", "Measured", "bench_engine"]

ROUNDS = 9
CANARIES = 100_000

TIMING = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "17179869184",
    "MALLOC_TOP_PAD_": "268435456",
    "MALLOC_ARENA_MAX": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
}
MEMORY = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536", "OMP_WAIT_POLICY": "PASSIVE"}
_CPU = Path("/proc/cpuinfo")


class Measured(Value):
    """One step of one row. All but `refuses` are None where the other tool cannot take the model.

    ratio, cpu_ratio: times the ordinary step, by the clock and by processor time. ours_faster: how many times as long
    as ours it takes. peak_bytes, memory_ratio: None where memory cannot be measured. largest_batch: records that one
    pass can take, looked for on a GPU alone. parity: largest error of the gradient sum beside one record at a time,
    over its largest entry; None for the ordinary step.
    """

    name: str
    refuses: str | None = None
    seconds: float | None = None
    ratio: float | None = None
    cpu_ratio: float | None = None
    ours_faster: float | None = None
    peak_bytes: int | None = None
    memory_ratio: float | None = None
    largest_batch: int | None = None
    parity: float | None = None


class EngineRow(Value):
    """One model. aims: what was promised of it, None for the small ones.

    block_percent, noise_percent: what canaries in an audit block, and noise on all parameters, add to one of our steps,
    in % of it; both are paid once per logical batch, however many micro-batches it has.
    """

    name: str
    title: str
    records: int
    parameters: int
    steps: tuple[Measured, ...]
    block_percent: float
    noise_percent: float
    aims: dict[str, float | str] | None

    def step(self, name: str) -> Measured:
        """Return the step of this name."""
        return next(each for each in self.steps if each.name == name)


class EngineBench(Value):
    """All rows, and on what they were measured."""

    schema_version: Literal[1] = 1
    engine: str
    rounds: int
    canaries: int
    machine: dict[str, str]
    precision: Precision = "float32"
    rows: tuple[EngineRow, ...]

    @property
    def on_gpu(self) -> bool:
        """Return whether the steps were measured elsewhere than on the CPU."""
        return self.machine["device"] != "cpu"


def bench_engine(  # noqa: PLR0913 (the options of a command, each by its name)
    names: Sequence[str] = (),
    *,
    engine_name: str = "bookkeeping",
    rounds: int = ROUNDS,
    canaries: int = CANARIES,
    device: str = "cpu",
    precision: Precision = "float32",
    progress: Progress | None = None,
) -> EngineBench:
    """Measure the rows of these names, in child processes; without one all of CASES, or of ON_GPU on a GPU."""
    engine(engine_name)
    try:
        place = device_of(device)
    except InputError as error:
        raise InputError("--device", error.value, error.expected) from None
    if precision not in get_args(Precision):
        raise InputError("--precision", precision, f"one of {', '.join(get_args(Precision))}")
    if rounds < 1:
        raise InputError("rounds", rounds, "at least 1")
    if canaries < 1:
        raise InputError("canaries", canaries, "at least 1")
    shown = progress or Silent()
    rows, threads = [], 0
    request = {"engine": engine_name, "device": str(place), "precision": precision}
    for case in _chosen(names, place.type):
        row, threads = _row(case, request, rounds, canaries, shown)
        rows.append(row)
    return EngineBench(
        engine=engine_name,
        rounds=rounds,
        canaries=canaries,
        machine=_machine(threads) | {"device": in_words(place)},
        precision=precision,
        rows=tuple(rows),
    )


def _chosen(names: Sequence[str], device: str) -> tuple[Case, ...]:
    known = {case.name: case for case in (*CASES, *QUICK, *ON_GPU)}
    for name in names:
        if name not in known:
            raise InputError("model", name, f"one of {', '.join(known)}")
    return tuple(known[name] for name in names) or (CASES if device == "cpu" else ON_GPU)


def _row(case: Case, asked: dict[str, Any], rounds: int, canaries: int, progress: Progress) -> tuple[EngineRow, int]:
    request = {"case": case.name, **asked}
    with progress.task(f"{case.name}, time", rounds) as task:
        times = _child({**request, "rounds": rounds, "canaries": canaries}, TIMING, task)
    whats = ("memory",) if asked["device"] == "cpu" else ("memory", "largest batch")
    found: dict[str, dict[str, int | None]] = {"largest batch": {}}
    for what in whats:
        with progress.task(f"{case.name}, {what}", len(VARIANTS)) as task:
            found[what] = {}
            for index, variant in enumerate(VARIANTS):
                refused = variant in times["refuses"]
                asked_for = {**request, "variant": variant, "what": what}
                found[what][variant] = None if refused else _child(asked_for, MEMORY, None)
                task.advance(index + 1)
    ours = statistics.median(times["wall"][OURS])
    row = EngineRow(
        name=case.name,
        title=case.title,
        records=case.records,
        parameters=times["parameters"],
        steps=tuple(_measured(variant, times, found["memory"], found["largest batch"]) for variant in VARIANTS),
        block_percent=100 * times["block"] / ours,
        noise_percent=100 * times["noise"] / ours,
        aims=None if case.aims is None else vars(case.aims).copy(),
    )
    return row, times["threads"]


def _measured(
    variant: str, times: dict[str, Any], peaks: dict[str, int | None], largest: dict[str, int | None]
) -> Measured:
    if variant in times["refuses"]:
        return Measured(name=variant, refuses=times["refuses"][variant])
    wall, processor = times["wall"], times["processor"]
    peak, ordinary = peaks[variant], peaks[ORDINARY]
    return Measured(
        name=variant,
        seconds=statistics.median(wall[variant]),
        ratio=_median_ratio(wall[variant], wall[ORDINARY]),
        cpu_ratio=_median_ratio(processor[variant], processor[ORDINARY]),
        ours_faster=_median_ratio(wall[variant], wall[OURS]),
        peak_bytes=peak,
        memory_ratio=peak / ordinary if peak and ordinary else None,
        largest_batch=largest.get(variant),
        parity=times["parity"].get(variant),
    )


def _median_ratio(these: Sequence[float], those: Sequence[float]) -> float:
    return statistics.median(this / that for this, that in zip(these, those, strict=True))


def _child(request: dict[str, Any], settings: dict[str, str], task: Task | None) -> Any:
    """Return the result of one request, answered by a process with these environment variables."""
    command = [sys.executable, "-m", "dpaudit.bench.engine_child", json.dumps(request)]
    with tempfile.TemporaryFile("w+") as errors:
        with subprocess.Popen(  # noqa: S603 (our own module, by the running interpreter)
            command, stdout=subprocess.PIPE, stderr=errors, text=True, env=os.environ | settings
        ) as process:
            result = _last(_answers(process), task)
        if process.returncode != 0 or "result" not in result:
            errors.seek(0)
            reason = (errors.read().strip().splitlines() or ["no message"])[-1]
            raise DpauditError(f"bench engine, {request['case']}: exit code {process.returncode}: {reason}")
    return result["result"]


def _answers(process: subprocess.Popen[str]) -> Iterator[dict[str, Any]]:
    if process.stdout is not None:
        yield from (json.loads(line) for line in process.stdout if line.startswith("{"))


def _last(answers: Iterator[dict[str, Any]], task: Task | None) -> dict[str, Any]:
    """Show the rounds done and return the last answer."""
    last: dict[str, Any] = {}
    for last in answers:
        if task is not None and "done" in last:
            task.advance(last["done"])
    return last


def _machine(threads: int) -> dict[str, str]:
    facts = environment()
    return facts | {"processor": _processor(), "cores": str(os.cpu_count()), "threads": str(threads)}


def _processor() -> str:
    lines = _CPU.read_text(encoding="utf-8").splitlines() if _CPU.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or "unknown"
